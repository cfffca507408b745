"""One recorded walk: drawn over its machine, and as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kimi_auth.machine.spec import Machine
from kimi_auth.machine.trace import Traced, Walk

from .graph import Graph
from .overlay import Mark, Overlay, marks

__all__ = ["foreign_steps", "overlay", "walk_lines"]

LINES_MAX = 30
NOTE_MAX = 9
"""Letters of a note with a time, where it has room."""


def overlay(machine: Machine, walk: Walk, graph: Graph) -> Overlay:
    """The walk over the machine: at each outcome the numbers of its steps, below the picture its lines with all times."""
    steps: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for number, (traced, since_s) in enumerate(zip(walk.traced, walk.since_s, strict=True), 1):
        if traced.machine == machine.name:
            steps.setdefault((traced.source, traced.event, traced.target), []).append((number, since_s))

    def mark_of(sources: tuple[str, ...], event: str, target: str) -> Mark | None:
        taken = sorted(step for source in sources for step in steps.get((source, event, target), ()))
        return Mark("traced", *_notes(taken)) if taken else None

    last = [traced.target for traced in walk.traced if traced.machine == machine.name][-1:]
    states = {state: "traced" for state in last if state in machine.states}
    legend = (
        ("traced", "walked: #numbers of the steps, and where there is room the seconds until the last; × how often"),
    )
    footer = tuple(("", line) for line in walk_lines(walk))
    return Overlay(_caption(walk, machine), marks(graph, mark_of), states, legend, fades=True, footer=footer)


def foreign_steps(walk: Walk, machine: Machine) -> str:
    """How many steps of a walk this revision of its machine lacks, as a phrase, "" for none: no picture of it shows them."""
    count = sum(one.machine == machine.name and not _is_of(one, machine) for one in walk.traced)
    many = "1 step is" if count == 1 else f"{count} steps are"
    return f"{many} of another revision of this machine" if count else ""


def _is_of(traced: Traced, machine: Machine) -> bool:
    state = machine.states.get(traced.source)
    return state is not None and state.on.get(traced.event) == traced.target


def walk_lines(walk: Walk, lines_max: int = LINES_MAX) -> list[str]:
    """The walk in lines of plain text: number, time since it began, source, outcome and target. A round that repeats
    is one line a step, with how often. From a longer walk the middle is left out."""
    alone = len(walk.machines) == 1
    sources = [one.source if alone else f"{one.machine}.{one.source}" for one in walk.traced]
    width = max(map(len, sources))
    since_s = walk.since_s
    lines = []
    for at, times, last in _rounds(walk.traced):
        traced = walk.traced[at]
        again = f"   ×{times}, until {since_s[last]:.2f} s" if times > 1 else ""
        lines.append(
            f"#{at + 1:<4}{since_s[at]:9.2f} s  {sources[at].ljust(width)}  {traced.event} → {traced.target}{again}"
        )
    if len(lines) <= lines_max:
        return lines
    half = lines_max // 2
    return [*lines[:half], f"  … {len(lines) - 2 * half} more …", *lines[-half:]]


def _rounds(traced: Sequence[Traced]) -> Iterator[tuple[int, int, int]]:
    """`(index, times, last index)`: a step, or a round of two, that follows itself is given once, with how often."""
    at = 0
    while at < len(traced):
        size, times = next(((size, times) for size in (1, 2) if (times := _times(traced, at, size)) > 1), (1, 1))
        for step in range(at, at + size):
            yield step, times, step + size * (times - 1)
        at += size * times


def _times(traced: Sequence[Traced], at: int, size: int) -> int:
    """How many times in a row the `size` steps from `at` on are walked."""
    first = [_edge(one) for one in traced[at : at + size]]
    times = 1
    while [_edge(one) for one in traced[at + times * size : at + (times + 1) * size]] == first:
        times += 1
    return times


def _edge(traced: Traced) -> tuple[str, str, str, str]:
    return traced.machine, traced.source, traced.event, traced.target


def _notes(taken: list[tuple[int, float]]) -> tuple[str, tuple[str, ...]]:
    """The numbers of the steps and the time of the last one, as far as there is room; of many the first, the last, and
    how many. Then shorter notes, down to how many. The lines below the picture have the rest."""
    numbers = [number for number, _ in taken]
    since_s = taken[-1][1]
    named = f"#{','.join(map(str, numbers))}"
    timed = f"{named} {since_s:.1f}s" if since_s < 10 else f"{named} {since_s:.0f}s"
    if len(numbers) == 1:
        return timed, (named,)
    count = f"×{len(numbers)}"
    notes = [note for note in (timed, named) if len(note) <= NOTE_MAX]
    notes += [f"#{numbers[0]}…{numbers[-1]} {count}", count]
    return notes[0], tuple(notes[1:])


def _caption(walk: Walk, machine: Machine) -> str:
    ended = walk.ended_in(machine) if walk.machine == machine.name else ""
    end = (
        f"ended in {ended}" if ended else "walked inside another" if walk.machine != machine.name else "was interrupted"
    )
    foreign = f"; {phrase}" if (phrase := foreign_steps(walk, machine)) else ""
    return f"walk of {walk.began}: {end} after {walk.seconds:.2f} s{foreign}"
