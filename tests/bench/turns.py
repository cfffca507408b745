"""Timing in turns: every row of a table works a little, then the next one, so that a busy moment hits all of them."""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

__all__ = ["Row", "Turn", "calls", "calls_async", "medians"]

Turn = Callable[[int], float]
"""Does its work so many times and says how many seconds that took."""


@dataclass(frozen=True)
class Row:
    """One way to do a thing; without a `turn` it cannot be done here, and `remark` says why."""

    name: str
    turn: Turn | None
    remark: str = ""


def calls(call: Callable[[], object]) -> Turn:
    """The turn of a plain function."""

    def turn(times: int) -> float:
        began_s = time.perf_counter()
        for _ in itertools.repeat(None, times):
            call()
        return time.perf_counter() - began_s

    return turn


def calls_async(call: Callable[[], Awaitable[object]], runner: asyncio.Runner) -> Turn:
    """The turn of a coroutine function, awaited again and again in one task of `runner`."""

    async def body(times: int) -> float:
        began_s = time.perf_counter()
        for _ in itertools.repeat(None, times):
            await call()
        return time.perf_counter() - began_s

    return lambda times: runner.run(body(times))


def medians(rows: Sequence[Row], turns: int, turn_s: float = 0.0) -> dict[str, float]:
    """Seconds that each row takes for one call: the median of `turns` turns of about `turn_s` seconds (0: one call)."""
    work = {row.name: row.turn for row in rows if row.turn is not None}
    times = {name: _times(turn, turn_s) for name, turn in work.items()}
    taken: dict[str, list[float]] = {name: [] for name in work}
    gc.collect()
    gc.freeze()  # imported objects are not collected in the middle of a turn
    try:
        for _ in range(turns):
            for name, turn in work.items():
                taken[name].append(turn(times[name]) / times[name])
    finally:
        gc.unfreeze()
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def _times(turn: Turn, turn_s: float) -> int:
    """How often a turn of `turn_s` seconds can do its work; the tries warm it up."""
    return max(1, round(turn_s / max(min(turn(1) for _ in range(3)), 1e-7))) if turn_s else 1
