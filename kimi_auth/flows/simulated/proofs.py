"""The proofs, at a terminal: worlds visited, parts left out, edges led elsewhere. What is measured can be kept as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from kimi_auth.machine import Library, digest
from kimi_auth.machine.explore import Report, explore

from .ablations import ABLATIONS, without
from .mutation import Score, merged, mutants, score, walked_by_world
from .world import World
from .worlds import FAST, QUICK, WORLDS

__all__ = ["main"]

Item = TypeVar("Item")
Result = TypeVar("Result")
CHUNK = 20

About = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what `argv` asks for. The exit status: 0 when everything is as it must be, else 1."""
    parser = argparse.ArgumentParser(prog="python -m kimi_auth.flows.simulated", description="Checks machines/*.toml.")
    parser.add_argument("--verify", action="store_true", help="visit every state of every world (the default)")
    parser.add_argument("--world", action="append", choices=list(WORLDS), help="only this world; may be repeated")
    parser.add_argument("--quick", action="store_true", help=f"only the world {QUICK!r}")
    parser.add_argument(
        "--ablations", action="store_true", help="leave out each part of the protocol, and see what breaks"
    )
    parser.add_argument("--mutate", nargs="*", metavar="MACHINE", help="lead every edge elsewhere, and see who notices")
    parser.add_argument("--workers", type=int, default=2, help="processes that work side by side (2)")
    parser.add_argument(
        "--json", type=Path, metavar="DIR", help="write what was measured, without times, into this folder"
    )
    asked = parser.parse_args(argv)
    fine = True
    if asked.verify or not (asked.ablations or asked.mutate is not None):
        fine &= _verify([QUICK] if asked.quick else asked.world or list(WORLDS), asked.workers, asked.json)
    if asked.ablations:
        fine &= _ablate(asked.workers, asked.json)
    if asked.mutate is not None:
        fine &= _mutate(asked.mutate or list(Library.load()), asked.workers, asked.json)
    return 0 if fine else 1


def _verify(names: Sequence[str], workers: int, folder: Path | None) -> bool:
    walked: set[int] = set()
    rows: list[About] = []
    fine = True
    for name, report in zip(names, _side_by_side(_visit, names, workers), strict=True):
        fine &= report.holds
        walked |= report.walked
        rows.append(_row(name, report))
        _say(
            f"{name}: {'holds' if report.holds else 'BROKEN'}; {report.states:,} states, {report.edges:,} edges, depth "
            f"{report.depth}, longest walk {report.longest_walk} steps, {report.seconds:.0f} s"
        )
        for story in report.stories.values():
            _say(str(story))
    every = World(Library.load(), WORLDS[QUICK]).program.edges
    missed = [str(edge) for number, edge in enumerate(every) if number not in walked and edge.machine != "device_login"]
    _say(f"edges of the credential's machines that no world walks: {', '.join(missed) or 'none'}")
    _write(folder, "model_checker", {"worlds": rows, "unwalked": missed})
    return fine


def _row(name: str, report: Report) -> About:
    return {
        "world": name,
        "states": report.states,
        "edges": report.edges,
        "depth": report.depth,
        "longest_walk": report.longest_walk,
        "broken": sorted(report.stories),
    }


def _visit(name: str) -> Report:
    return explore(World(Library.load(), WORLDS[name]))


def _ablate(workers: int, folder: Path | None) -> bool:
    rows: list[About] = []
    fine = True
    numbers = range(len(ABLATIONS))
    for ablation, report in zip(ABLATIONS, _side_by_side(_leave_out, numbers, workers), strict=True):
        found = {rule: len(story.steps) for rule, story in report.stories.items()}
        seen = found.keys() >= ablation.breaks if ablation.breaks else not found
        fine &= seen
        rows.append({"without": ablation.part, "breaks": found})
        said = ", ".join(f"{rule} in {steps}" for rule, steps in found.items()) or "nothing breaks"
        _say(f"without {ablation.part}: {said}{'' if seen else ', NOT AS IT MUST BE'}")
    _write(folder, "ablations", {"ablations": rows})
    return fine


def _leave_out(number: int) -> Report:
    return without(ABLATIONS[number], Library.load())


def _mutate(names: Sequence[str], workers: int, folder: Path | None) -> bool:
    machines = Library.load()
    walked = walked_by_world(machines, FAST)
    scores: list[Score] = []
    for name in names:
        every = list(mutants(machines[name]))
        chunks = [every[at : at + CHUNK] for at in range(0, len(every), CHUNK)]
        hunt = partial(score, machines.data(), name, walked)
        scores.append(merged(_side_by_side(hunt, chunks, workers)))
        killed = scores[-1].mutants - len(scores[-1].survivors)
        _say(f"{name}: {killed} of {scores[-1].mutants} mutants killed {dict(sorted(scores[-1].killed.items()))}")
        for survivor in scores[-1].survivors:
            _say(f"  survives: {survivor}")
    _write(folder, "mutation", {"machines": [found.data() for found in scores]})
    return not any(found.survivors for found in scores)


def _side_by_side(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterable[Result]:
    """`work` on each of `items`, the results in their order."""
    if workers < 2:
        return map(work, items)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(work, items))


def _write(folder: Path | None, name: str, measured: About) -> None:
    if folder is not None:
        about = {"machines_digest": digest(Library.load()), **measured}
        (folder / f"{name}.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
