"""Nothing in a picture covers anything else: not with ELK's layouts, not in a column, not under an overlay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.machine import Edge, Library, Machine, edges, steps, trace
from kimi_auth.review import difference_picture, walk_picture
from kimi_auth.review.coverage import coverage
from kimi_auth.review.difference import compare, pictures
from kimi_auth.review.geometry import Layout, Point, Rect
from kimi_auth.review.graph import START, Graph, graph_of
from kimi_auth.review.layout import column, fingerprint, layout_of, stored
from kimi_auth.review.overlay import NO_OVERLAY, Overlay
from kimi_auth.review.svg import fitted, label_rect

OWN = Library.load()
LAYOUTS = Path(__file__).parents[2] / "diagrams" / "layouts"


def in_a_column(machine: Machine) -> tuple[Graph, Layout]:
    graph = graph_of(machine, framed=False)
    return graph, column(graph)


def long_walk(machine: Machine) -> trace.Walk:
    """Every working state is entered as often as three times, so that notes are long."""
    taken: dict[tuple[str, str], int] = {}
    now_s = [1_764_000_000.0]
    found = trace.Trace(wall_s=lambda: now_s[0])
    walk = steps(machine, observe=found)
    due = next(walk)
    for _ in range(200):
        now_s[0] += 61.0
        on = machine.states[due.state].on
        event = min(on, key=lambda event: (taken.get((due.state, event), 0), machine.states[on[event]].is_rest))
        taken[due.state, event] = taken.get((due.state, event), 0) + 1
        try:
            due = walk.send(event)
        except StopIteration:
            break
    return trace.Walk(tuple(found.traced))


def many_polls(machine: Machine, times: int) -> trace.Walk:
    """A walk that meets each round of two states so often, step for step."""
    found, number = [], 0
    for source, state in machine.states.items():
        for event, middle in state.on.items():
            back = next((back for back, target in machine.states[middle].on.items() if target == source), None)
            for _ in range(times if back else 1):
                round_ = [(source, event, middle), *([(middle, back, source)] if back else [])]
                for one, what, other in round_:
                    number += 1
                    found.append(trace.Traced("w", machine.name, one, what, other, 1.0, number, 100.0 + 6.0 * number))
    return trace.Walk(tuple(found))


def overlays(machine: Machine, drawn: Graph) -> Iterator[Overlay]:
    yield NO_OVERLAY
    yield coverage(machine, drawn, {edge: {"test": 1234} for edge in edges(machine)}, {})
    yield coverage(machine, drawn, {}, {})
    yield walk_picture.overlay(machine, long_walk(machine), drawn)
    for times in (1, 2, 3, 4, 46, 999):
        yield walk_picture.overlay(machine, many_polls(machine, times), drawn)


def between(start: Point, end: Point) -> Rect:
    """A segment as a rectangle without width in one direction, grown by nothing."""
    x, y = min(start[0], end[0]), min(start[1], end[1])
    return Rect(x, y, max(abs(start[0] - end[0]), 1), max(abs(start[1] - end[1]), 1))


def overlap(one: Rect, other: Rect) -> bool:
    """Whether two rectangles share more than an edge."""
    return one.x < other.right and other.x < one.right and one.y < other.bottom and other.y < one.bottom


def shrunk(rect: Rect) -> Rect:
    return Rect(rect.x + 1, rect.y + 1, rect.width - 2, rect.height - 2)


def problems(drawn: Graph, places: Layout, overlay: Overlay) -> list[str]:
    found = []
    labels = [
        (arrow, label_rect(arrow, route.label, overlay))
        for arrow, route in zip(drawn.arrows, places.routes, strict=True)
        if route.label is not None
    ]
    boxes = list(places.boxes.items())
    picture = Rect(0, 0, places.width, places.height)
    for number, (name, box) in enumerate(boxes):
        found += [f"{name} covers {other}" for other, rect in boxes[number + 1 :] if overlap(box, rect)]
        found += [f"{name} covers the label of {arrow.source}" for arrow, label in labels if overlap(box, label)]
        if not (
            picture.x <= box.x and box.right <= picture.right and picture.y <= box.y and box.bottom <= picture.bottom
        ):
            found.append(f"{name} is outside of the picture")
    for number, (arrow, label) in enumerate(labels):
        found += [
            f"labels {arrow.events} and {other.events}" for other, rect in labels[number + 1 :] if overlap(label, rect)
        ]
    for arrow, route in zip(drawn.arrows, places.routes, strict=True):
        ends = {START: set()}.get(arrow.source, set(drawn.members(arrow.source)))
        for start, end in zip(route.points, route.points[1:], strict=False):
            assert start[0] == end[0] or start[1] == end[1], f"{arrow} is not orthogonal"
            segment = between(start, end)
            for name, box in boxes:
                if overlap(segment, shrunk(box)) and name not in ends | {arrow.target}:
                    found.append(f"{arrow.source} -> {arrow.target} goes through {name}")
            for other, label in labels:
                # A line of one's own passes through one's own label: that is where the label stands.
                if other is not arrow and overlap(segment, shrunk(label)):
                    found.append(f"{arrow.source} -> {arrow.target} goes through the label {other.events}")
    return found


@pytest.mark.parametrize("name", list(OWN))
def test_committed_layouts(name: str) -> None:
    """Each machine of the package has a layout of its own, computed for what it is today, and nothing overlaps in it."""
    places = stored(OWN[name], LAYOUTS)
    assert places is not None, "run `make diagrams`"
    drawn = graph_of(OWN[name])
    for overlay in overlays(OWN[name], drawn):
        assert problems(drawn, places, fitted(drawn, places, overlay)) == []


def test_a_label_hides_no_other() -> None:
    """46 polls between the same two states: how often is told at both outcomes, and neither label cuts the other."""
    machine = OWN["device_login"]
    drawn, places = graph_of(machine), stored(machine, LAYOUTS)
    assert places is not None
    wide = walk_picture.overlay(machine, many_polls(machine, 46), drawn)
    assert problems(drawn, places, wide) != []
    fitting = fitted(drawn, places, wide)
    assert problems(drawn, places, fitting) == []
    for key in (("waiting", "elapsed", "polling"), ("polling", "authorization_pending", "waiting")):
        assert "×" in fitting.marks[key].note
    assert fitted(drawn, places, NO_OVERLAY) == NO_OVERLAY


@pytest.mark.parametrize("name", list(OWN))
def test_column(name: str) -> None:
    """The layout without an engine is as clean, by construction."""
    drawn, places = in_a_column(OWN[name])
    for overlay in overlays(OWN[name], drawn):
        assert problems(drawn, places, fitted(drawn, places, overlay)) == []


EDITS: dict[str, dict[str, object]] = {
    "denied is polled away": {"device_login.states.polling.on.access_denied": "waiting"},
    "blocked is absent": {"token_lifecycle.states.inspecting.on.blocked": "absent"},
    "two swapped": {
        "token_refresh.states.looking_again.on": {"unchanged": "withdrawing", "changed": "exchanging"},
    },
    "more outcomes": {
        "token_refresh.states.staging.on.unwritable": "postponed",
        "token_refresh.states.staging.on.lost": "in_doubt",
        "token_refresh.states.rereading.on.foreign": None,
    },
    "from a frame": {"token_lifecycle.states.usable.on.rejected": "inspecting"},
    "into a frame": {"token_lifecycle.states.falling_back.on.works": "fresh"},
    "new states": {
        "device_login.states.asking": {"about": "A.", "activity": "ask", "on": {"yes": "persisting", "no": "denied"}},
        "device_login.states.thinking": {"about": "T.", "activity": "think", "on": {"done": "asking"}},
        "device_login.states.polling.on.granted": "thinking",
    },
    "a hook": {"sign_out.states.clearing.activity": "clear"},
    "without the lock": {"device_login.states.persisting.holds": None},
}


def edited(changes: dict[str, object]) -> dict[str, Machine]:
    data = OWN.data()
    for path, value in changes.items():
        *way, key = path.split(".")
        table: Any = data
        for part in way:
            table = table[part]
        if value is None:
            del table[key]
        else:
            table[key] = value
    return {name: Machine.from_data(table) for name, table in data.items()}


@pytest.mark.parametrize("changes", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("is_back", [False, True], ids=["there", "back"])
def test_each_change_is_in_the_picture(changes: dict[str, object], is_back: bool) -> None:
    """A new or redirected edge is marked, and nothing else; a removed one is named below; and nothing overlaps."""
    name = next(iter(changes)).partition(".")[0]
    before, after = (edited(changes)[name], OWN[name]) if is_back else (OWN[name], edited(changes)[name])
    graph, places = layout_of(after)
    overlay = difference_picture.overlay(before, after, graph)
    assert problems(graph, places, overlay) == []

    old, new = ({edge[1:] for edge in edges(machine)} for machine in (before, after))
    drawn = {
        (node, event, target): {(source, event, target) for source in graph.members(node)}
        for node, events, target in ((arrow.source, arrow.events, arrow.target) for arrow in graph.arrows)
        for event in events
    }
    assert overlay.marks.keys() == {key for key, edge_set in drawn.items() if edge_set & (new - old)}
    came = after.states.keys() - before.states.keys()
    lost = {source for source, event, _ in old if source in after.states and event not in after.states[source].on}
    assert {state for state, kind in overlay.states.items() if kind == "added"} == came
    assert lost <= {state for state, kind in overlay.states.items() if kind == "changed"}

    (picture,) = pictures(compare({name: before}, {name: after})).values()
    text = "".join(re.findall('xml:space="preserve">([^<]*)<', picture)).replace(" ", "").replace("&gt;", ">")
    for source, event, target in old - new:
        now = after.states[source].on.get(event) if source in after.states else None
        if source not in after.states:
            assert re.search(f"-{name}:state{source}isremoved[^~+-]*{event}→{target}", text)
        elif now:
            assert f"~{name}:{source}--{event}-->{now},before{target}" in text
        else:
            assert f"-{name}:{source}--{event}-->{target}isremoved" in text


def test_a_crowded_machine() -> None:
    """However many outcomes came, each has a row of its own."""
    crowded = {f"x{number}_of_a_long_list_of_outcomes_that_no_picture_has_room_for": "in_doubt" for number in range(90)}
    after = edited({"token_refresh.states.rereading.on": {"gone": "gone"} | crowded})["token_refresh"]
    graph, places = layout_of(after)
    overlay = difference_picture.overlay(OWN["token_refresh"], after, graph)
    assert problems(graph, places, overlay) == []
    assert sum(mark[:2] == ("added", "new") for mark in overlay.marks.values()) == 90


def test_problems_are_seen() -> None:
    """The measure of this file finds a box on a box and a line through one."""
    drawn, places = in_a_column(OWN["sign_out"])
    first = next(iter(places.boxes.values()))
    everywhere = Rect(0, 0, places.width, places.height)
    boxes = {**places.boxes, "revoking": first, "signed_out": Rect(-5, 0, 9, 9), "clearing": everywhere}
    moved = places._replace(boxes=boxes)
    found = problems(drawn, moved, NO_OVERLAY)
    assert "emptying covers revoking" in found
    assert "signed_out is outside of the picture" in found
    assert any("goes through" in line for line in found)


@pytest.mark.parametrize("name", list(OWN))
def test_every_edge_is_drawn(name: str) -> None:
    """Frames and bundles lose nothing: each edge of the machine is in exactly one arrow."""
    machine = OWN[name]
    for framed in (True, False):
        drawn = graph_of(machine, framed=framed)
        shown = [
            Edge(name, source, event, arrow.target)
            for arrow in drawn.arrows
            if arrow.source != START
            for source in drawn.members(arrow.source)
            for event in arrow.events
        ]
        assert sorted(shown) == sorted(edges(machine))


def test_sentences_do_not_move_anything() -> None:
    """A layout belongs to the shape of a machine: another sentence keeps it, another edge does not."""
    data = OWN.data()
    data["sign_out"]["states"]["revoking"]["about"] = "Another sentence."
    assert fingerprint(graph_of(Library.from_data(data)["sign_out"])) == fingerprint(graph_of(OWN["sign_out"]))
    data["sign_out"]["states"]["revoking"]["on"]["failed"] = "signed_out"
    changed = Library.from_data(data)["sign_out"]
    assert fingerprint(graph_of(changed)) != fingerprint(graph_of(OWN["sign_out"]))
    assert stored(changed, LAYOUTS) is None
    assert stored(changed, LAYOUTS / "nowhere") is None


def test_layout_goes_round_as_data() -> None:
    """The kept layouts equal the computed ones, number for number."""
    for machine in OWN.values():
        places = stored(machine)
        assert places is not None
        assert Layout.from_data(places.data()) == places
        assert re.fullmatch(r"[0-9a-f]{64}", fingerprint(graph_of(machine)))


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{}", b'{"graph": 1}', b"[" * 100_000], ids=range(6))
def test_a_layout_that_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    """It counts as none: a checkout may hold anything there."""
    (tmp_path / "sign_out.json").write_bytes(data)
    assert stored(OWN["sign_out"], tmp_path) is None
