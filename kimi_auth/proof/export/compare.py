"""`python -m kimi_auth.proof.export`: spin's verdict on worlds and ablations beside ours, and the figures as JSON.

The comparison: a *class* is a state between two moves after forgetting (`state`, `numbering`): the positions of all
processes, what each knows, and everything on disk and at the server, without the names of the processes and without
differences that have no effect any more. Both checkers store exactly one state for each class, so equal worlds have equal counts.
A counterexample is compared by the rule that it breaks and its length: both search breadth first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kimi_auth.machine import Library, digest
from kimi_auth.proof.ablations import ABLATIONS, Ablation, machines_without, without
from kimi_auth.proof.effects import Config, closed
from kimi_auth.proof.explore import SETTLES, TERMINATES, explore
from kimi_auth.proof.hooks_outside import HOOKS
from kimi_auth.proof.world import World
from kimi_auth.proof.worlds import QUIET, WORLDS

from .model import ELSEWHERE, Exported, NotExportable, exported
from .spin import Found, SpinFailed, compiled, missing_tool

__all__ = ["COMPARED", "NOT_COMPARED", "Row", "compared_ablation", "compared_world", "main", "model_without"]

COMPARED: Mapping[str, tuple[Config, int]] = {
    "one quiet process": (QUIET._replace(processes=1), 3),
    "two quiet processes": (QUIET, 3),
    "two processes": (WORLDS["two processes"], 3),
    "three waiters, one fault, strict server": (WORLDS["three waiters, one fault, strict server"], 3),
}
"""The worlds that both visit whole, each with the pairs that exist at once. "two processes" is N = 2 under strict
revocation with sign-in, sign-out, kills and every fault but a full disk."""

STORY_MAX = 20
"""Moves shown of a story that is not the shortest one."""

OF_ONE_CHECKER = frozenset({SETTLES, TERMINATES})
"""Rules that ask for a path; spin is asked for moves that break a rule. An ablation that breaks one of these is compared by
the other rules that it breaks."""

NOT_COMPARED: Mapping[str, str] = {
    "directories are synchronised": (
        "a power cut ends all processes in one move and restores older directories, which the export does not have"
    ),
    **{ablation.part: ELSEWHERE for ablation in ABLATIONS if ablation.config.store != "files"},
}
"""Ablations that the export does not express, each with the reason."""


class Row(NamedTuple):
    """One comparison. `ours` and `theirs`: states of a whole visit, or steps of the shortest counterexample."""

    about: str
    rule: str
    ours: int
    theirs: int
    seconds: float = 0.0
    course: tuple[str, ...] = ()
    found: Found | None = None

    @property
    def agrees(self) -> bool:
        return self.ours == self.theirs

    @property
    def line(self) -> str:
        what = f"{self.rule} in {self.theirs} steps" if self.rule else f"no rule is broken, {self.theirs:,} states"
        return f"{self.about}: spin: {what}, {self.seconds:.1f} s; ours: {self.ours:,}"


def compared_world(machines: Library, name: str, *, chained: bool = True) -> Row:
    """A world of `COMPARED`, visited whole by both. Raises SpinFailed where spin breaks a rule."""
    config, pairs = COMPARED[name]
    world = World(machines, config, chained=chained)
    ours = explore(world, liveness=False)
    found = _whole(exported(machines, config, pairs=pairs, chained=chained))
    return Row(name, "", ours.states if not ours.stories else -1, found.states, found.seconds, found=found)


def model_without(ablation: Ablation, machines: Library) -> Exported:
    """The exported world of an ablation, to compare. Raises NotExportable."""
    hooks = {**HOOKS, **ablation.hooks}
    edited = machines_without(ablation, machines)
    return exported(edited, ablation.config, hooks=hooks, cancel=ablation.cancel, leave=ablation.leave or closed)


def compared_ablation(machines: Library, ablation: Ablation) -> list[Row]:
    """Compares both checkers without that part: the shortest counterexample to each rule that breaks; a whole visit by
    both where none does. Raises NotExportable, and SpinFailed where spin finds none."""
    model = model_without(ablation, machines)
    ours = without(ablation, machines)
    rules = sorted(ablation.breaks - OF_ONE_CHECKER) or sorted(ours.stories.keys() - OF_ONE_CHECKER)
    if not rules:
        found = _whole(model)
        return [Row(ablation.part, "", ours.states, found.states, found.seconds, found=found)]
    return list(_counterexamples(ablation.part, model, {rule: len(ours.stories[rule].steps) for rule in rules}))


def _counterexamples(part: str, model: Exported, ours: Mapping[str, int]) -> Iterator[Row]:
    with compiled(model, shortest=True) as verifier:
        for rule, steps in ours.items():
            found = verifier.run(rule)
            if found.rule != rule:
                raise SpinFailed(f"without {part}, spin does not see that {rule} breaks")
            yield Row(part, rule, steps, len(found.story), found.seconds, found.story, found)


def _whole(model: Exported) -> Found:
    with compiled(model) as verifier:
        found = verifier.run()
    if found.rule:
        raise SpinFailed("\n".join([f"spin says that {found.rule} is broken:", *found.story[-STORY_MAX:]]))
    return found


# --- the command ------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Compares spin's verdicts with ours. Exit status 0 if both checkers agree, 1 if not, 3 without spin or gcc."""
    parser = argparse.ArgumentParser(
        prog="python -m kimi_auth.proof.export", description="Asks spin for a second verdict."
    )
    parser.add_argument("--write", type=Path, metavar="DIR", help="keep the figures in this folder")
    asked = parser.parse_args(argv)
    if tool := missing_tool():
        _say(f"{tool} is not here; on Debian: apt-get install spin gcc libc6-dev")
        return 3
    machines = Library.load()
    worlds, ablations, problems = _worlds(machines), _ablations(machines), list[str]()
    rows = {"worlds": _said(worlds, problems), "ablations": _said(ablations, problems)}
    for problem in problems:
        _say(f"THE CHECKERS DISAGREE: {problem}")
    if asked.write and not problems:
        _write(asked.write / "spin.json", machines, rows)
    return 1 if problems else 0


def _worlds(machines: Library) -> Iterator[Row | str]:
    for name in COMPARED:
        yield from _guarded(name, partial(compared_world, machines, name))
    name = "two quiet processes"
    for row in _guarded(name, partial(compared_world, machines, name, chained=False)):
        yield row if isinstance(row, str) else row._replace(about=f"{name}, each step a move of its own")


def _ablations(machines: Library) -> Iterator[Row | str]:
    for ablation in ABLATIONS:
        try:
            yield from _guarded(f"without {ablation.part}", partial(compared_ablation, machines, ablation))
        except NotExportable:
            _say(f"without {ablation.part}: not compared, because {NOT_COMPARED[ablation.part]}")


def _guarded(about: str, compare: Callable[[], Row | list[Row]]) -> Iterator[Row | str]:
    try:
        rows = compare()
    except SpinFailed as failed:
        yield f"{about}: {failed}"
    else:
        yield from [rows] if isinstance(rows, Row) else rows


def _said(rows: Iterable[Row | str], problems: list[str]) -> list[Row]:
    kept = []
    for row in rows:
        if isinstance(row, str):
            problems.append(row)
            continue
        _say(row.line)
        kept.append(row)
        if not row.agrees:
            problems.append(row.line)
    return kept


def _write(file: Path, machines: Library, rows: Mapping[str, Sequence[Row]]) -> None:
    figures = {
        "machines": digest(machines),
        "worlds": [
            {
                "world": row.about,
                "states": row.theirs,
                "ours": row.ours,
                "transitions": row.found.transitions if row.found else 0,
                "seconds": round(row.seconds, 1),
                "verdict": "holds",
            }
            for row in rows["worlds"]
        ],
        "ablations": [
            {
                "about": row.about,
                "rule": row.rule,
                ("steps" if row.rule else "states"): row.theirs,
                "ours": row.ours,
                "seconds": round(row.seconds, 1),
                "course": list(row.course),
            }
            for row in rows["ablations"]
        ],
        "not_compared": dict(NOT_COMPARED),
    }
    text = json.dumps(figures, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    file.write_text(text, encoding="utf-8", newline="\n")
    _say(f"the figures are in {file}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
