"""Many programs find one expired login at one moment: what ours do, and what the Kimi CLI does, on the same server."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from bench.report import NONE, Table, number
from bench.surroundings import sign_in_at
from bench.worker import Worker, started
from kimi_auth.testing.emulator import Emulator
from kimi_auth.wire import device_headers

__all__ = ["table"]

PROGRAMS = 16


@dataclass
class Score:
    """What rounds of one kind of program cost."""

    renewals: list[int] = field(default_factory=list)
    ended: int = 0
    without: int = 0
    beyond_s: list[float] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        return len(self.renewals)


def table(folder: Path, *, latencies_s: Sequence[float] = (0.1,), quick: bool = False) -> Table:
    """Renewals sent, logins ended, programs left without a token, and the longest wait beyond the server's own time."""
    count = 4 if quick else PROGRAMS
    lines: list[tuple[str, ...]] = []
    notes = [
        "'renewals': what reached the server in one round; 'longest wait': beyond the time that the server takes.",
        "The server ends a login when a refresh token comes twice (RFC 9700 §4.14.2).",
    ]
    with Emulator(approve_after_s=0, interval_s=0) as emulator, ExitStack() as alive:
        contenders = {}
        for name, way in _contenders(notes):
            share_dir = folder / f"contended-{way}"
            device_headers(share_dir, version="bench")  # the installation's id, which programs have long before that
            environ = emulator.env | {"KIMI_SHARE_DIR": str(share_dir)}
            (worker,) = alive.enter_context(started(1, "contender", way, str(count), **environ))
            contenders[name] = (worker, share_dir)
        for latency_s in latencies_s:
            emulator.state.settings = replace(emulator.state.settings, latency_s=latency_s)
            scores = {name: Score() for name in contenders}
            for _ in range(1 if quick else 7 if latency_s < 1 else 3):
                for name, (worker, share_dir) in contenders.items():
                    _round(emulator, share_dir, worker, scores[name], latency_s)
            lines += [(name, f"{latency_s:g} s", *_cells(score, count)) for name, score in scores.items()]
    head = ("", "server takes", "renewals", "logins ended", "no token", "longest wait")
    return Table(f"{count} programs find one expired login at one moment", head, lines, notes)


def _contenders(notes: list[str]) -> Iterable[tuple[str, str]]:
    yield "kimi-auth", "ours"
    if importlib.util.find_spec("kimi_cli"):
        yield f"Kimi CLI {version('kimi-cli')}", "theirs"
    else:
        notes.append("Kimi CLI is missing: it is not installed here.")


def _round(emulator: Emulator, share_dir: Path, worker: Worker, score: Score, latency_s: float) -> None:
    state = emulator.state
    sign_in_at(emulator, share_dir, left_s=-10.0)
    before = state.counts["refreshes"], _ended(emulator)
    results = worker.ask("go")["results"]
    score.renewals.append(state.counts["refreshes"] - before[0])
    score.ended += _ended(emulator) - before[1]
    score.without += sum(state.judge(result["token"]) != "ok" for result in results)
    score.beyond_s.append(max(result["waited_s"] for result in results) - latency_s)


def _ended(emulator: Emulator) -> int:
    return sum(not family["alive"] for family in emulator.state.snapshot()["families"])


def _cells(score: Score, count: int) -> tuple[str, ...]:
    if not score.rounds:
        return (NONE,) * 4
    least, most = min(score.renewals), max(score.renewals)
    return (
        f"{most}" if least == most else f"{least} to {most}",
        f"{score.ended} of {score.rounds}",
        f"{score.without} of {score.rounds * count}",
        f"{number(statistics.median(score.beyond_s))} s",
    )
