"""A process that holds the lock is stopped for longer than others wait, and goes on: no process takes the lock
meanwhile."""

from __future__ import annotations

import signal

import pytest
from fleet.invariants import violations
from fleet.stage import Stage

from kimi_auth.testing.emulator import Fault

pytestmark = pytest.mark.timeout(120)

IN_FLIGHT = "in flight"
STEPS = ("claiming", "exchanging", IN_FLIGHT, "staging", "committing")


@pytest.mark.parametrize(
    "patience_s", [pytest.param(0.3, id="short patience"), pytest.param(None, id="30 s", marks=pytest.mark.prove)]
)
@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step == IN_FLIGHT else pytest.mark.prove) for step in STEPS]
)
def test_stopped_with_the_lock(stage: Stage, step: str, patience_s: float | None) -> None:
    """The others do not go on without the lock, and say who holds it; after SIGCONT its answer counts, however late."""
    if patience_s is None and step not in {IN_FLIGHT, "staging"}:
        pytest.skip("the real half minute is waited for at the two steps that could lose a pair")
    stage.sign_in("expired")
    if step == IN_FLIGHT:
        stage.state.inject(Fault("token", grant="refresh_token", latency_s=0.5))
        stopped = stage.start("obtain")
        stage.arrived(1)
    else:
        stopped = stage.start("obtain", gates=[f"token_refresh.{step}"])
        stopped.held(f"token_refresh.{step}")
    stopped.process.send_signal(signal.SIGSTOP)
    sent = len(stage.sends)
    others = [stage.start("obtain", **({} if patience_s is None else {"patience_s": patience_s})) for _ in range(2)]
    for other in others:
        result = other.result()
        assert (result.error, other.end()) == ("locked", 0), result
        assert f"pid {stopped.pid}" in result.message
    assert len(stage.sends) == sent
    if step != IN_FLIGHT:
        stopped.order("on")
    stopped.process.send_signal(signal.SIGCONT)
    result = stopped.result()
    assert stopped.end() == 0
    # Its own caller may have lost patience while it was stopped; the renewal itself goes on.
    assert result.error in {"", "unreachable" if patience_s is None else ""}
    now = stage.look().access
    assert result.access in {now, ""}
    assert stage.next_run().access == now
    assert (stage.exchanges, len(stage.sends), stage.works) == (1, 1, True)
    assert violations(stage) == []


def test_stopped_beyond_the_deadline(stage: Stage) -> None:
    """The answer came while the process was stopped, and its own deadline passed: the answer counts all the same."""
    stage.state.inject(Fault("token", grant="refresh_token", latency_s=0.2))
    stage.sign_in("expired")
    stopped = stage.start("obtain", deadline_s=0.8)
    stage.arrived(1)
    stopped.process.send_signal(signal.SIGSTOP)
    other = stage.start("obtain", patience_s=1.5)
    assert (other.result().error, other.end()) == ("locked", 0)
    stopped.process.send_signal(signal.SIGCONT)
    assert (stopped.result().error, stopped.end()) == ("", 0)
    assert (stage.next_run().error, stage.exchanges, len(stage.sends)) == ("", 1, 1)
    assert violations(stage) == []


def test_a_working_token_does_not_wait_for_a_stopped_process(stage: Stage) -> None:
    """As long as the token works, a stopped process disturbs no other."""
    stage.sign_in("expiring")
    stopped = stage.start("obtain", gates=["token_refresh.exchanging"])
    stopped.held("token_refresh.exchanging")
    stopped.process.send_signal(signal.SIGSTOP)
    assert stage.next_run().access == stage.seen[0].access
    stopped.order("on")
    stopped.process.send_signal(signal.SIGCONT)
    assert stopped.end() == 0
    assert (stage.exchanges, stage.works, violations(stage)) == (1, True, [])
