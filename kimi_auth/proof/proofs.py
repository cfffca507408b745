"""`python -m kimi_auth.proof`: runs worlds, ablations and mutants, prints the results and writes the figures as JSON.

The figures contain no times and are the same on each run. A digest names the machines that they belong to.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from kimi_auth.machine import Edge, Library, digest
from kimi_auth.proof.explore import Report
from kimi_auth.proof.locations import Program

from .ablations import ABLATIONS, Ablation, leave_out
from .equivalent_mutants import ARGUMENTS
from .mutation import Mutant, Score, merged, mutants, score
from .revision import revision
from .rules import ACROSS_HOSTS, RULES
from .verdicts import Verdict, faults_of, verdicts, visit
from .workers import WORKERS, Pool, side_by_side
from .world import ROOTS
from .worlds import FAST, QUICK, WORLDS

__all__ = ["checker_figures", "main", "mutation_figures"]

Figures = dict[str, Any]

CHUNK = 20
"""Mutants per task of a worker."""

MADE_UP_FOR = "nothing: the other parts make up for it"

ABOUT = (
    "N processes share one credential. In every world any of them may be killed at any step and callers go away; answers "
    "are lost, come late or never, servers are busy, proxies answer instead, and bearers are rejected: all of it "
    "without limit, in every order. Servers differ in what they make of a refresh token that was spent: strict, it ends "
    "the login; lenient, it is refused; grace, it works for a while; none, tokens do not rotate. Beside kimi-code it "
    "renews, signs in and signs out by its own rules, and what it breaks is counted apart. In the worlds of a store with "
    "sessions the number of upsets is bounded: a process is killed or stands still until its lease is over, an answer is "
    "lost, a session ends alone, a host is cut off, the store restarts or goes back."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all proofs of the committed machines. Exit status 0 if every check passes, else 1."""
    parser = argparse.ArgumentParser(prog="python -m kimi_auth.proof", description="Proves machines/*.toml.")
    parser.add_argument("--quick", action="store_true", help="the smaller worlds, and nothing else")
    parser.add_argument("--write", type=Path, metavar="DIR", help="keep the figures of the whole proof in this folder")
    parser.add_argument("--workers", type=int, default=WORKERS, help=f"processes side by side ({WORKERS})")
    asked = parser.parse_args(argv)
    machines = Library.load()
    problems = faults_of(machines)
    with side_by_side(asked.workers) as pool:
        if asked.quick:
            problems += _worlds_that_break(verdicts(machines, QUICK, pool))
        else:
            problems += _proved(machines, pool, asked.write)
    for problem in problems:
        _say(f"NOT AS IT MUST BE: {problem}")
    return 1 if problems else 0


def _proved(machines: Library, pool: Pool, folder: Path | None) -> list[str]:
    """Proves the machines, prints all results, returns the failures, and writes the figures if there are none."""
    data = machines.data()
    visits = {name: pool.submit(visit, data, name) for name in dict.fromkeys([*FAST, *WORLDS])}
    left_out = [pool.submit(leave_out, data, number) for number in range(len(ABLATIONS))]
    every = Program(machines, ROOTS).edges
    walked = {name: _edges(every, visits[name].result()) for name in FAST}
    hunts = [pool.submit(score, data, walked, chunk) for chunk in _chunks(machines)]

    problems = _worlds_that_break(Verdict(name, WORLDS[name], visits[name].result()) for name in WORLDS)
    parts = [(ablation, part.result()) for ablation, part in zip(ABLATIONS, left_out, strict=True)]
    problems += _parts_not_missed(parts)
    found = merged(hunt.result() for hunt in hunts)
    problems += _mutants_that_live(found)
    if folder and not problems:
        seen = [Verdict(name, WORLDS[name], visits[name].result()) for name in WORLDS]
        _write(folder / "checker.json", checker_figures(machines, seen, parts))
        _write(folder / "mutation.json", mutation_figures(machines, found))
        # Apart from the figures, which are the same bytes at every revision with these machines.
        _write(folder / "revision.json", {"machines": digest(machines), **revision()})
        _say(f"the figures are in {folder}; draw the pages with them: make diagrams")
    return problems


# --- output and failures ----------------------------------------------------------------------------------------------


def _worlds_that_break(seen: Iterable[Verdict]) -> list[str]:
    broken = []
    for verdict in seen:
        for line in verdict.lines():
            _say(line)
        if not verdict.holds:
            broken.append(f"a rule is broken in the world of {verdict.world}")
    return broken


def _parts_not_missed(parts: Iterable[tuple[Ablation, Report]]) -> list[str]:
    wrong = []
    for ablation, report in parts:
        _say(f"without {ablation.part}: {_broken_rules(report) or 'nothing breaks'}")
        if ablation.breaks - report.stories.keys() or (report.stories and not ablation.breaks):
            wrong.append(f"without {ablation.part}, {', '.join(sorted(ablation.breaks)) or 'nothing'} must break")
    return wrong


def _mutants_that_live(found: Score) -> list[str]:
    _say(f"edges led elsewhere: {found.mutants - len(found.survivors):,} of {found.mutants:,} mutants are killed")
    for by, count in sorted(found.killed.items()):
        _say(f"  by {by}: {count:,}")
    unargued = [f"nothing kills the mutant {survivor}" for survivor in found.survivors if survivor not in ARGUMENTS]
    return unargued + [
        f"a mutant is argued for and killed: {name}" for name in ARGUMENTS if name not in found.survivors
    ]


def _broken_rules(report: Report) -> str:
    return ", ".join(f"{rule} in {len(story.steps)}" for rule, story in report.stories.items())


# --- figures ----------------------------------------------------------------------------------------------------------


def checker_figures(machines: Library, seen: Iterable[Verdict], parts: Iterable[tuple[Ablation, Report]]) -> Figures:
    """The content of `measured/checker.json`. A run lists only the edges that no earlier run walks."""
    every = Program(machines, ROOTS).edges
    known: set[Edge] = set()
    runs = []
    for verdict in seen:
        walked = _edges(every, verdict.report)
        runs.append({**_run(verdict), "walked": sorted(map(str, walked - known))})
        known |= walked
    return {
        "machines": digest(machines),
        "about": ABOUT,
        "runs": runs,
        "invariants": [
            {"name": name, "about": about} | ({"across hosts": ACROSS_HOSTS[name]} if name in ACROSS_HOSTS else {})
            for name, about in RULES.items()
        ],
        "ablations": [
            {"about": ablation.part, "rule": rule, "steps": len(course) or MADE_UP_FOR, "course": course}
            for ablation, report in parts
            for rule, course in _missed(ablation, report)
        ],
    }


def _run(verdict: Verdict) -> Figures:
    report = verdict.report
    assert report is not None
    return {
        "world": verdict.world,
        "processes": verdict.config.processes,
        "policy": verdict.config.policy,
        "states": report.states,
        "edges": report.edges,
        "depth": report.depth,
        "longest_walk": report.longest_walk,
        "holds": verdict.holds,
        **({"apart": report.apart} if report.apart else {}),
    }


def _missed(ablation: Ablation, report: Report) -> list[tuple[str, list[str]]]:
    """Each rule that breaks without the part, with the shortest course that breaks it; one empty row where none does."""
    broken = [(rule, list(report.stories[rule].steps)) for rule in RULES if rule in ablation.breaks]
    return broken or [("", [])]


def mutation_figures(machines: Library, found: Score) -> Figures:
    """The figures of a run of all mutants, written as `measured/mutation.json`."""
    return {
        "machines": digest(machines),
        "mutants": found.mutants,
        "killed": found.mutants - len(found.survivors),
        "by": dict(sorted(found.killed.items())),
        "killers": {
            edge: {killed_by: sorted(targets) for killed_by, targets in sorted(by.items())}
            for edge, by in sorted(found.killers.items())
        },
        "survivors": [{"mutant": mutant, "argument": ARGUMENTS[mutant]} for mutant in sorted(found.survivors)],
    }


def _write(file: Path, figures: Figures) -> None:
    text = json.dumps(figures, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    file.write_text(text, encoding="utf-8", newline="\n")


def _chunks(machines: Library) -> Iterator[list[Mutant]]:
    every = (mutant for machine in machines.values() for mutant in mutants(machine))
    while chunk := list(islice(every, CHUNK)):
        yield chunk


def _edges(every: Sequence[Edge], report: Report | None) -> set[Edge]:
    return {every[number] for number in report.walked} if report else set()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
