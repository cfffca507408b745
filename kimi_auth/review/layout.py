"""The layout of a machine: the one that ELK computed for it, else its states in one column.

ELK's answers are computed when a machine changes and are shipped as data, so drawing needs no engine. A machine without
one (edited a second ago, or not of this package) is laid out here: states one below the other in file order. Every arrow
gets a row of its own for its label, to the right of its source, a lane further right for the way to its target's row, and
its own entry into the target. Labels therefore cannot overlap and no line can cross a box, whatever the machine is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from kimi_auth.machine.spec import Machine

from .geometry import Layout, Rect, Route
from .graph import START, Graph, graph_of

__all__ = ["column", "fingerprint", "layout_of", "stored"]

_PACKAGE = __name__.partition(".")[0]

MARGIN = 24
GAP = 26
STUB = 26
LANE = 12
ENTRY = 10
ROW_GAP = 6


def layout_of(machine: Machine, folder: Path | Traversable | None = None) -> tuple[Graph, Layout]:
    """The picture of `machine`, and where its parts are: stored in `folder` if it knows this machine, else one column.

    `folder` holds a `NAME.json` for each machine; default: the layouts that come with this package.
    """
    if (known := stored(machine, folder)) is not None:
        return graph_of(machine), known
    graph = graph_of(machine, framed=False)
    return graph, column(graph)


def stored(machine: Machine, folder: Path | Traversable | None = None) -> Layout | None:
    """The layout of exactly this machine in `folder` (default: this package's), or None."""
    file = (folder or _own_folder()) / f"{machine.name}.json"
    if not file.is_file():
        return None
    try:
        data = json.loads(file.read_bytes())
        return Layout.from_data(data["layout"]) if data["graph"] == fingerprint(graph_of(machine)) else None
    except (ValueError, RecursionError, LookupError, TypeError):  # of a checkout, where anything may lie
        return None


def fingerprint(graph: Graph) -> str:
    """SHA-256, in hex, of the graph that a layout is for: it changes with the sizes and arrows of a picture, not with a
    machine's sentences."""
    return hashlib.sha256(json.dumps(graph).encode()).hexdigest()


def _own_folder() -> Path | Traversable:
    """Inside the package (wheel, zip), else beside it (bare checkout, editable install)."""
    packaged = resources.files(_PACKAGE) / "layouts"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "diagrams" / "layouts"


def column(graph: Graph) -> Layout:
    """The layout of a graph in one column, by construction without overlaps. It has no frames: give it a graph without."""
    order = list(graph.boxes)
    out: dict[str, list[int]] = {name: [] for name in order}
    into: dict[str, list[int]] = {name: [] for name in order}
    for number, arrow in enumerate(graph.arrows):
        if arrow.source != START:
            out[arrow.source].append(number)
            into[arrow.target].append(number)

    widest = max(box.width for box in graph.boxes.values())
    boxes: dict[str, Rect] = {}
    labels: dict[int, Rect] = {}
    entries: dict[int, int] = {}
    y = MARGIN + 40
    for name in order:
        box = graph.boxes[name]
        rows = sum(graph.arrows[number].label_size[1] + ROW_GAP for number in out[name])
        height = max(box.height, ENTRY * (len(into[name]) + 1) + rows)
        boxes[name] = Rect(MARGIN + (widest - box.width) // 2, y, box.width, height)
        at = y + ENTRY
        for number in into[name]:
            entries[number], at = at, at + ENTRY
        for number in out[name]:
            width, label_height = graph.arrows[number].label_size
            labels[number] = Rect(MARGIN + widest + STUB, at, width, label_height)
            at += label_height + ROW_GAP
        y += height + GAP

    first = max([label.right for label in labels.values()], default=MARGIN + widest) + STUB
    spans = {n: tuple(sorted((_middle(labels[n]), entries[n]))) for n in labels}
    lanes = _lanes((n, low, high) for n, (low, high) in spans.items())
    routes = []
    for number, arrow in enumerate(graph.arrows):
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
    """A lane of the layout for each `(number, top, bottom)`, the short ones inside; spans that share one do not touch."""
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
