"""A layout that needs no engine: states one below the other in the order of the file, outcomes as rungs beside them.

Every arrow gets a row of its own at the right of its source for its label, a lane further right for the way to its target,
and an entry of its own into the target. So labels cannot overlap and no line meets a box, whatever the machine is: right
for a machine that was drawn a second ago, and for two revisions of one laid over each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from .geometry import Layout, Rect, Route
from .sketch import START, Sketch

__all__ = ["ladder"]

MARGIN = 24
GAP = 26
STUB = 26
LANE = 12
ENTRY = 10
ROW_GAP = 6


def ladder(drawn: Sketch) -> Layout:
    """The layout of a sketch, by construction without overlaps. Frames are not used: their states stand apart."""
    order = list(drawn.boxes)
    out: dict[str, list[int]] = {name: [] for name in order}
    into: dict[str, list[int]] = {name: [] for name in order}
    for number, arrow in enumerate(drawn.arrows):
        if arrow.source != START:
            out[arrow.source].append(number)
            into[arrow.target].append(number)

    column = max(box.width for box in drawn.boxes.values())
    boxes: dict[str, Rect] = {}
    labels: dict[int, Rect] = {}
    entries: dict[int, int] = {}
    y = MARGIN + 40
    for name in order:
        box = drawn.boxes[name]
        rows = sum(drawn.arrows[number].label_size[1] + ROW_GAP for number in out[name])
        height = max(box.height, ENTRY * (len(into[name]) + 1) + rows)
        boxes[name] = Rect(MARGIN + (column - box.width) // 2, y, box.width, height)
        at = y + ENTRY
        for number in into[name]:
            entries[number], at = at, at + ENTRY
        for number in out[name]:
            width, label_height = drawn.arrows[number].label_size
            labels[number] = Rect(MARGIN + column + STUB, at, width, label_height)
            at += label_height + ROW_GAP
        y += height + GAP

    first = max([label.right for label in labels.values()], default=MARGIN + column) + STUB
    spans = {n: tuple(sorted((_middle(labels[n]), entries[n]))) for n in labels}
    lanes = _lanes((n, low, high) for n, (low, high) in spans.items())
    routes = []
    for number, arrow in enumerate(drawn.arrows):
        target = boxes[arrow.target]
        if arrow.source == START:
            x = target.x + target.width // 2
            routes.append(Route(((x, target.y - 30), (x, target.y)), None))
            continue
        x, label = first + LANE * lanes[number], labels[number]
        middle, end = _middle(label), entries[number]
        routes.append(Route(((boxes[arrow.source].right, middle), (x, middle), (x, end), (target.right, end)), label))
    width = first + LANE * max(lanes.values(), default=0) + MARGIN
    return Layout(width, y - GAP + MARGIN, boxes, {}, tuple(routes))


def _middle(rect: Rect) -> int:
    return rect.y + rect.height // 2


def _lanes(spans: Iterable[tuple[int, int, int]]) -> dict[int, int]:
    """A lane for each `(number, top, bottom)`, the short ones inside; spans that share a lane do not touch."""
    taken: list[list[tuple[int, int]]] = []
    lanes: dict[int, int] = {}
    for number, top, bottom in sorted(spans, key=lambda span: (span[2] - span[1], span[0])):
        free = (
            lane for lane, others in enumerate(taken) if all(bottom + 4 < low or high + 4 < top for low, high in others)
        )
        lanes[number] = next(free, len(taken))
        if lanes[number] == len(taken):
            taken.append([])
        taken[lanes[number]].append((top, bottom))
    return lanes
