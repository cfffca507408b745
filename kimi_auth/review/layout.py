"""Where everything stands in the picture of a machine: geometry as data, in whole pixels.

The layouts of this package's machines are computed once, by ELK, when the pictures are made, and are shipped as data: no
engine is needed to draw. `request` is what the engine is asked, and its hash says whether an answer still belongs to the
machine; it is asked in some `VARIANTS`, and `best` of the answers is kept. A machine without such an answer is laid out by `ladder`, which needs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kimi_auth.machine.spec import Machine

from .geometry import Layout, Point, Rect, Route, meetings
from .ladder import ladder
from .sketch import FRAME_FOOT, FRAME_GAP, FRAME_PAD, START, Arrow, Sketch, sketch

__all__ = ["VARIANTS", "answer", "best", "fingerprint", "layout", "request"]

_PACKAGE = __name__.partition(".")[0]
_DOT = 14
_MARGIN = 16

_OPTIONS = {
    "elk.algorithm": "layered",
    "elk.direction": "DOWN",
    "elk.edgeRouting": "ORTHOGONAL",
    "elk.padding": f"[top={_MARGIN},left={_MARGIN},bottom={_MARGIN},right={_MARGIN}]",
    "elk.spacing.nodeNode": "14",
    "elk.spacing.edgeNode": "10",
    "elk.spacing.edgeEdge": "10",
    "elk.layered.spacing.nodeNodeBetweenLayers": "30",
    "elk.layered.spacing.edgeNodeBetweenLayers": "16",
    "elk.layered.spacing.edgeEdgeBetweenLayers": "12",
    "elk.layered.nodePlacement.strategy": "NETWORK_SIMPLEX",
    "elk.layered.considerModelOrder.strategy": "PREFER_EDGES",
    "elk.layered.compaction.postCompaction.strategy": "EDGE_LENGTH",
}
VARIANTS: tuple[dict[str, str], ...] = tuple(
    {
        "elk.layered.layering.strategy": layering,
        "elk.layered.cycleBreaking.strategy": cycles,
        "elk.randomSeed": str(seed),
    }
    for layering in ("NETWORK_SIMPLEX", "STRETCH_WIDTH")
    for cycles in ("MODEL_ORDER", "DEPTH_FIRST")
    for seed in range(1, 25)
)
"""What the engine is asked besides: no choice of options is best for every machine."""

WIDTH_MAX = 1180
"""In pixels: what a window of 1200 shows without being moved."""
_NOTHING_MORE: Mapping[str, str] = MappingProxyType({})
_HAPPY = {"elk.layered.priority.straightness": "10", "elk.layered.priority.direction": "10"}


def request(machine: Machine, more: Mapping[str, str] = _NOTHING_MORE) -> dict[str, Any]:
    """What ELK is asked: the graph of the machine's sketch, with sizes, labels and options, as ELK's JSON; `more` options
    make it one of the variants."""
    drawn = sketch(machine)
    framed = {state for frame in drawn.frames.values() for state in frame.states}
    nodes: list[dict[str, Any]] = [{"id": START, "width": _DOT, "height": _DOT}]
    for name, box in drawn.boxes.items():
        if name not in framed:
            nodes.append({"id": name, "width": box.width, "height": box.height})
        elif (place := drawn.place(name)) not in {node["id"] for node in nodes}:
            nodes.append(_frame_node(drawn, place))
    edges = [
        {
            "id": str(number),
            "sources": [f"{number} out" if arrow.source in drawn.frames else arrow.source],
            "targets": [f"{number} in" if arrow.target in framed else arrow.target],
            "labels": _labels(arrow),
            "layoutOptions": _HAPPY if arrow.happy else {},
        }
        for number, arrow in enumerate(drawn.arrows)
    ]
    return {"id": machine.name, "layoutOptions": {**_OPTIONS, **more}, "children": nodes, "edges": edges}


def fingerprint(machine: Machine) -> str:
    """SHA-256, in hex, of what is asked for `machine`: it changes with what a picture shows, not with its sentences."""
    return hashlib.sha256(json.dumps(request(machine), sort_keys=True).encode()).hexdigest()


def answer(machine: Machine, graph: Mapping[str, Any]) -> Layout:
    """ELK's answer to `request(machine)` as a layout."""
    drawn = sketch(machine)
    boxes: dict[str, Rect] = {}
    frames: dict[str, Rect] = {}
    for node in graph["children"]:
        place = _rect(node)
        if node["id"] in drawn.frames:
            frames[node["id"]] = place
            boxes |= _members(drawn, node["id"], place)
        elif node["id"] != START:
            boxes[node["id"]] = place
    routes = []
    for arrow, edge in zip(drawn.arrows, graph["edges"], strict=True):
        (section,) = edge["sections"]
        ends = [section["startPoint"], *section.get("bendPoints", ()), section["endPoint"]]
        points: list[Point] = [(round(end["x"]), round(end["y"])) for end in ends]
        if drawn.place(arrow.target) in frames:
            points[-1] = (points[-1][0], boxes[arrow.target].y)
        labels = edge.get("labels") or [None]
        routes.append(Route(tuple(points), _rect(labels[0]) if labels[0] else None))
    ordered = {name: boxes[name] for name in drawn.boxes}
    return Layout(round(graph["width"]), round(graph["height"]), ordered, frames, tuple(routes))


def best(machine: Machine, graphs: Iterable[Mapping[str, Any] | None]) -> tuple[int, Layout]:
    """Of ELK's answers (None where it has none) the one that is read most easily, with its number: no line on another, no
    wider than a window, then what crosses and bends least and is not too tall. Of equals the first."""
    drawn = sketch(machine)
    answers = ((number, answer(machine, graph)) for number, graph in enumerate(graphs) if graph is not None)
    return min(answers, key=lambda numbered: _strain(drawn, numbered[1]))


def _strain(drawn: Sketch, places: Layout) -> tuple[int, int, int]:
    """How hard a picture is to read; the less, the better."""
    bends = sum(
        max(len(route.points) - 2, 0) * (3 if arrow.happy else 1)
        for arrow, route in zip(drawn.arrows, places.routes, strict=True)
    )
    shared, crossings = meetings(places)
    return len(shared), max(places.width - WIDTH_MAX, 0), 30 * crossings + 8 * bends + places.height


def layout(machine: Machine, folder: Path | Traversable | None = None) -> tuple[Sketch, Layout]:
    """What the picture of `machine` shows, and where: as computed by ELK if `folder` knows this machine, else a ladder.

    `folder` holds a `NAME.json` for each machine; default: the layouts that come with this package.
    """
    drawn = sketch(machine)
    known = read(machine, folder)
    return (
        (drawn, known) if known is not None else (sketch(machine, framed=False), ladder(sketch(machine, framed=False)))
    )


def read(machine: Machine, folder: Path | Traversable | None = None) -> Layout | None:
    """The layout of exactly this machine in `folder` (default: this package's), or None."""
    file = (folder or _own_folder()) / f"{machine.name}.json"
    if not file.is_file():
        return None
    data = json.loads(file.read_bytes())
    return Layout.from_data(data["layout"]) if data["request"] == fingerprint(machine) else None


def text(machine: Machine, graphs: Iterable[Mapping[str, Any] | None], variants: Sequence[Mapping[str, str]]) -> str:
    """The file that keeps the best of ELK's answers to `variants` for `machine`, one thing a line, ending in a newline."""
    number, places = best(machine, graphs)
    lines = json.dumps(
        {
            "machine": machine.name,
            "request": fingerprint(machine),
            "variant": dict(variants[number]),
            "layout": places.data(),
        }
    )
    return _one_thing_a_line(json.loads(lines)) + "\n"


def _own_folder() -> Path | Traversable:
    """Inside the package (wheel, zip), else beside it (bare checkout, editable install)."""
    packaged = resources.files(_PACKAGE) / "layouts"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "diagrams" / "layouts"


def _frame_node(drawn: Sketch, name: str) -> dict[str, Any]:
    """A frame is one node. Each arrow to a state in it ends at a port of its own above that state; arrows leave at its
    foot."""
    frame, ports = drawn.frames[name], []
    for state, rect in _members(drawn, name, Rect(0, 0, frame.width, frame.height)).items():
        coming = [number for number, arrow in enumerate(drawn.arrows) if arrow.target == state]
        for at, number in enumerate(coming, 1):
            x = rect.x + rect.width * at // (len(coming) + 1)
            ports.append({"id": f"{number} in", "x": x, "y": 0, "layoutOptions": {"elk.port.side": "NORTH"}})
    leaving = [number for number, arrow in enumerate(drawn.arrows) if arrow.source == name]
    for at, number in enumerate(leaving, 1):
        x = frame.width * at // (len(leaving) + 1)
        south = {"elk.port.side": "SOUTH"}
        ports.append({"id": f"{number} out", "x": x, "y": frame.height, "layoutOptions": south})
    fixed = {"elk.portConstraints": "FIXED_POS"}
    return {"id": name, "width": frame.width, "height": frame.height, "ports": ports, "layoutOptions": fixed}


def _members(drawn: Sketch, name: str, frame: Rect) -> dict[str, Rect]:
    x, rects = frame.x + FRAME_PAD, {}
    for state in drawn.frames[name].states:
        box = drawn.boxes[state]
        rects[state] = Rect(x, frame.y + FRAME_PAD, box.width, frame.height - FRAME_PAD - FRAME_FOOT)
        x += box.width + FRAME_GAP
    return rects


def _labels(arrow: Arrow) -> list[dict[str, Any]]:
    if not arrow.events:
        return []
    width, height = arrow.label_size
    inline = {"elk.edgeLabels.inline": "true", "elk.edgeLabels.placement": "CENTER"}
    return [{"id": "", "text": " ".join(arrow.events), "width": width, "height": height, "layoutOptions": inline}]


def _rect(thing: Mapping[str, Any]) -> Rect:
    return Rect(round(thing["x"]), round(thing["y"]), round(thing["width"]), round(thing["height"]))


def _one_thing_a_line(data: Any, depth: int = 0) -> str:
    """JSON whose innermost lists and the objects of lists stand on one line: a difference shows what moved."""
    inside = "\n" + " " * (depth + 1)
    if isinstance(data, dict) and depth < 3 and "points" not in data:
        return (
            "{"
            + ",".join(
                f"{inside}{json.dumps(key)}: {_one_thing_a_line(value, depth + 1)}" for key, value in data.items()
            )
            + "\n"
            + " " * depth
            + "}"
        )
    if isinstance(data, list) and data and isinstance(data[0], dict):
        return "[" + ",".join(inside + json.dumps(item) for item in data) + "\n" + " " * depth + "]"
    return json.dumps(data)
