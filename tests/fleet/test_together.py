"""One process does something else while another one, or another coroutine, renews: who wins, who waits, who is served."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet.invariants import violations
from fleet.stage import Stage
from kimi_auth.testing.emulator import Fault
from kimi_auth.token import Token

pytestmark = pytest.mark.timeout(120)

EXCHANGING = "token_refresh.exchanging"
SILENT = Fault("token", grant="refresh_token", latency_s=3600.0)
EMPTY = Token("", "", 0.0, 0.0, signed_out_at_s=1_800_000_000.0)

STEPS_BEFORE_SENDING = ("claiming", "looking_again")
STEPS_AFTER_SENDING = ("staging", "committing")


@pytest.mark.parametrize("cancelled", [0, 1], ids=["none cancelled", "one cancelled"])
def test_swarm(stage: Stage, cancelled: int) -> None:
    """32 coroutines report one 401: one rotation, and a cancelled one takes no other along."""
    stage.sign_in("rejected")
    worker = stage.start("swarm", count=32, gates=[EXCHANGING])
    worker.held(EXCHANGING)
    for _ in range(cancelled):
        worker.order("cancel")
    worker.order("on")
    got = worker.wait_for("swarm")["swarm"]
    assert worker.end() == 0
    now = stage.look()
    assert got == [{"error": "CancelledError"}] * cancelled + [{"access": now.access}] * (32 - cancelled)
    assert (stage.exchanges, stage.works, violations(stage)) == (1, True, [])


@pytest.mark.parametrize("call", ["obtain", "obtain_async"])
def test_a_working_token_waits_for_nobody(stage: Stage, measured: Callable[[str], None], call: str) -> None:
    """The server is silent, the token still works: the caller has it while the renewal is in the air."""
    stage.state.inject(SILENT)
    stage.sign_in("expiring")
    worker = stage.start(call)
    result = worker.result()
    assert (result.access, result.error) == (stage.seen[0].access, "")
    measured(f"{call}, silent server, token that works: {1000 * result.waited_s:.1f} ms")
    stage.arrived(1)
    worker.kill()
    assert violations(stage, dead_owners=1) == []


def test_kept_fresh_begins_at_once(stage: Stage) -> None:
    """A block that keeps a client fresh begins with the token that works, whether or not the server answers."""
    stage.sign_in("expiring")
    worker = stage.start("kept_fresh", gates=[EXCHANGING])
    worker.held(EXCHANGING)
    first = worker.soon("inside")
    worker.order("on")
    assert first is not None, "the block waits for the renewal of a token that works"
    assert first["access"] == stage.seen[0].access
    worker.order("leave")
    last = worker.result().access
    assert worker.end() == 0
    assert last in {first["access"], stage.look().access}
    assert (stage.exchanges, stage.works, violations(stage)) == (1, True, [])


@pytest.mark.parametrize("rounds", [1, 2], ids=["logout waits", "logout waits in spite of a queue"])
def test_logout_during_a_refresh(stage: Stage, rounds: int) -> None:
    """A logout waits for the lock, then it is final, also for those who waited with it."""
    stage.sign_in("expired")
    refreshing = stage.start("obtain", gates=[EXCHANGING])
    refreshing.held(EXCHANGING)
    leaving = stage.start("logout", gates=["token_lifecycle.signing_out"])
    leaving.held("token_lifecycle.signing_out")
    others = [stage.start("obtain", gates=["token_lifecycle.refreshing"]) for _ in range(rounds - 1)]
    for other in others:
        other.held("token_lifecycle.refreshing")
    for waiting in (leaving, *others):
        waiting.waits()
    refreshing.order("on")
    # The logout may take the lock before the renewed process has inspected the record once more.
    assert refreshing.result().error in {"", "not_signed_in"}
    assert (leaving.result().error, leaving.end(), refreshing.end()) == ("", 0, 0)
    for other in others:
        assert other.result().error in {"", "not_signed_in"}
        assert other.end() == 0
    assert stage.next_run().error == "not_signed_in"
    assert stage.exchanges == 1
    assert [family["revoked_because"] for family in stage.families] == ["signed out"]
    assert violations(stage) == []


def test_a_refresh_that_waited_for_a_logout(stage: Stage) -> None:
    """Who waits for the lock while another process signs out ends signed out, and sends nothing."""
    stage.sign_in("expired")
    leaving = stage.start("logout", gates=["sign_out.emptying", "sign_out.clearing"])
    leaving.held("sign_out.emptying")
    waiting = stage.start("obtain", gates=["token_lifecycle.refreshing"])
    waiting.held("token_lifecycle.refreshing")
    waiting.waits()
    leaving.order("on")
    leaving.held("sign_out.clearing")
    assert waiting.result().error == "not_signed_in"
    leaving.order("on")
    assert (leaving.end(), waiting.end(), stage.sends) == (0, 0, [])
    assert violations(stage) == []


def test_login_during_a_refresh(stage: Stage) -> None:
    """A login waits for the lock, then its pair is the record; the refresher takes it from there."""
    stage.sign_in("expired")
    refreshing = stage.start("twice", first="obtain", gates=["token_refresh.committing"])
    refreshing.held("token_refresh.committing")
    arriving = stage.start("login", hurry=True, gates=["device_login.persisting"])
    arriving.held("device_login.persisting")
    arriving.waits()
    refreshing.order("on")
    assert refreshing.result().error == ""
    assert arriving.result().state in {"signed_in", "models_pending"}
    assert arriving.end() == 0
    refreshing.order("again")
    now = stage.look()
    assert (refreshing.wait_for("again")["access"], refreshing.end()) == (now.access, 0)
    new = stage.families[-1]
    assert (new["family"], new["alive"], now.access in new["access"]) == (2, True, True)
    assert violations(stage) == []


@pytest.mark.parametrize("step", STEPS_BEFORE_SENDING + STEPS_AFTER_SENDING)
@pytest.mark.parametrize("what", ["signs in", "signs out", pytest.param("deletes", marks=pytest.mark.prove)])
def test_a_program_without_our_lock(stage: Stage, what: str, step: str) -> None:
    """An old Kimi CLI signs in or out in the middle of a refresh: that stands, and the refresher's own pair is dropped."""
    stage.sign_in("expired")
    worker = stage.start("obtain", gates=[f"token_refresh.{step}"])
    worker.held(f"token_refresh.{step}")
    theirs = stage.issue("fresh")
    stage.overwrite({"signs in": theirs, "signs out": EMPTY, "deletes": None}[what])
    worker.order("on")
    result = worker.result()
    assert worker.end() == 0
    is_in = what == "signs in"
    assert result.error == ("" if is_in else "not_signed_in")
    assert stage.next_run().error == result.error
    if is_in:
        assert stage.look().access == result.access
    assert len(stage.sends) == (step in STEPS_AFTER_SENDING)
    ends = [family["revoked_because"] for family in stage.families]
    dropped = step in STEPS_AFTER_SENDING and not is_in
    assert ends == ["signed out" if dropped else None, None]
    assert violations(stage) == []
