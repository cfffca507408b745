"""Layouts by ELK: the request for a machine, the answer as a `Layout`, and the file that keeps the best answer.

`run.py` starts the engine (elkjs, on node) when a machine has changed; nothing here does. ELK's options interact, and no
choice is best for every machine: it is asked in each of the `VARIANTS`, and the most readable of the answers is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from types import MappingProxyType
from typing import Any

from kimi_auth.machine.spec import Machine
from kimi_auth.review.geometry import Layout, Point, Rect, Route
from kimi_auth.review.graph import FRAME_FOOT, FRAME_GAP, FRAME_PAD, START, Arrow, Graph, graph_of
from kimi_auth.review.layout import fingerprint

__all__ = ["VARIANTS", "file_text", "request"]

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
"""Options to add to a request, one set for each layout to choose from."""

_WIDTH_MAX = 1180
"""Pixels: a window of 1200 shows the picture without scrolling sideways."""
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
_HAPPY = {"elk.layered.priority.straightness": "10", "elk.layered.priority.direction": "10"}


def request(machine: Machine, more: Mapping[str, str] = _NO_OPTIONS) -> dict[str, Any]:
    """The machine's graph as ELK's JSON: sizes, labels and options; `more` options make it one of the variants."""
    graph = graph_of(machine)
    framed = {state for frame in graph.frames.values() for state in frame.states}
    nodes: list[dict[str, Any]] = [{"id": START, "width": _DOT, "height": _DOT}]
    for name, box in graph.boxes.items():
        if name not in framed:
            nodes.append({"id": name, "width": box.width, "height": box.height})
        elif (frame := graph.node_of(name)) not in {node["id"] for node in nodes}:
            nodes.append(_frame_node(graph, frame))
    edges = [
        {
            "id": str(number),
            "sources": [f"{number} out" if arrow.source in graph.frames else arrow.source],
            "targets": [f"{number} in" if arrow.target in framed else arrow.target],
            "labels": _labels(arrow),
            "layoutOptions": _HAPPY if arrow.happy else {},
        }
        for number, arrow in enumerate(graph.arrows)
    ]
    return {"id": machine.name, "layoutOptions": {**_OPTIONS, **more}, "children": nodes, "edges": edges}


def file_text(
    machine: Machine, answers: Iterable[Mapping[str, Any] | None], variants: Sequence[Mapping[str, str]]
) -> str:
    """The file that keeps the best of ELK's answers to `variants` for `machine`, ending in a newline. Of equals the first.

    An answer is None where ELK has none. One value a line, so that a diff shows the parts that moved.
    """
    graph = graph_of(machine)
    layouts = ((number, _layout(graph, answer)) for number, answer in enumerate(answers) if answer is not None)
    number, best = min(layouts, key=lambda numbered: _cost(graph, numbered[1]))
    data = {
        "machine": machine.name,
        "graph": fingerprint(graph),
        "variant": dict(variants[number]),
        "layout": best.data(),
    }
    return _one_value_a_line(data) + "\n"


def _layout(graph: Graph, answer: Mapping[str, Any]) -> Layout:
    boxes: dict[str, Rect] = {}
    frames: dict[str, Rect] = {}
    for node in answer["children"]:
        rect = _rect(node)
        if node["id"] in graph.frames:
            frames[node["id"]] = rect
            boxes |= _members(graph, node["id"], rect)
        elif node["id"] != START:
            boxes[node["id"]] = rect
    routes = []
    for arrow, edge in zip(graph.arrows, answer["edges"], strict=True):
        (section,) = edge["sections"]
        corners = [section["startPoint"], *section.get("bendPoints", ()), section["endPoint"]]
        points: list[Point] = [(round(corner["x"]), round(corner["y"])) for corner in corners]
        if graph.node_of(arrow.target) in frames:
            points[-1] = (points[-1][0], boxes[arrow.target].y)  # ELK ends it at the frame, we at the state inside
        labels = edge.get("labels") or [None]
        routes.append(Route(tuple(points), _rect(labels[0]) if labels[0] else None))
    ordered = {name: boxes[name] for name in graph.boxes}
    return Layout(round(answer["width"]), round(answer["height"]), ordered, frames, tuple(routes))


def _cost(graph: Graph, layout: Layout) -> tuple[int, int, int]:
    """How hard a picture is to read: lines on each other, too wide for a window, then crossings, bends and height."""
    bends = sum(
        max(len(route.points) - 2, 0) * (3 if arrow.happy else 1)
        for arrow, route in zip(graph.arrows, layout.routes, strict=True)
    )
    shared, crossings = _meetings(layout)
    return shared, max(layout.width - _WIDTH_MAX, 0), 30 * crossings + 8 * bends + layout.height


def _meetings(layout: Layout) -> tuple[int, int]:
    """How often a stretch of one route lies on a stretch of another, and how often routes cross."""
    shared = crossings = 0
    lines = [[(min(a, b), max(a, b), a[1] == b[1]) for a, b in pairwise(route.points)] for route in layout.routes]
    for one, other in combinations(lines, 2):
        for (a, b, level), (c, d, flat) in ((s, t) for s in one for t in other):
            across, along = (1, 0) if level else (0, 1)
            if level == flat:
                shared += a[across] == c[across] and min(b[along], d[along]) > max(a[along], c[along])
            else:
                crossings += c[across] < a[across] < d[across] and a[along] < c[along] < b[along]
    return shared, crossings


def _frame_node(graph: Graph, name: str) -> dict[str, Any]:
    """A frame is one node. Each arrow to a state in it ends at a port of its own above that state; arrows leave at its
    foot."""
    frame, ports = graph.frames[name], []
    for state, rect in _members(graph, name, Rect(0, 0, frame.width, frame.height)).items():
        coming = [number for number, arrow in enumerate(graph.arrows) if arrow.target == state]
        for at, number in enumerate(coming, 1):
            x = rect.x + rect.width * at // (len(coming) + 1)
            ports.append({"id": f"{number} in", "x": x, "y": 0, "layoutOptions": {"elk.port.side": "NORTH"}})
    leaving = [number for number, arrow in enumerate(graph.arrows) if arrow.source == name]
    for at, number in enumerate(leaving, 1):
        x = frame.width * at // (len(leaving) + 1)
        south = {"elk.port.side": "SOUTH"}
        ports.append({"id": f"{number} out", "x": x, "y": frame.height, "layoutOptions": south})
    fixed = {"elk.portConstraints": "FIXED_POS"}
    return {"id": name, "width": frame.width, "height": frame.height, "ports": ports, "layoutOptions": fixed}


def _members(graph: Graph, name: str, frame: Rect) -> dict[str, Rect]:
    x, rects = frame.x + FRAME_PAD, {}
    for state in graph.frames[name].states:
        box = graph.boxes[state]
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


def _one_value_a_line(data: Any, depth: int = 0) -> str:
    """JSON with the innermost lists, and the objects in lists, on one line each."""
    start, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(data, dict) and depth < 3:
        lines = (f"{start}{json.dumps(key)}: {_one_value_a_line(value, depth + 1)}" for key, value in data.items())
        return f"{{{','.join(lines)}{end}}}"
    if isinstance(data, list) and data and isinstance(data[0], dict):
        return f"[{','.join(start + json.dumps(item) for item in data)}{end}]"
    return json.dumps(data)
