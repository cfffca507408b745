"""How soon those who wait get what one process held: the credential's lock, or the token that it has renewed."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bench.report import NONE, Table, number
from bench.surroundings import file_store, pair, sign_in
from bench.worker import Worker, started

__all__ = ["table"]

SIBLINGS = 8
CROWD = 16
WATCHED_S = 3.0
SOON_S, LATE_S = 0.05, 1.1
"""How long they have waited when it comes: after a second, they look less often."""

WAYS = {
    "lock": "the lock",
    "pair": "the renewed token",
    "late": "the renewed token, after a second",
    "flock": "for scale: flock in the kernel",
}


def table(folder: Path, *, quick: bool = False) -> Table:
    """Milliseconds until the first and the last have it, and what waiting costs."""
    share_dir = folder / "hand-over"
    sign_in(file_store(share_dir), pair())
    came: dict[tuple[str, int], list[float]] = {(way, count): [] for way in WAYS for count in (1, SIBLINGS)}
    with started(CROWD, "waiter", str(share_dir)) as workers:
        for number_of_round in range(2 if quick else 25):
            for (way, count), seconds in came.items():
                if way != "late" or number_of_round % (2 if quick else 3) == 0:
                    seconds.append(_round(share_dir, workers[:count], way, number_of_round))
        share = _cost_of_waiting(share_dir, workers, 0.3 if quick else WATCHED_S)
    lines = [
        (
            name,
            *(cell for count in (1, SIBLINGS) for cell in _cells(came[way, count])),
            share if way == "late" else NONE,
        )
        for way, name in WAYS.items()
    ]
    return Table(
        "Handed over to those who wait: milliseconds",
        ("", "to one", "worst", f"last of {SIBLINGS}", "worst", f"CPU of {CROWD}"),
        lines,
        [
            "The renewed token is taken as soon as it lies on disk; who waits for it needs no turn with the lock.",
            f"'CPU of {CROWD}': the share of one core that so many processes use while they wait for it for long.",
        ],
    )


def _cells(seconds: Sequence[float]) -> tuple[str, str]:
    return number(statistics.median(seconds) * 1e3), number(max(seconds) * 1e3)


def _round(share_dir: Path, workers: Sequence[Worker], way: str, counter: int) -> float:
    """Holds the lock until all of them wait, lets go, and gives the seconds until the last one has come."""
    store = file_store(share_dir)
    with store.locked(None):
        if way in {"pair", "late"}:
            store.put(pair(2 * counter, left_s=-10.0))
        for worker in workers:
            worker.order(way)
        waiting_s = LATE_S if way == "late" else SOON_S
        time.sleep(waiting_s + random.uniform(0.0, 0.025))  # they look again and again: let go between any two looks
        if way in {"pair", "late"}:
            store.put(pair(2 * counter + 1))
        freed_s = time.monotonic()
    return max(float(worker.answer()["came_s"]) for worker in workers) - freed_s


def _cost_of_waiting(share_dir: Path, workers: Sequence[Worker], watched_s: float) -> str:
    """The share of a core that all of them use while they wait for a renewal that takes long."""
    store = file_store(share_dir)
    with store.locked(None):
        store.put(pair(-2, left_s=-10.0))
        for worker in workers:
            worker.order("pair")
        time.sleep(LATE_S)
        before_s, began_s = _cpu_s(workers), time.monotonic()
        time.sleep(watched_s)
        used_s, passed_s = _cpu_s(workers) - before_s, time.monotonic() - began_s
        store.put(pair(-1))
    for worker in workers:
        worker.answer()
    return f"{used_s / passed_s * 100:.1f} %"


def _cpu_s(workers: Sequence[Worker]) -> float:
    return sum(float(worker.ask("cpu")["cpu_s"]) for worker in workers)
