"""The price of walking machines as data: one transition of the engine, and of the tables that it stands on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transitions
from transitions.extensions.asyncio import AsyncMachine

from bench.report import Table, number
from bench.turns import Row, Turn, calls, calls_async, medians
from kimi_auth.machine import Library, Machine, Transition, walk_sync

__all__ = ["table"]

STATES = ("waiting", "polling")
TRANSITIONS = [["step", "waiting", "polling"], ["step", "polling", "waiting"]]


def table(_folder: Path, *, quick: bool = False) -> Table:
    """Microseconds of one transition."""
    with asyncio.Runner() as runner:
        rows = [
            Row("the engine: hook, outcome, transition", _engine(Library.load()["device_login"])),
            Row("a bare transitions.Machine", calls(_bare(transitions.Machine))),
            Row("a bare AsyncMachine", calls_async(_bare(AsyncMachine), runner)),
        ]
        seconds = medians(rows, 3 if quick else 101, 0.001 if quick else 0.01)
    first = seconds[rows[0].name]
    lines = [(name, number(taken * 1e6), number(taken / first)) for name, taken in seconds.items()]
    return Table("One transition of a machine", ("", "µs", "factor"), lines)


def _bare(machine: type[transitions.Machine]) -> Callable[[], Any]:
    """What the package's own users write: a model with a method for each event."""

    class Model:
        pass

    model = Model()
    machine(model, states=list(STATES), transitions=TRANSITIONS, initial=STATES[0], auto_transitions=False)
    call: Callable[[], Any] = model.step  # type: ignore[attr-defined]
    return call


def _engine(machine: Machine) -> Turn:
    """Walks of a sign-in that is polled for often; the turn counts the transitions really walked."""
    happy = {state.activity: next(iter(state.on)) for state in machine.states.values() if state.activity}

    class Hooks:
        """Approves after so many polls."""

        def __getattr__(self, activity: str) -> Callable[[int], tuple[str, int]]:
            return lambda polls: (happy[activity], polls)

        def poll_token(self, polls: int) -> tuple[str, int]:
            return ("authorization_pending", polls - 1) if polls else ("granted", 0)

    class Count:
        """Counts transitions."""

        def __init__(self) -> None:
            self.moves = itertools.count()

        def entered(self, machine: str, state: str, activity: str) -> None:
            """Counts nothing."""

        def moved(self, transition: Transition) -> None:
            next(self.moves)

    walked = Count()
    walk_sync(machine, Hooks(), 0, observe=walked)
    shortest = next(walked.moves)

    def turn(times: int) -> float:
        polls = max(0, times - shortest) // 2
        taken = calls(lambda: walk_sync(machine, Hooks(), polls, limit=times + 2 * shortest))(1)
        return taken * times / (shortest + 2 * polls)

    return turn
