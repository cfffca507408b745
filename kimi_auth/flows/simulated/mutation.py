"""Every edge of the machines led to every other state, one at a time: is each such machine found wrong, and by what?

A machine that could be changed without anybody noticing would not be specified. A mutant is killed by the lints at load
time, by lock discipline, by the checker in one of the fast worlds, or by a promise: a short walk whose end users rely on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kimi_auth.machine import Edge, Library, Machine, SpecError, digest, edges
from kimi_auth.machine.explore import ANY, StateSpaceTooLarge, explore

from .effects import Config
from .promises import PROMISES, broken_promise
from .world import World
from .worlds import FAST

__all__ = ["GUARDED", "Mutant", "Score", "killer", "merged", "mutants", "score", "walked_by_world"]

GUARDED = (
    "exchange",
    "save_heir",
    "install",
    "claim",
    "renew_claim",
    "withdraw_claim",
    "record_refusal",
    "record_unclear",
    "empty_record",
    "discard_heir",
    "clear_sidecars",
    "store_credential",
)
"""Activities that spend a token or write a credential."""

SURVIVED = ""
PROMISE = "promise"
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
        """`machines` with this change. Raises SpecError where it breaks a lint."""
        data = machines.data()
        data[self.edge.machine]["states"][self.edge.source]["on"][self.edge.event] = self.target
        return Library.from_data(data)


def mutants(machine: Machine) -> Iterator[Mutant]:
    """All mutants of `machine`, in file order."""
    for edge in edges(machine):
        yield from (Mutant(edge, target) for target in machine.states if target != edge.target)


def walked_by_world(machines: Library, worlds: Mapping[str, Config]) -> dict[str, set[Edge]]:
    """The edges that each of `worlds` walks."""
    walked = {}
    for name, config in worlds.items():
        world = World(machines, config)
        report = explore(world, liveness=False)
        walked[name] = {world.program.edges[number] for number in report.walked}
    return walked


def killer(mutant: Mutant, machines: Library, walked: Mapping[str, set[Edge]]) -> str:
    """What finds the mutant wrong: `lint`, `lock discipline`, `checker: RULE` or `promise`; "" if nothing does."""
    try:
        edited = mutant.library(machines)
    except SpecError:
        return "lint"
    if edited.lint_lock(dict.fromkeys(GUARDED, "credential")):
        return "lock discipline"
    for name in (SMALLEST, PROMISE, *(name for name in FAST if name != SMALLEST)):
        if name == PROMISE:
            if broken_promise(edited, PROMISES):
                return PROMISE
        elif mutant.edge in walked[name] and (rule := _broken_rule(edited, FAST[name])):
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
    """How the mutants of one machine fared. `survivors` are written out, to be argued one by one."""

    machine: str
    digest: str
    mutants: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    survivors: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """As plain data, the same for the same machines."""
        return {
            "machine": self.machine,
            "digest": self.digest,
            "mutants": self.mutants,
            "killed": dict(sorted(self.killed.items())),
            "survivors": sorted(self.survivors),
        }


def score(
    data: Mapping[str, Mapping[str, Any]], name: str, walked: Mapping[str, set[Edge]], hunted: Iterable[Mutant]
) -> Score:
    """Hunts these mutants of the machine `name` among the machines in `data` (`Library.data`)."""
    machines = Library.from_data(data)
    found = Score(name, digest(machines[name]))
    for mutant in hunted:
        found.mutants += 1
        by = killer(mutant, machines, walked)
        if by:
            found.killed[by] += 1
        else:
            found.survivors.append(str(mutant))
    return found


def merged(scores: Iterable[Score]) -> Score:
    """Scores of parts of one machine's mutants as one."""
    first, *others = scores
    for other in others:
        first.mutants += other.mutants
        first.killed += other.killed
        first.survivors += other.survivors
    return first
