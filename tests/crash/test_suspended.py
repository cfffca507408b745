"""A process that holds the lock is stopped for longer than others wait, and goes on: no process takes the lock
meanwhile."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from crash.held_answers import IN_FLIGHT, HoldingStage, stop
from fleet.invariants import violations

pytestmark = pytest.mark.timeout(120)

STEPS = ("claiming", "exchanging", IN_FLIGHT, "staging", "committing")


@pytest.mark.parametrize(
    "patience_s", [pytest.param(0.3, id="short patience"), pytest.param(None, id="30 s", marks=pytest.mark.prove)]
)
@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step == IN_FLIGHT else pytest.mark.prove) for step in STEPS]
)
def test_stopped_with_the_lock(stage: HoldingStage, step: str, patience_s: float | None) -> None:
    """The others do not go on without the lock, and say who holds it; after SIGCONT its answer counts, however late."""
    if patience_s is None and step not in {IN_FLIGHT, "staging"}:
        pytest.skip("the real half minute is waited for at the two steps that could lose a pair")
    stage.sign_in("expired")
    if step == IN_FLIGHT:
        stage.hold("token", "refresh_token")
        stopped = stage.start("obtain")
        stage.arrived(1)
    else:
        stopped = stage.start("obtain", gates=[f"token_refresh.{step}"])
        stopped.held(f"token_refresh.{step}")
    stop(stopped)
    stage.let_go(stopped, step)
    sent = len(stage.sends)
    others = [stage.start("obtain", **({} if patience_s is None else {"patience_s": patience_s})) for _ in range(2)]
    for other in others:
        result = other.result()
        assert (result.error, other.end()) == ("locked", 0), result
        assert f"pid {stopped.pid}" in result.message
    assert len(stage.sends) == sent
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


def test_stopped_beyond_the_deadline(tmp_path: Path) -> None:
    """The answer came while the process was stopped, and its own deadline passed: the answer counts all the same."""
    deadline_s = 0.8
    while not is_stopped_beyond(deadline_s, tmp_path / str(deadline_s)):
        deadline_s *= 2  # the machine was slower than the deadline, which passed before the process was stopped


def is_stopped_beyond(deadline_s: float, folder: Path) -> bool:
    """False where the deadline may have passed before the process was stopped: nothing was seen then."""
    folder.mkdir()
    with HoldingStage(folder) as stage:
        stage.sign_in("expired")
        stage.hold("token", "refresh_token")
        stopped = stage.start("obtain", gates=["token_refresh.exchanging"], deadline_s=deadline_s)
        stopped.held("token_refresh.exchanging")
        before_s = time.monotonic()
        stopped.order("on")
        stage.arrived(1)
        stop(stopped)
        if time.monotonic() - before_s >= deadline_s:
            return False
        stage.let_go(stopped, IN_FLIGHT)
        other = stage.start("obtain", patience_s=deadline_s + 0.7)
        assert (other.result().error, other.end()) == ("locked", 0)
        stopped.process.send_signal(signal.SIGCONT)
        assert (stopped.result().error, stopped.end()) == ("", 0)
        assert (stage.next_run().error, stage.exchanges, len(stage.sends)) == ("", 1, 1)
        assert violations(stage) == []
    return True


def test_a_working_token_does_not_wait_for_a_stopped_process(stage: HoldingStage) -> None:
    """As long as the token works, a stopped process disturbs no other."""
    stage.sign_in("expiring")
    stopped = stage.start("obtain", gates=["token_refresh.exchanging"])
    stopped.held("token_refresh.exchanging")
    stop(stopped)
    assert stage.next_run().access == stage.seen[0].access
    stopped.order("on")
    stopped.process.send_signal(signal.SIGCONT)
    assert stopped.end() == 0
    assert (stage.exchanges, stage.works, violations(stage)) == (1, True, [])
