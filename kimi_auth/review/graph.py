"""A machine as a graph to draw, before it has a layout: boxes with their sizes, frames, and bundled arrows.

Rest states that take the same events to the same targets share a frame, and an arrow that leaves a frame leaves every
state in it. Outcomes of one source that share a target share an arrow. No edge is lost, and far fewer lines are drawn: the
63 edges of token_lifecycle are 28 arrows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from kimi_auth.machine.spec import Machine, State

__all__ = ["START", "Arrow", "Box", "Frame", "Graph", "bundles", "graph_of", "state_lines", "text_width"]

START = "*"
"""The dot where a walk begins: the source of the first arrow. No state can have this name."""

NAME_PX, LINE_PX = 13, 11
NAME_LEADING, LINE_LEADING = 18, 15
EM = 0.602
"""The advance of a monospaced letter, as a share of its size (DejaVu Sans Mono, the widest of the fonts we name). Pictures
use monospaced text only, so a width can be computed without a font."""

PAD_X, PAD_Y = 9, 8
FRAME_PAD, FRAME_GAP, FRAME_FOOT = 12, 6, 22
NOTE_LETTERS = 7
"""Room that every label keeps for the note that an overlay adds to it: ` ×1234`, ` #12 3.4s`."""


class Box(NamedTuple):
    """One state: its `lines` of text, the first of which is its name, and its size in pixels."""

    lines: tuple[str, ...]
    width: int
    height: int


class Frame(NamedTuple):
    """Rest states from which the same events lead to the same targets, side by side, in file order."""

    states: tuple[str, ...]
    width: int
    height: int


class Arrow(NamedTuple):
    """`events` that lead from a state, from each state of a frame, or from `START` to one `target`.

    `happy`: a walk that always meets the first outcome takes it.
    """

    source: str
    target: str
    events: tuple[str, ...]
    happy: bool

    @property
    def label_size(self) -> tuple[int, int]:
        """Width and height in pixels of this arrow's label in the graph, with room for the notes of an overlay."""
        if not self.events:
            return 0, 0
        letters = max(map(len, self.events)) + NOTE_LETTERS
        return text_width(letters, LINE_PX) + 8, LINE_LEADING * len(self.events) + 4


class Graph(NamedTuple):
    """All that is drawn of a machine. A frame has a name of its own, which no state can have."""

    boxes: Mapping[str, Box]
    frames: Mapping[str, Frame]
    arrows: tuple[Arrow, ...]

    def members(self, node: str) -> tuple[str, ...]:
        """The states of the graph's `node`: those of a frame, or the one state itself."""
        return self.frames[node].states if node in self.frames else (node,)

    def node_of(self, state: str) -> str:
        """The graph's frame that contains `state`, or the state itself."""
        return next((name for name, frame in self.frames.items() if state in frame.states), state)


def graph_of(machine: Machine, *, framed: bool = True) -> Graph:
    """The graph of `machine`. Same machine, same graph; its sentences do not matter.

    `framed`: states that are alike share a frame; else each has arrows of its own.
    """
    boxes = {name: _box(name, state) for name, state in machine.states.items()}
    frames = {
        f"frame {states[0]}": _frame([boxes[name] for name in states], states) for states in _alike(machine) if framed
    }
    frame_of = {state: name for name, frame in frames.items() for state in frame.states}
    happy = _happy(machine)
    arrows = [Arrow(START, machine.initial, (), happy=True)]
    for name, state in machine.states.items():
        source = frame_of.get(name, name)
        if source in frames and frames[source].states[0] != name:
            continue
        for target, events in bundles(state).items():
            arrows.append(Arrow(source, target, events, happy=(name, target) in happy))
    return Graph(boxes, frames, tuple(arrows))


def bundles(state: State) -> dict[str, tuple[str, ...]]:
    """The bundled arrows of a state: target -> the outcomes that lead to it, both in file order."""
    found: dict[str, tuple[str, ...]] = {}
    for event, target in state.on.items():
        found[target] = (*found.get(target, ()), event)
    return found


def state_lines(name: str, state: State) -> tuple[str, ...]:
    """The text in a box of the graph: its name, its activity, the resource it holds and the machine it walks."""
    work = (
        state.activity and f"{state.activity}()",
        state.holds and f"holds {state.holds}",
        state.walks and f"walks {state.walks}",
    )
    return (name, *(line for line in work if line))


def text_width(letters: int, size_px: int) -> int:
    """The width in whole pixels of monospaced text, which gives a graph's box its size."""
    return math.ceil(letters * size_px * EM)


def _box(name: str, state: State) -> Box:
    lines = state_lines(name, state)
    # Bold letters are no wider in a monospaced face.
    width = max(text_width(len(name), NAME_PX), *(text_width(len(line), LINE_PX) for line in lines)) + 2 * PAD_X
    return Box(lines, max(width, 64), NAME_LEADING + LINE_LEADING * (len(lines) - 1) + 2 * PAD_Y)


def _frame(boxes: list[Box], states: tuple[str, ...]) -> Frame:
    width = sum(box.width for box in boxes) + FRAME_GAP * (len(boxes) - 1) + 2 * FRAME_PAD
    return Frame(states, width, max(box.height for box in boxes) + FRAME_PAD + FRAME_FOOT)


def _alike(machine: Machine) -> list[tuple[str, ...]]:
    """The groups for frames: two or more rest states with the same events, none of which leads back into its own group."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, state in machine.states.items():
        if state.is_rest and state.on:
            groups.setdefault(tuple(sorted(state.on.items())), []).append(name)
    return [
        tuple(states)
        for on, states in groups.items()
        if len(states) > 1 and not {target for _, target in on} & set(states)
    ]


def _happy(machine: Machine) -> set[tuple[str, str]]:
    """The graph's arrows on the good way: each step by the first outcome, up to a rest state or to where it closes a
    circle."""
    steps: set[tuple[str, str]] = set()
    at, seen = machine.initial, {machine.initial}
    while not machine.states[at].is_rest:
        target = next(iter(machine.states[at].on.values()))
        steps.add((at, target))
        if target in seen:
            break
        seen.add(target)
        at = target
    return steps
