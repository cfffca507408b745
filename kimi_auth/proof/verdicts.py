"""Verdicts on machines, for `diagram --check` and `--verify`: missing simulated hooks, broken lock discipline, broken scenarios, and the result of each world."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from kimi_auth.machine import Library
from kimi_auth.proof.explore import ANY, Report, StateSpaceTooLarge, Story, explore
from kimi_auth.proof.locations import Program

from .effects import Config
from .grants import RULES as GRANT_RULES
from .grants import explore_grants
from .hooks_outside import HOOKS
from .rules import RULES
from .scenarios import SCENARIOS, broken_scenario
from .workers import Pool
from .world import ROOTS, World
from .worlds import FAST, WORLDS

__all__ = ["GUARDED", "Data", "Verdict", "faults_of", "unknown_to", "verdicts", "visit", "visit_config", "without_hook"]

GUARDED = (
    "exchange",
    "stage",
    "commit",
    "claim",
    "renew_claim",
    "withdraw_claim",
    "record_revoked",
    "record_unrecognized",
    "empty_record",
    "discard_staged",
    "clear_sidecars",
    "store_credential",
)
"""Activities that spend a token or write a credential."""

STATES_MAX = 5_000_000
"""1.5 times the largest world (3.3 million states). An edited machine that exceeds it does not end in useful time."""

Data = Mapping[str, Mapping[str, Any]]
"""Machines as plain data (`Library.data`), which a worker process can receive."""


class Verdict(NamedTuple):
    """The result of a world. `report` is None if it has more than `STATES_MAX` states."""

    world: str
    config: Config
    report: Report | None

    @property
    def holds(self) -> bool:
        """True if every state was visited and no rule was broken."""
        return self.report is not None and self.report.holds

    def lines(self, width: int = 80) -> Iterator[str]:
        """A verdict as text: two lines of figures, then the counterexample to each broken rule, no line wider than `width`."""
        time = f", {self.report.seconds:.1f} s" if self.report else ""
        yield from _folded(f"{self.world}: {'holds' if self.holds else 'BROKEN'}{time}", width, first="")
        yield from _folded(f"N={self.config.processes}, {self.config.policy}: {self._figures()}", width)
        if self.report and self.report.apart:
            yield from _folded(f"counted apart, {told_apart(self.report.apart)}", width)
        for story in self.report.stories.values() if self.report else ():
            yield from _told(story, width)

    def _figures(self) -> str:
        if self.report is None:
            return f"more than {STATES_MAX:,} states, which is no machine of ours any more"
        seen = self.report
        whole = f", longest walk {seen.longest_walk}" if seen.complete else ", and stopped there"
        return f"{seen.states:,} states, {seen.edges:,} moves, depth {seen.depth}{whole}"


def unknown_to(machines: Library) -> list[str]:
    """The machines that the worlds of a verdict need and that are missing from `machines`."""
    return sorted({scenario.machine for scenario in SCENARIOS} - set(machines))


def faults_of(machines: Library) -> list[str]:
    """The faults of `machines` that need no exploration: lock discipline and broken scenarios."""
    if unknown := unknown_to(machines):
        return [f"there is no machine {name}; the worlds of the proof are about it" for name in unknown]
    says = [scenario.says for scenario in SCENARIOS if broken_scenario(machines, [scenario])]
    problems = machines.lint_lock(dict.fromkeys(GUARDED, "credential"))
    problems += [f"a scenario is broken: {words}" for words in dict.fromkeys(says)]
    broken = explore_grants(machines).broken
    return problems + [f"grant: {GRANT_RULES[rule]} Broken by: {', '.join(course)}" for rule, course in broken.items()]


def without_hook(machines: Library) -> list[str]:
    """Activities that a simulated process can come to and that have no simulated hook, one line each.

    Of device_login only what follows the approval is simulated: the states before it touch no credential.
    """
    if unknown_to(machines):
        return []
    program = Program(machines, ROOTS)
    ahead = [number for number, location in enumerate(program.locations) if location.machine == ROOTS[0]]
    ahead.append(program.find("device_login", "store_credential"))
    seen: set[int] = set()
    while ahead:
        if (number := ahead.pop()) not in seen:
            seen.add(number)
            ahead += [arrow.target for arrow in program.locations[number].arrows.values()]
    missing = {
        location.activity: location
        for location in map(program.locations.__getitem__, sorted(seen))
        if location.activity
    }
    return [
        f"{location.machine}: {location.state} runs {activity}, which the model checker does not know; add it to HOOKS of "
        "kimi_auth/proof/hooks_outside.py"
        for activity, location in missing.items()
        if activity not in HOOKS
    ]


def verdicts(machines: Library, worlds: Iterable[str], pool: Pool) -> Iterator[Verdict]:
    """The verdict on each of `worlds`, in order; they are visited in parallel, each up to its first broken rule."""
    visits = {name: pool.submit(visit, machines.data(), name) for name in worlds}
    for name, found in visits.items():
        yield Verdict(name, WORLDS[name], found.result())


def visit(data: Data, name: str) -> Report | None:
    """The verdict on a visit to the world of that name. None: it has too many states."""
    return visit_config(data, {**FAST, **WORLDS}[name])


def visit_config(data: Data, config: Config) -> Report | None:
    """The verdict on machines in a world that the caller configures; None if it has too many states to visit."""
    world = World(Library.from_data(data), config)
    try:
        report = explore(world, limit=STATES_MAX, seek=ANY)
    except StateSpaceTooLarge:
        return None
    report.apart = dict(sorted(world.apart.items()))
    return report


def told_apart(apart: Mapping[str, int]) -> str:
    """The verdict, for people, on the rules that the other program's moves break in a world."""
    return "; ".join(f"{rule} in {count:,} moves" for rule, count in apart.items())


def _told(story: Story, width: int) -> Iterator[str]:
    yield from _folded(f"{story.rule} is broken in {len(story.steps)} steps. {RULES.get(story.rule, '')}", width)
    for number, step in enumerate(story.steps, 1):
        yield from _folded(f"{number:3}. {step}", width, hanging=" " * 7)


def _folded(text: str, width: int, *, first: str = "  ", hanging: str = "    ") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )
