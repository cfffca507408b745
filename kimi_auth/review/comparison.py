"""Two revisions of a machine in one picture: the one that a reviewer knows, with what came and what went in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from textwrap import wrap

from kimi_auth.machine.spec import Machine, State

from . import layout as layouts
from .geometry import Layout
from .ladder import ladder
from .overlay import Mark, Overlay, marks
from .reroute import extended
from .sketch import LINE_PX, Arrow, Sketch, sketch, text_width
from .svg import MARK, STYLE, drawing

__all__ = ["comparison", "scene"]

NOTE_MAX = 8
STORY_LINES = 40
STORY_LETTERS_MIN = 90
LEGEND = (("added", "new"), ("removed", "gone"), ("changed", "another inside"))


def comparison(before: Machine | None, after: Machine | None, story: Sequence[str] = ()) -> str:
    """The SVG file; `story` is told below the picture. At least one of the two is a machine."""
    both, drawn, places, overlay = scene(before, after)
    letters = max(STORY_LETTERS_MIN, (places.width - 48) // text_width(1, LINE_PX))
    lines = [part for line in story for part in wrap(line, letters, subsequent_indent="      ", drop_whitespace=False)]
    if len(lines) > STORY_LINES:
        lines = [*lines[:STORY_LINES], f"… {len(lines) - STORY_LINES} more lines …"]
    told = Overlay(overlay.caption, overlay.marks, overlay.states, overlay.legend, fades=True, story=tuple(lines))
    return MARK + drawing(both, drawn, places, told, style=STYLE) + "\n"


def scene(before: Machine | None, after: Machine | None) -> tuple[Machine, Sketch, Layout, Overlay]:
    """Both revisions as one machine, what is drawn of it, where, and the marks of what changed."""
    base, other = _ordered(before, after)
    more = {name: state for name, state in other.states.items() if name not in base.states} if other else {}
    both = replace(base, states={**base.states, **more})
    arrows = tuple(_only_in(other, base)) if other else ()
    boxes = {name: box for name, box in sketch(other).boxes.items() if name in more} if other else {}
    drawn, known = layouts.layout(base)
    places = extended(drawn, known, boxes, arrows)
    if places is None:
        drawn = sketch(base, framed=False)
    drawn = Sketch({**drawn.boxes, **boxes}, drawn.frames, (*drawn.arrows, *arrows))
    return both, drawn, places or ladder(drawn), _overlay(before, after, drawn)


def _ordered(before: Machine | None, after: Machine | None) -> tuple[Machine, Machine | None]:
    """The revision whose picture is known, and the other one."""
    if before is None or after is None:
        one = after or before
        assert one is not None
        return one, None
    return (before, after) if layouts.read(after) is None and layouts.read(before) is not None else (after, before)


def _only_in(other: Machine, base: Machine) -> Iterator[Arrow]:
    """The outcomes that only one revision has, with those that share source and target on one arrow."""
    for name, state in other.states.items():
        bundles: dict[str, list[str]] = {}
        for event, target in state.on.items():
            if _leads(base, name, event) != target:
                bundles.setdefault(target, []).append(event)
        for target, events in bundles.items():
            yield Arrow(name, target, tuple(events), happy=False)


def _leads(machine: Machine | None, state: str, event: str) -> str | None:
    known = machine.states.get(state) if machine else None
    return known.on.get(event) if known else None


def _overlay(before: Machine | None, after: Machine | None, drawn: Sketch) -> Overlay:
    def judge(sources: tuple[str, ...], event: str, target: str) -> Mark | None:
        changed = [
            one for one in sources if (_leads(before, one, event) == target) != (_leads(after, one, event) == target)
        ]
        if not changed:
            return None
        kind = "added" if _leads(after, changed[0], event) == target else "removed"
        retargeted = all(_leads(machine, changed[0], event) for machine in (before, after))
        note = {"added": "now", "removed": "before"}[kind] if retargeted else ""
        if len(changed) < len(sources):
            note = (
                changed[0] if len(changed) == 1 and len(changed[0]) <= NOTE_MAX else f"{len(changed)} of {len(sources)}"
            )
        return Mark(kind, note)

    states = {name: kind for name in drawn.boxes if (kind := _kind(before, after, name))}
    found = marks(drawn, judge)
    kinds = {*states.values(), *(mark.kind for mark in found.values())}
    caption = "a new machine" if before is None else "a machine that is gone" if after is None else "what is new"
    return Overlay(caption, found, states, tuple(line for line in LEGEND if line[0] in kinds), fades=True)


def _kind(before: Machine | None, after: Machine | None, name: str) -> str:
    old, new = (machine.states.get(name) if machine else None for machine in (before, after))
    if old is None or new is None:
        return "" if before is None or after is None else "added" if old is None else "removed"
    return "" if _inside(old) == _inside(new) else "changed"


def _inside(state: State) -> tuple[str | None, ...]:
    return state.activity, state.holds, state.walks, state.tone
