"""One walk drawn over its machine, and told in lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kimi_auth.machine.spec import Machine
from kimi_auth.machine.trace import Traced, Walk

from .overlay import Mark, Overlay, marks
from .sketch import Sketch

__all__ = ["overlay", "story", "strangers"]

STORY_LINES = 30
NOTE_MAX = 9


def overlay(machine: Machine, walk: Walk, drawn: Sketch) -> Overlay:
    """The walk over the machine: at each outcome the numbers of its steps, below it the story with all times."""
    steps: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for number, (traced, since_s) in enumerate(zip(walk.traced, walk.since_s, strict=True), 1):
        if traced.machine == machine.name:
            steps.setdefault((traced.source, traced.event, traced.target), []).append((number, since_s))

    def judge(sources: tuple[str, ...], event: str, target: str) -> Mark | None:
        taken = sorted(step for source in sources for step in steps.get((source, event, target), ()))
        return Mark("traced", _note(taken)) if taken else None

    last = [traced.target for traced in walk.traced if traced.machine == machine.name][-1:]
    states = {state: "traced" for state in last if state in machine.states}
    legend = (("traced", "walked: #numbers of the steps, and where there is room the seconds until the last"),)
    return Overlay(_caption(walk, machine), marks(drawn, judge), states, legend, fades=True, story=tuple(story(walk)))


def strangers(walk: Walk, machine: Machine) -> str:
    """What to say of steps that this revision of the machine does not have, "" without any: they are in no picture of it."""
    count = sum(one.machine == machine.name and not _is_of(one, machine) for one in walk.traced)
    many = "1 step is" if count == 1 else f"{count} steps are"
    return f"{many} of another revision of this machine" if count else ""


def _is_of(traced: Traced, machine: Machine) -> bool:
    state = machine.states.get(traced.source)
    return state is not None and state.on.get(traced.event) == traced.target


def story(walk: Walk, lines_max: int = STORY_LINES) -> list[str]:
    """The walk in lines of plain text: number, time since it began, what happened. Rounds that repeat are told once."""
    alone = len(walk.machines) == 1
    places = [one.source if alone else f"{one.machine}.{one.source}" for one in walk.traced]
    width = max(map(len, places))
    since_s = walk.since_s
    lines = []
    for at, times, last in _rounds(walk.traced):
        traced = walk.traced[at]
        again = f"   ×{times}, until {since_s[last]:.2f} s" if times > 1 else ""
        lines.append(
            f"#{at + 1:<4}{since_s[at]:9.2f} s  {places[at].ljust(width)}  {traced.event} → {traced.target}{again}"
        )
    if len(lines) <= lines_max:
        return lines
    half = lines_max // 2
    return [*lines[:half], f"  … {len(lines) - 2 * half} more …", *lines[-half:]]


def _rounds(traced: Sequence[Traced]) -> Iterator[tuple[int, int, int]]:
    """`(index, times, last index)`: a step, or a round of two, that follows itself is told once, and how often."""
    at = 0
    while at < len(traced):
        size, times = next(((size, times) for size in (1, 2) if (times := _times(traced, at, size)) > 1), (1, 1))
        for step in range(at, at + size):
            yield step, times, step + size * (times - 1)
        at += size * times


def _times(traced: Sequence[Traced], at: int, size: int) -> int:
    """How often the `size` steps from `at` on are walked in a row."""
    first = [_edge(one) for one in traced[at : at + size]]
    times = 1
    while [_edge(one) for one in traced[at + times * size : at + (times + 1) * size]] == first:
        times += 1
    return times


def _edge(traced: Traced) -> tuple[str, str, str, str]:
    return traced.machine, traced.source, traced.event, traced.target


def _note(taken: list[tuple[int, float]]) -> str:
    """A few letters: the numbers of the steps and when the last was made, as far as there is room; of many the first, the
    last, and how many. The story has the rest."""
    numbers = [number for number, _ in taken]
    since_s = taken[-1][1]
    named = f"#{','.join(map(str, numbers))}"
    timed = f"{named} {since_s:.1f}s" if since_s < 10 else f"{named} {since_s:.0f}s"
    ranged = f"#{numbers[0]}…{numbers[-1]} ×{len(numbers)}"
    return next((note for note in (timed, named) if len(note) <= NOTE_MAX or len(numbers) == 1), ranged)


def _caption(walk: Walk, machine: Machine) -> str:
    ended = walk.ended_in(machine) if walk.machine == machine.name else ""
    end = (
        f"ended in {ended}" if ended else "walked inside another" if walk.machine != machine.name else "was broken off"
    )
    told = f"; {said}" if (said := strangers(walk, machine)) else ""
    return f"walk of {walk.began}: {end} after {walk.seconds:.2f} s{told}"
