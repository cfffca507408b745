"""What can be said of machines: whether they keep lock discipline and promises, and what each world found. In plain words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any, NamedTuple

from kimi_auth.machine import Library
from kimi_auth.proof.explore import ANY, Report, StateSpaceTooLarge, Story, explore
from kimi_auth.proof.program import Program

from .effects import Config
from .hooks_outside import HOOKS
from .rules import RULES
from .scenarios import SCENARIOS, broken_scenario
from .world import ROOTS, World
from .worlds import FAST, WORLDS

__all__ = ["GUARDED", "Data", "Verdict", "faults_of", "unknown_to", "verdicts", "visit", "without_hook"]

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

STATES_MAX = 5_000_000
"""More than twice the largest world: an edited machine with more runs away."""

Data = Mapping[str, Mapping[str, Any]]
"""Machines as plain data (`Library.data`), which can be handed to another process."""


class Verdict(NamedTuple):
    """What a world found: `report` is None where it has more than `STATES_MAX` states."""

    world: str
    config: Config
    report: Report | None

    @property
    def holds(self) -> bool:
        """True if all of it was visited and no rule was broken."""
        return self.report is not None and self.report.holds

    def lines(self, width: int = 80) -> Iterator[str]:
        """Two lines of figures, and the story of each broken rule, none wider than `width`."""
        time = f", {self.report.seconds:.1f} s" if self.report else ""
        yield from _folded(f"{self.world}: {'holds' if self.holds else 'BROKEN'}{time}", width, first="")
        yield from _folded(f"N={self.config.processes}, {self.config.policy}: {self._figures()}", width)
        for story in self.report.stories.values() if self.report else ():
            yield from _told(story, width)

    def _figures(self) -> str:
        if self.report is None:
            return f"more than {STATES_MAX:,} states, which is no machine of ours any more"
        seen = self.report
        whole = f", longest walk {seen.longest_walk}" if seen.complete else ", and stopped there"
        return f"{seen.states:,} states, {seen.edges:,} moves, depth {seen.depth}{whole}"


def unknown_to(machines: Library) -> list[str]:
    """The machines that the worlds are about and that are not among `machines`: without them there is no world."""
    return sorted({promise.machine for promise in SCENARIOS} - set(machines))


def faults_of(machines: Library) -> list[str]:
    """What is wrong with `machines` before any world is visited: lock discipline, and promises that are not kept."""
    if unknown := unknown_to(machines):
        return [f"there is no machine {name}; the worlds of the proof are about it" for name in unknown]
    says = [promise.says for promise in SCENARIOS if broken_scenario(machines, [promise])]
    problems = machines.lint_lock(dict.fromkeys(GUARDED, "credential"))
    return problems + [f"a promise is broken: {words}" for words in dict.fromkeys(says)]


def without_hook(machines: Library) -> list[str]:
    """Activities that a simulated process can come to and that have no simulated hook, one line each.

    Of device_login only what follows the approval is simulated: what stands before it touches no credential.
    """
    if unknown_to(machines):
        return []
    program = Program(machines, ROOTS)
    ahead = [number for number, place in enumerate(program.places) if place.machine == ROOTS[0]]
    ahead.append(program.find("device_login", "store_credential"))
    seen: set[int] = set()
    while ahead:
        if (number := ahead.pop()) not in seen:
            seen.add(number)
            ahead += [arrow.target for arrow in program.places[number].arrows.values()]
    missing = {place.activity: place for place in map(program.places.__getitem__, sorted(seen)) if place.activity}
    return [
        f"{place.machine}: {place.state} runs {activity}, which the model checker does not know; add it to HOOKS of "
        "kimi_auth/proof/hooks_outside.py"
        for activity, place in missing.items()
        if activity not in HOOKS
    ]


def verdicts(machines: Library, worlds: Iterable[str], pool: Executor) -> Iterator[Verdict]:
    """Visits `worlds` side by side; what they found comes in their order. A world ends at its first broken rule."""
    visits = {name: pool.submit(visit, machines.data(), name) for name in worlds}
    for name, found in visits.items():
        yield Verdict(name, WORLDS[name], found.result())


def visit(data: Data, name: str) -> Report | None:
    """Visits the world of that name. None: it has too many states."""
    world = World(Library.from_data(data), {**FAST, **WORLDS}[name])
    try:
        return explore(world, limit=STATES_MAX, seek=ANY)
    except StateSpaceTooLarge:
        return None


def _told(story: Story, width: int) -> Iterator[str]:
    yield from _folded(f"{story.rule} is broken in {len(story.steps)} steps. {RULES.get(story.rule, '')}", width)
    for number, step in enumerate(story.steps, 1):
        yield from _folded(f"{number:3}. {step}", width, hanging=" " * 7)


def _folded(text: str, width: int, *, first: str = "  ", hanging: str = "    ") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )
