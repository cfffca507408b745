"""Mutation testing of the machines: each edge is retargeted to every other state, one at a time.

A machine is specified only if every change to it is found. A mutant is killed by the lints at load time, by the
checker in one of the fast worlds, or by a scenario: a short walk whose end users rely on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kimi_auth.machine import Edge, Library, Machine, SpecError, edges
from kimi_auth.proof.explore import ANY, StateSpaceTooLarge, explore

from .effects import Config
from .scenarios import SCENARIOS, broken_scenario
from .verdicts import Data
from .world import World
from .worlds import FAST

__all__ = ["Mutant", "Score", "killer", "merged", "mutants", "score"]

SURVIVED = ""
LINT, SCENARIO = "lint", "scenario"
SMALLEST = next(iter(FAST))
LIMIT = 400_000


@dataclass(frozen=True, slots=True)
class Mutant:
    """`edge` leads to `target` instead."""

    edge: Edge
    target: str

    def __str__(self) -> str:
        return f"{self.edge}, led to {self.target}"

    def library(self, machines: Library) -> Library:
        """`machines` mutated by this change. Raises SpecError where it breaks a lint."""
        data = machines.data()
        data[self.edge.machine]["states"][self.edge.source]["on"][self.edge.event] = self.target
        return Library.from_data(data)


def mutants(machine: Machine) -> Iterator[Mutant]:
    """All mutants of `machine`, in file order."""
    for edge in edges(machine):
        yield from (Mutant(edge, target) for target in machine.states if target != edge.target)


def killer(mutant: Mutant, machines: Library, walked: Mapping[str, set[Edge]]) -> str:
    """The killer of the mutant: `lint: PROBLEM`, `checker: RULE` or `scenario: SENTENCE`; "" if it survives."""
    try:
        edited = mutant.library(machines)
    except SpecError as error:
        return f"{LINT}: {error.problems[0].partition('; ')[0]}"
    for name in (SMALLEST, SCENARIO, *(name for name in FAST if name != SMALLEST)):
        if name == SCENARIO:
            if says := broken_scenario(edited, SCENARIOS):
                return f"{SCENARIO}: {says}"
        elif mutant.edge in walked.get(name, ()) and (rule := _broken_rule(edited, FAST[name])):
            return f"checker: {rule}"
    return SURVIVED


def _broken_rule(machines: Library, config: Config) -> str:
    try:
        report = explore(World(machines, config), limit=LIMIT, seek=ANY)
    except StateSpaceTooLarge:
        return "too many states"
    return next(iter(report.stories), "")


@dataclass(slots=True)
class Score:
    """The results: how many mutants each killer found, all lints and all scenarios together; by edge and killer the states that the
    edge was led to; and the names of the surviving mutants."""

    killed: Counter[str] = field(default_factory=Counter)
    killers: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    survivors: list[str] = field(default_factory=list)

    def add(self, mutant: Mutant, by: str) -> None:
        """Counts one mutant; `by`: its killer, "" for a survivor."""
        if not by:
            self.survivors.append(str(mutant))
            return
        kind = by.partition(":")[0]
        self.killed[kind if kind in (LINT, SCENARIO) else by] += 1
        self.killers.setdefault(str(mutant.edge), {}).setdefault(by, []).append(mutant.target)

    @property
    def mutants(self) -> int:
        """The number of all mutants."""
        return self.killed.total() + len(self.survivors)


def score(data: Data, walked: Mapping[str, set[Edge]], hunted: Iterable[Mutant]) -> Score:
    """Tries these mutants of the machines in `data`; `walked` gives the edges that each fast world walks."""
    machines = Library.from_data(data)
    found = Score()
    for mutant in hunted:
        found.add(mutant, killer(mutant, machines, walked))
    return found


def merged(scores: Iterable[Score]) -> Score:
    """The scores of several parts of the mutants, added up."""
    whole = Score()
    for part in scores:
        whole.killed += part.killed
        whole.survivors += part.survivors
        for edge, by in part.killers.items():
            for killed_by, targets in by.items():
                whole.killers.setdefault(edge, {}).setdefault(killed_by, []).extend(targets)
    return whole
