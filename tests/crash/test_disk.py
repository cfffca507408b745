"""The disk is full or read-only: nothing is sent that could not be stored, it is said, and the token is kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fleet.disk import Disk
from fleet.invariants import violations
from fleet.stage import Stage

from kimi_auth.testing.emulator import Fault

pytestmark = pytest.mark.timeout(120)

BREAK: dict[str, tuple[Callable[[Disk], None], str]] = {
    "full": (Disk.fill, "the disk is full"),
    "read-only": (Disk.freeze, "read-only"),
}


@pytest.mark.parametrize("age", ["expired", "expiring", pytest.param("rejected", marks=pytest.mark.prove)])
@pytest.mark.parametrize("how", BREAK)
def test_not_sent(stage_on_disk: Stage, disk: Disk, how: str, age: str) -> None:
    """A renewal that could not be stored is not begun; a token that works is handed out; later all is well."""
    stage, (spoil, words) = stage_on_disk, BREAK[how]
    token = stage.sign_in(age)  # type: ignore[arg-type]
    if age == "rejected":
        stage.sign_in("expired")  # the bearer that the API refuses is the one that has run out
    spoil(disk)
    result = stage.next_run(**disk.options)
    if age == "expiring":
        assert (result.error, result.access) == ("", stage.seen[0].access)
        background = stage.start("obtain", **disk.options)
        assert (background.result().error, background.end()) == ("", 0)
    else:
        assert result.error == "unwritable"
        assert words in result.message
    assert stage.sends == []
    assert stage.snapshot.state == "present"
    disk.repair()
    assert stage.next_run().error == ""
    assert token.access_token
    assert violations(stage) == []


@pytest.mark.prove
@pytest.mark.parametrize("step", ["looking_again", "exchanging", "staging", "committing"])
def test_full_after_the_claim(stage_on_disk: Stage, disk: Disk, step: str) -> None:
    """The claim has taken the room that the answer needs: a disk that is full by then costs nothing."""
    if not disk.is_real:
        pytest.skip("only a real file system keeps what it has promised; run: sudo make test")
    stage = stage_on_disk
    stage.sign_in("expired")
    worker = stage.start("obtain", gates=[f"token_refresh.{step}"])
    worker.held(f"token_refresh.{step}")
    disk.fill()
    worker.order("on")
    result = worker.result()
    assert (result.error, worker.end()) == ("", 0)
    assert (stage.next_run().access, stage.look().access) == (result.access, result.access)
    assert (stage.exchanges, len(stage.sends), stage.works) == (1, 1, True)
    assert violations(stage) == []


@pytest.mark.prove
@pytest.mark.parametrize("how", BREAK)
def test_logout(stage_on_disk: Stage, disk: Disk, how: str) -> None:
    """A logout that cannot be stored does not happen, says so, and works later."""
    stage = stage_on_disk
    stage.sign_in("fresh")
    BREAK[how][0](disk)
    worker = stage.start("logout", **disk.options)
    result = worker.result()
    assert (result.error, worker.end()) == ("unwritable", 0)
    assert BREAK[how][1] in result.message
    assert stage.works
    assert stage.next_run(**disk.options).error == ""
    disk.repair()
    worker = stage.start("logout")
    assert (worker.result().error, worker.end()) == ("", 0)
    assert stage.next_run().error == "not_signed_in"
    assert violations(stage) == []


@pytest.mark.prove
@pytest.mark.parametrize("how", BREAK)
def test_login(stage_on_disk: Stage, disk: Disk, how: str) -> None:
    """No approval is requested for a login that cannot be stored."""
    stage = stage_on_disk
    stage.sign_in("fresh")
    asked = stage.state.counts["device_codes"]
    BREAK[how][0](disk)
    worker = stage.start("login", hurry=True, **disk.options)
    assert (worker.result().state, worker.end()) == ("failed", 0)
    assert stage.state.counts["device_codes"] == asked
    assert stage.next_run(**disk.options).access == stage.seen[0].access
    disk.repair()
    assert violations(stage) == []


def test_a_disk_that_fills_up_during_a_login(stage_on_disk: Stage, disk: Disk) -> None:
    """A grant that cannot be stored any more is given back; the old login stands."""
    stage = stage_on_disk
    stage.sign_in("fresh")
    worker = stage.start("login", hurry=True, gates=["device_login.persisting"], **disk.options)
    worker.held("device_login.persisting")
    disk.fill()
    worker.order("on")
    assert (worker.result().state, worker.end()) == ("failed", 0)
    assert [family["revoked_because"] for family in stage.families] == [None, "signed out"]
    assert stage.next_run(**disk.options).access == stage.seen[0].access
    assert violations(stage) == []


def test_a_refusal_that_cannot_be_recorded(stage_on_disk: Stage, disk: Disk) -> None:
    """The login has ended and the disk is full: no caller is told wrong, and the next run finds out again, declared."""
    stage = stage_on_disk
    stage.sign_in("expired")
    worker = stage.start("obtain", gates=["token_refresh.recording_revoked"], **disk.options)
    stage.state.revoke_family()
    worker.held("token_refresh.recording_revoked")
    disk.fill()
    worker.order("on")
    assert worker.result().error == "revoked"
    assert worker.end() == 0
    disk.repair()
    assert stage.next_run(wall_offset_s=1000.0).error == "revoked"
    assert violations(stage) == []


@pytest.mark.parametrize(
    "error", ["ENOSPC", *(pytest.param(error, marks=pytest.mark.prove) for error in ("EROFS", "EIO"))]
)
def test_an_answer_that_cannot_be_saved(stage: Stage, error: str) -> None:
    """While the pair is only in memory the lock stays held: others are told by whom; when the disk is well, all have it."""
    stage.sign_in("expired")
    flag = stage.folder / "broken"
    saving = stage.start("obtain", gates=["token_refresh.staging"], broken=str(flag), hurry=True)
    saving.held("token_refresh.staging")
    flag.write_text(error, "ascii")
    saving.order("on")
    other = stage.start("obtain", patience_s=0.5)
    result = other.result()
    assert (result.error, other.end()) == ("locked", 0)
    assert f"pid {saving.pid}" in result.message
    flag.unlink()
    saved = saving.result()
    assert (saved.error, saving.end()) == ("", 0)
    assert (stage.next_run().access, stage.exchanges, len(stage.sends)) == (saved.access, 1, 1)
    assert violations(stage) == []


@pytest.mark.prove
@pytest.mark.parametrize("reuse", ["strict", "grace:60"])
def test_a_command_that_gives_up_saving(stage: Stage, reuse: str) -> None:
    """A command tries for its time, then says that the disk is at fault; the claim covers what it could not save."""
    stage.serve(reuse=reuse)
    stage.sign_in("expired")
    flag = stage.folder / "broken"
    worker = stage.start(
        "obtain", gates=["token_refresh.staging"], broken=str(flag), unsaved_s=0.3, one_shot=True, hurry=True
    )
    worker.held("token_refresh.staging")
    flag.write_text("ENOSPC", "ascii")
    worker.order("on")
    result = worker.result()
    assert (result.error, worker.end()) == ("unwritable", 0)
    assert "the disk is full" in result.message
    flag.unlink()
    assert stage.next_run().error == ("" if reuse == "grace:60" else "revoked")
    assert violations(stage, dead_owners=1) == []


def test_an_staged_that_cannot_be_installed(stage: Stage) -> None:
    """The pair reached the disk and not its final name: the next run puts it there and sends nothing."""
    stage.sign_in("expired")
    flag = stage.folder / "broken"
    worker = stage.start(
        "obtain", gates=["token_refresh.committing"], broken=str(flag), unsaved_s=0.3, one_shot=True, hurry=True
    )
    worker.held("token_refresh.committing")
    flag.write_text("EROFS", "ascii")
    worker.order("on")
    assert (worker.result().error, worker.end()) == ("unwritable", 0)
    flag.unlink()
    assert stage.next_run().error == ""
    assert (stage.exchanges, len(stage.sends), stage.works) == (1, 1, True)
    assert violations(stage) == []


@pytest.mark.prove
def test_a_server_error_on_a_full_disk(stage_on_disk: Stage, disk: Disk) -> None:
    """No room for the backoff, a server error: both are expected, and the login stays."""
    stage = stage_on_disk
    stage.state.inject(Fault("token", grant="refresh_token", status=503, times=2))
    stage.sign_in("expired")
    worker = stage.start("obtain", gates=["token_refresh.exchanging"], hurry=True, **disk.options)
    worker.held("token_refresh.exchanging")
    disk.fill()
    worker.order("on")
    assert worker.result().error in {"unreachable", "unwritable"}
    assert worker.end() == 0
    disk.repair()
    assert stage.next_run(wall_offset_s=1000.0).error == ""
    assert violations(stage) == []
