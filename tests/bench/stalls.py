"""For how long a program's event loop stands still while kimi-auth works in it, in a process that has loaded nothing yet."""

from __future__ import annotations

import statistics
from pathlib import Path

from bench.looping import THINGS
from bench.report import Table, number
from bench.surroundings import sign_in_at
from bench.worker import Worker
from kimi_auth.testing.emulator import Emulator

__all__ = ["table"]

TARGET_MS = 20
LEFT_S = {"kept_fresh": -1.0}
"""Life of the stored token: `kept_fresh` has to wait for a renewal."""


def table(folder: Path, *, quick: bool = False) -> Table:
    """Milliseconds of the longest stall in each of several processes, and how much of it was this process's own CPU."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in THINGS}
    with Emulator(approve="auto", approve_after_s=0, interval_s=0) as emulator:
        for number_of_round in range(1 if quick else 8):
            for name, seen in found.items():
                share_dir = folder / f"stalls-{name}-{number_of_round}"
                sign_in_at(emulator, share_dir, left_s=LEFT_S.get(name, 36_000.0))
                with Worker("looping", name, str(share_dir), **emulator.env) as worker:
                    answer = worker.answer()
                if number_of_round or quick:  # the first one writes the bytecode
                    seen.append(answer)
    rows = [
        (
            name,
            number(statistics.median(one["gap_s"] for one in seen) * 1e3),
            number(statistics.median(one["own_s"] for one in seen) * 1e3),
            number(max(one["own_s"] for one in seen) * 1e3),
            f"{TARGET_MS}",
        )
        for name, seen in found.items()
    ]
    return Table(
        "The longest stall of the event loop: milliseconds",
        ("", "stall", "our part", "worst", "target"),
        rows,
        [
            "Each in a new process, with its imports and the certificates. A task that beats each millisecond finds the gap.",
            "'our part': the CPU that the process itself used within a gap, its loop's waits for a processor left out. The target is for it.",
        ],
    )
