"""A signal to a Python program in the middle of a renewal: every use of the library, every moment, every signal.

Where the main thread began the renewal, or a guard is open, the login survives. The rest is named: SIGTERM and SIGHUP while a
worker thread renews without the guard end the process at once, as SIGKILL does.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from crash.held_answers import IN_FLIGHT, HoldingStage
from crash.test_refresh import MOMENTS, STEPS, stand, stand_in_block
from fleet.invariants import violations
from fleet.stage import Age
from house.patience import ended

pytestmark = pytest.mark.timeout(600)

TORN = {IN_FLIGHT, "token_refresh.staging"}
"""Moments at which the new pair exists nowhere but in the answer."""

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Use(NamedTuple):
    """How a program asks: a call of the worker, its options, and what it finds on disk. `is_protected`: for every signal."""

    call: str
    age: Age = "expired"
    options: dict[str, Any] = {}  # noqa: RUF012 - never written to
    is_protected: bool = True


USES = {
    "sync, main thread": Use("obtain"),
    "asyncio.run": Use("obtain_async"),
    "kept_fresh": Use("kept_fresh", "fresh"),
    "in the background": Use("obtain_and_stay", "expiring"),
    "worker thread, guarded": Use("obtain_in_thread", options={"guard": True}),
    "worker thread": Use("obtain_in_thread", is_protected=False),
}


def survives(stage: HoldingStage, use: Use, moment: str, number: signal.Signals) -> bool:
    """Whether the login works after a program that used the library so was sent the signal at that moment."""
    is_protected = use.is_protected or number == signal.SIGINT
    token = stage.sign_in(use.age)
    if use.call == "kept_fresh":
        worker = stand_in_block(stage, token, moment)
    else:
        worker = stand(stage, use.call, moment, **use.options)
    worker.send(number)
    if is_protected:
        stage.let_go(worker, moment)
    assert worker.end() == (130 if number == signal.SIGINT else -number), worker.story()
    assert "Traceback" not in worker.stderr()
    if not is_protected:
        worker.was_killed = True
        assert len(stage.sends) == STEPS[moment].sends
    result = stage.next_run()
    if is_protected:
        assert (stage.exchanges, len(stage.sends), result.access) == (1, 1, stage.look().access)
    torn = int(not is_protected and moment in TORN)
    assert violations(stage, dead_owners=torn) == []
    return not result.error and stage.works


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("use", ["asyncio.run", "in the background", "worker thread, guarded"])
def test_a_signal_in_flight_loses_nothing(stage: HoldingStage, use: str, number: signal.Signals) -> None:
    """The answer is on its way, and what would end the process waits until it is on disk."""
    assert survives(stage, USES[use], IN_FLIGHT, number)
    assert (stage.exchanges, len(stage.sends)) == (1, 1)


@pytest.mark.prove
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("use", USES)
def test_every_use_at_every_moment(
    tmp_path: Path, use: str, number: signal.Signals, measured: Callable[[str], None]
) -> None:
    """Only a login reported as lost is lost."""
    lost = set()
    for moment in MOMENTS:
        folder = tmp_path / moment
        folder.mkdir()
        with HoldingStage(folder) as stage:
            if not survives(stage, USES[use], moment, number):
                lost.add(moment)
    measured(f"{use}, {number.name}: {len(lost)} of {len(MOMENTS)} lost{': ' if lost else ''}{', '.join(sorted(lost))}")
    assert lost == (TORN if not USES[use].is_protected and number != signal.SIGINT else set())


# --- the end of the program ------------------------------------------------------------------------------------------


def test_the_end_waits_for_one_exchange(stage: HoldingStage) -> None:
    """A silent server, and a caller that gave up: the exchange in flight is waited for, that is said once, no second one is
    begun, and an impatient Ctrl-C leaves no traceback."""
    stage.sign_in("expired")
    stage.hold("token", "refresh_token")
    # Its deadline begins only when the caller has given up and the program has come to its end.
    worker = stage.start("give_up", gates=["token_refresh.exchanging"], deadline_s=2.0, say_after_s=0.0)
    worker.held("token_refresh.exchanging")
    worker.order("cancel")
    worker.wait_for("exiting")
    for _ in range(3):
        worker.send(signal.SIGINT)
    worker.order("on")
    stage.arrived(1)
    assert worker.end() == 0, worker.story()
    assert len(stage.sends) == 1
    assert worker.stderr() == "kimi-auth: a renewal is in progress; exiting as soon as its result is stored\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_the_end_waits_too(stage: HoldingStage, number: signal.Signals) -> None:
    """The interpreter waits for the answer; what a service manager sends meanwhile takes effect when it is on disk."""
    stage.sign_in("expired")
    worker = stand(stage, "give_up", IN_FLIGHT)
    worker.order("cancel")
    worker.wait_for("exiting")
    worker.send(number)
    stage.let_go(worker, IN_FLIGHT)
    assert worker.end() == -number, worker.story()
    assert stage.look().access != stage.seen[0].access
    assert (stage.exchanges, len(stage.sends), stage.works) == (1, 1, True)


def test_the_end_waits_for_no_lock(stage: HoldingStage) -> None:
    """A renewal that still waits for another process's lock has sent nothing: the program ends without it."""
    stage.sign_in("expired")
    holder = stand(stage, "obtain", "token_refresh.claiming")
    worker = stage.start("give_up", gates=["token_lifecycle.refreshing"])
    worker.held("token_lifecycle.refreshing")
    worker.order("cancel")
    worker.wait_for("exiting")
    worker.order("on")
    assert worker.end() == 0, worker.story()
    holder.order("on")
    assert holder.end() == 0
    assert (stage.exchanges, len(stage.sends)) == (1, 1)


@pytest.mark.prove
def test_a_silent_server_holds_the_end_up_for_one_deadline(
    stage: HoldingStage, measured: Callable[[str], None]
) -> None:
    """The same with the true deadline: a minute and a little, of which most is the request's."""
    stage.sign_in("expired")
    worker = stand(stage, "give_up", IN_FLIGHT)
    worker.order("cancel")
    worker.wait_for("exiting")
    began_s = time.monotonic()
    assert ended(worker.process) == 0
    assert len(stage.sends) == 1
    measured(f"beside a silent server the end of a program takes {time.monotonic() - began_s:.0f} s, and one exchange")
