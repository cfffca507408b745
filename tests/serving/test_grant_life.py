"""Every edge of `machines/grant.toml`, walked with the real hooks on real files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from store.test_renaming import killed_before

from kimi_auth.errors import StorageError, Unreachable
from kimi_auth.serving.audit import Audit
from kimi_auth.serving.contracts import Wish
from kimi_auth.serving.records import Caller, Grant, GrantFiles
from serving.conftest import ME, Desk, run

SANDBOX = Caller(ME, 2, "grant agent")


def full(*_: object, **__: object) -> None:
    raise StorageError("the disk is full")


def ask(desk: Desk, grant: Grant) -> tuple[str, bool]:
    """The state that a request comes to, and whether a token may leave."""
    state, ctx = run(desk.life.ask(grant.id, SANDBOX, Wish()))
    return state, ctx.token is not None and ctx.error is None


def test_a_grant_is_issued_used_and_revoked(desk: Desk) -> None:
    """The life of a grant: issued, active from its first use on, revoked for good; the audit log tells it in order."""
    grant = desk.issue()
    assert run(desk.life.look(grant.id))[0] == "issued"
    assert ask(desk, grant) == ("active", True)
    assert ask(desk, grant) == ("active", True)
    assert run(desk.life.revoke(grant.id, SANDBOX))[0] == "revoked"
    assert ask(desk, grant) == ("revoked", False)
    assert run(desk.life.revoke(grant.id, SANDBOX))[0] == "revoked"
    assert desk.told() == ["issued", "activated", "token", "token", "revoked"]


def test_a_grant_that_was_never_used_can_be_revoked(desk: Desk) -> None:
    """An owner may take back a grant that was issued by mistake."""
    grant = desk.issue()
    assert run(desk.life.revoke(grant.id, SANDBOX))[0] == "revoked"


def test_a_grant_expires_by_the_clock(desk: Desk) -> None:
    """At its end a grant is worth nothing, in use or not, and can neither be used nor revoked any more."""
    used, unused = desk.issue("a", ttl_s=60), desk.issue("b", ttl_s=60)
    assert ask(desk, used) == ("active", True)
    desk.clock.now_s += 60
    for grant in (used, unused):
        assert ask(desk, grant) == ("expired", False)
        assert run(desk.life.revoke(grant.id, SANDBOX))[0] == "expired"


def test_an_unknown_grant_is_absent(desk: Desk) -> None:
    """An id that was never issued gives nothing and cannot be revoked."""
    state, _ = run(desk.life.ask("0" * 16, SANDBOX, Wish()))
    assert state == "absent"
    assert run(desk.life.revoke("0" * 16, SANDBOX))[0] == "absent"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"name": "a", "uids": [], "per_minute": 1}', b"\xff", b"[" * 9000]
)
def test_a_damaged_grant_gives_nothing_and_can_be_revoked(desk: Desk, content: bytes) -> None:
    """A grant whose file cannot be understood is corrupt, in use or not, until it is revoked."""
    grant = desk.issue()
    assert ask(desk, grant)[0] == "active"
    files = GrantFiles(desk.files.folder)
    place = desk.files.folder / "grants" / f"{grant.id}.grant"
    place.unlink()
    place.write_bytes(content)
    place.chmod(0o600)
    desk.hooks._files = files
    assert ask(desk, grant) == ("corrupt", False)
    assert run(desk.life.revoke(grant.id, SANDBOX))[0] == "revoked"
    assert ask(desk, grant) == ("revoked", False)


def test_a_grant_that_cannot_be_written_is_not_issued(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk there is no grant, and its maker is told."""
    monkeypatch.setattr(desk.files, "issue", full)
    with pytest.raises(StorageError):
        desk.issue()
    assert desk.files.ids() == []


def test_a_first_use_that_cannot_be_noted_gives_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is handed out that the grant's files would not know of; the grant stays as it was."""
    grant = desk.issue()
    with monkeypatch.context() as patch:
        patch.setattr(desk.files, "note_use", full)
        assert ask(desk, grant) == ("issued", False)
    assert desk.login.asked == []
    assert ask(desk, grant) == ("active", True)


def test_a_token_that_cannot_be_accounted_for_does_not_leave(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its line in the audit log no token leaves; the grant stands."""
    grant = desk.issue()
    assert ask(desk, grant) == ("active", True)
    with monkeypatch.context() as patch:
        patch.setattr(desk.audit, "write", full)
        assert ask(desk, grant) == ("active", False)
    assert ask(desk, grant) == ("active", True)


def test_a_revocation_that_cannot_be_written_leaves_the_grant(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner is told that the grant still stands."""
    grant = desk.issue()
    monkeypatch.setattr(desk.files, "revoke", full)
    state, ctx = run(desk.life.revoke(grant.id, SANDBOX))
    assert state == "issued"
    assert ctx.error is not None


def test_a_revocation_counts_without_its_line(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grant ends although the audit log cannot be written: that is said, and changes nothing."""
    grant = desk.issue()
    monkeypatch.setattr(desk.audit, "write", full)
    state, ctx = run(desk.life.revoke(grant.id, SANDBOX))
    assert state == "revoked"
    assert ctx.error is not None


def test_no_token_now_leaves_the_grant(desk: Desk) -> None:
    """A login that is signed out or offline ends no grant: the sandbox asks again later and gets one."""
    grant = desk.issue()
    desk.login.error = Unreachable("no answer")
    assert ask(desk, grant) == ("active", False)
    desk.login.error = None
    assert ask(desk, grant) == ("active", True)


@pytest.mark.parametrize("event", ["revoked", "expired"])
def test_a_grant_that_ends_while_the_login_is_asked_gets_nothing(desk: Desk, event: str) -> None:
    """A token that was found for a grant that has ended meanwhile does not leave, and is not in the audit log."""
    grant = desk.issue(ttl_s=60)
    assert ask(desk, grant) == ("active", True)
    desk.login.before = lambda: end(desk, grant, event)
    assert ask(desk, grant) == (event, False)
    assert desk.told().count("token") == 1


@pytest.mark.parametrize("event", ["revoked", "expired"])
def test_a_grant_that_ends_while_a_walk_begins_gets_nothing(
    desk: Desk, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look and the admission a grant may end: the login is not even asked."""
    grant = desk.issue(ttl_s=60)
    standing = desk.files.standing

    def first_then_end(grant_id: str, now_s: float) -> object:
        found = standing(grant_id, now_s)
        end(desk, grant, event)
        return found

    monkeypatch.setattr(desk.files, "standing", first_then_end)
    assert ask(desk, grant) == (event, False)
    assert desk.login.asked == []


def end(desk: Desk, grant: Grant, event: str) -> None:
    if event == "revoked":
        desk.files.revoke(grant.id, desk.clock.now_s, "test")
    else:
        desk.clock.now_s += 61


def test_a_grant_asks_as_often_as_it_may(desk: Desk) -> None:
    """More requests than its rate are told when to come again; another grant is not slowed; time fills the bucket."""
    busy, other = desk.issue("busy", per_minute=3), desk.issue("other")
    answers = [run(desk.life.ask(busy.id, SANDBOX, Wish()))[1] for _ in range(5)]
    assert [answer.token is not None for answer in answers] == [True, True, True, True, False]
    assert answers[4].retry_after_s == pytest.approx(20.0)
    assert ask(desk, other) == ("active", True)
    desk.clock.now_s += 20
    assert ask(desk, busy) == ("active", True)


@pytest.mark.parametrize("kind", ["grant", "used", "revoked"])
def test_a_killed_writer_leaves_no_half_a_file(desk: Desk, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies before the name of a file is there leaves the grant as it was, for every other process."""
    grant = Grant.new("agent", (ME,), desk.clock.now_s)
    acts: dict[str, Callable[[], None]] = {
        "grant": lambda: desk.files.issue(grant),
        "used": lambda: desk.files.note_use(grant.id, 1.0),
        "revoked": lambda: desk.files.revoke(grant.id, 1.0, "test"),
    }
    if kind != "grant":
        desk.files.issue(grant)
    before = GrantFiles(desk.files.folder).standing(grant.id, desk.clock.now_s).phase

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", die)
        with pytest.raises(KeyboardInterrupt):
            acts[kind]()
    assert GrantFiles(desk.files.folder).standing(grant.id, desk.clock.now_s).phase == before
    acts[kind]()
    after = {"grant": "issued", "used": "active", "revoked": "revoked"}[kind]
    assert GrantFiles(desk.files.folder).standing(grant.id, desk.clock.now_s).phase == after


def last_lines(path: Path) -> list[str]:
    return [line["what"] for line in Audit(path / "audit.log", lambda: 0.0).lines()]


@pytest.mark.parametrize(
    ("event", "before", "after", "told"),
    [
        ("issue", "absent", "issued", "issued"),
        ("first use", "issued", "active", "token"),
        ("use", "active", "active", "token"),
        ("revoke", "active", "revoked", "revoked"),
    ],
)
def test_killed_at_every_step_of_a_walk(tmp_path: Path, event: str, before: str, after: str, told: str) -> None:
    """A process that is killed before any call to the file system in a walk leaves the grant as it was or as it would be, its log a
    longer one, and both readable; the same walk of the next process then comes to its end, and no grant is there without its line."""
    step, phases = 0, set()
    while True:
        step += 1
        desk = Desk(tmp_path / str(step))
        other = desk.issue("other")
        grant = Grant.new("agent", (ME,), desk.clock.now_s) if event == "issue" else desk.issue()
        if event in {"use", "revoke"}:
            assert ask(desk, grant) == ("active", True)
        desk.audit.close()
        folder = desk.files.folder
        key, log = (folder / "key").read_bytes(), desk.audit.path.read_bytes()

        def work(desk: Desk = desk, grant: Grant = grant) -> None:
            if event == "issue":
                run(desk.life.issue(grant, SANDBOX))
            elif event == "revoke":
                run(desk.life.revoke(grant.id, SANDBOX))
            else:
                assert ask(desk, grant) == ("active", True)

        was_killed = killed_before(step, work)
        found = GrantFiles(folder).standing(grant.id, desk.clock.now_s).phase
        phases.add(found)
        assert found in {before, after}
        assert desk.audit.path.read_bytes().startswith(log)
        has_ended = found == after and event in {"issue", "revoke"}
        again = Desk(folder)
        if not has_ended:
            work(again, grant)
        assert GrantFiles(folder).standing(grant.id, desk.clock.now_s).phase == after
        if not (has_ended and event == "revoke"):  # its note, which counts without the line, says who and when
            assert last_lines(folder)[-1] == told
        assert ask(again, other) == ("active", True)
        again.audit.close()
        assert (folder / "key").read_bytes() == key
        if not was_killed:
            break
    assert phases == {before, after}
    assert step > (1 if event == "use" else 5), "each step was a place to be killed at"


def test_files_are_the_owners_alone(desk: Desk) -> None:
    """Grants, key and log are private to the owner."""
    grant = desk.issue()
    assert ask(desk, grant)[0] == "active"
    folder: Path = desk.files.folder
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_removed_grant_is_gone(desk: Desk) -> None:
    """An owner who removes the file by hand has ended the grant as well, for a server that has read it before."""
    grant = desk.issue()
    assert ask(desk, grant) == ("active", True)
    (desk.files.folder / "grants" / f"{grant.id}.grant").unlink()
    assert ask(desk, grant) == ("absent", False)
