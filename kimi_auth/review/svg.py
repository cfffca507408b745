"""Machines as SVG: text stays text, light and dark by the reader's choice, no script, same machine same bytes.

`svg` writes a file that stands by itself; `drawing` the same for the inside of a page that brings the style.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

from kimi_auth.machine.lint import NAME
from kimi_auth.machine.spec import Machine, State

from .geometry import Layout, Point, Rect, Route
from .layout import layout
from .markup import attribute
from .markup import text as escape
from .overlay import NOTHING, Mark, Overlay
from .palette import PICTURE, SHAPES, css
from .sketch import LINE_LEADING, LINE_PX, NAME_LEADING, START, Arrow, Box, Sketch, text_width

__all__ = ["MARK", "STYLE", "drawing", "label_place", "svg"]

STYLE = SHAPES + css(PICTURE) + "@media print{.m{width:100%;height:100%}}"
"""A file on its own fits the page that it is printed on; a wide one asks for a wide page."""
_LANDSCAPE = "@page{size:A4 landscape}"
MARK = "<!-- Drawn from machines/ by kimi_auth.machine. Change the machine, then run `make diagrams`. -->\n"
"""Stands first in every file: what carries it may be overwritten and removed."""

_MARGIN = 24
_HEAD = 40
_STORY_LEADING = 17
_CORNER = 7


def svg(
    machine: Machine,
    over: Callable[[Sketch], Overlay] | None = None,
    *,
    folder: Path | Traversable | None = None,
    link: Callable[[str], str] = "{}.svg".format,
) -> str:
    """The machine as a file, ending in a newline. `over` makes an overlay for what is drawn.

    `folder`: layouts, see `layout.layout`. `link`: where a machine that is walked can be read, by its name.
    """
    drawn, places = layout(machine, folder)
    return MARK + drawing(machine, drawn, places, over(drawn) if over else NOTHING, link=link, style=STYLE) + "\n"


def drawing(
    machine: Machine,
    drawn: Sketch,
    places: Layout,
    overlay: Overlay = NOTHING,
    *,
    link: Callable[[str], str] = "{}.svg".format,
    style: str = "",
    titled: bool = True,
) -> str:
    """The `<svg>` element of a machine whose geometry is known; `titled`: its name stands above the picture."""
    said = [
        line for line in (overlay.caption, machine.holds and f"every state runs while {machine.holds} is held") if line
    ]
    head = _HEAD if titled else 12
    top = head + 16 * len(said) + (18 if overlay.legend else 0)
    letters = max(len(line) for line in [*said, *overlay.story, machine.name + "     "])
    width = max(places.width, text_width(letters, LINE_PX) + 2 * _MARGIN, _legend_width(overlay))
    height = places.height + top + (_STORY_LEADING * len(overlay.story) + _MARGIN if overlay.story else 0)
    uid = attribute(f"{machine.name}-{overlay.caption.partition(' ')[0] or 'plain'}".lower())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="m" viewBox="0 0 {width} {height}"',
        f'width="{width}" height="{height}" role="img" aria-labelledby="{uid}-title {uid}-desc">',
        f'<title id="{uid}-title">{escape(machine.name)}</title>',
        f'<desc id="{uid}-desc">{escape(_sentence(machine, overlay))}</desc>',
        f"<style>{style}{_LANDSCAPE if width > height else ''}</style>" if style else "",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        f'<text class="title" x="{_MARGIN}" y="{_HEAD - 10}">{escape(machine.name)}</text>' if titled else "",
    ]
    for number, line in enumerate(said):
        tone = "lock" if number == len(said) - 1 and machine.holds else "quiet"
        parts.append(f'<text class="{tone}" x="{_MARGIN}" y="{head + 8 + 16 * number}">{escape(line)}</text>')
    parts += _legend(overlay, top - 8)
    within = ' class="within"' if machine.holds else ""
    parts.append(f'<g{within} transform="translate({(width - places.width) // 2},{top})">')
    if machine.holds:
        parts.append(
            f'<rect class="region" x="8" y="2" width="{places.width - 16}" height="{places.height - 10}" rx="14"/>'
        )
    parts += [_frame(rect) for rect in places.frames.values()]
    parts += [_edge(drawn, arrow, route, overlay) for arrow, route in zip(drawn.arrows, places.routes, strict=True)]
    parts += [
        _state(name, state, drawn.boxes[name], places.boxes[name], overlay, link)
        for name, state in machine.states.items()
    ]
    parts += ["</g>", *_story(overlay, top + places.height)]
    return "\n".join(part for part in [*parts, "</svg>"] if part)


def _sentence(machine: Machine, overlay: Overlay) -> str:
    """What a reader who cannot see the picture is told."""
    ends = ", ".join(f"{name} ({machine.states[name].tone})" for name in machine.rest)
    caption = f" {overlay.caption}." if overlay.caption else ""
    return f"{' '.join(machine.about.split())}{caption} A walk begins in {machine.initial} and can end in {ends}."


def _legend(overlay: Overlay, y: int) -> Iterator[str]:
    x = _MARGIN
    for kind, words in overlay.legend:
        line = f'<path d="M{x} {y - 4}h22"/>'
        yield f'<g class="edge {kind}">{line}<text class="says {kind}" x="{x + 28}" y="{y}">{escape(words)}</text></g>'
        x += 28 + text_width(len(words), LINE_PX) + 22


def _story(overlay: Overlay, y: int) -> Iterator[str]:
    for number, line in enumerate(overlay.story, 1):
        spaced = f'class="story" x="{_MARGIN}" y="{y + _STORY_LEADING * number}" xml:space="preserve"'
        yield f"<text {spaced}>{escape(line)}</text>"


def _legend_width(overlay: Overlay) -> int:
    return 2 * _MARGIN + sum(50 + text_width(len(words), LINE_PX) for _, words in overlay.legend)


def _frame(rect: Rect) -> str:
    return (
        f'<rect class="frame" x="{rect.x}" y="{rect.y}" width="{rect.width}" height="{rect.height}" rx="12"/>'
        f'<text class="quiet small" x="{rect.x + 14}" y="{rect.bottom - 7}">from each of these</text>'
    )


def _state(name: str, state: State, box: Box, rect: Rect, overlay: Overlay, link: Callable[[str], str]) -> str:
    classes = ["state", state.tone or "", "held" if state.holds else "", overlay.states.get(name, "")]
    middle = rect.x + rect.width / 2
    lines_height = NAME_LEADING + LINE_LEADING * (len(box.lines) - 1)
    y = rect.y + (rect.height - lines_height) // 2 + NAME_LEADING - 5
    parts = [
        f'<g class="{attribute(" ".join(filter(None, classes)))}" data-state="{attribute(name)}">',
        f"<title>{escape(f'{name}: ' + ' '.join(state.about.split()))}</title>",
        f'<rect class="box" x="{rect.x}" y="{rect.y}" width="{rect.width}" height="{rect.height}" rx="9"/>',
    ]
    if state.is_rest:
        ring = f'x="{rect.x + 3}" y="{rect.y + 3}" width="{rect.width - 6}" height="{rect.height - 6}" rx="6.5"'
        parts.append(f'<rect class="ring" {ring}/>')
    for number, line in enumerate(box.lines):
        tone = "name" if number == 0 else "lock" if line == f"holds {state.holds}" else "quiet"
        text = f'<text class="{tone}" x="{middle:g}" y="{y}" text-anchor="middle">{escape(line)}</text>'
        # No other name makes a link: `javascript:` is a scheme, and `..` another folder.
        walked = NAME.fullmatch(state.walks or "") and number > 0 and line == f"walks {state.walks}"
        parts.append(f'<a href="{attribute(link(state.walks or ""))}">{text}</a>' if walked else text)
        y += LINE_LEADING
    return "".join([*parts, "</g>"])


def label_place(arrow: Arrow, room: Rect, overlay: Overlay = NOTHING) -> Rect:
    """Where the label of an arrow stands: in the middle of its room, as wide as its words and notes are."""
    width = text_width(max(len(f"{event} {note}".strip()) for event, _, note in _noted(arrow, overlay)), LINE_PX) + 8
    return Rect(room.x + (room.width - width) // 2, room.y, width, room.height)


def _noted(arrow: Arrow, overlay: Overlay) -> list[tuple[str, str, str]]:
    """Each outcome with the kind and the note that the overlay has for it."""
    marked = [(event, overlay.marks.get((arrow.source, event, arrow.target), _NO_MARK)) for event in arrow.events]
    return [(event, mark.kind, mark.note) for event, mark in marked]


def _edge(drawn: Sketch, arrow: Arrow, route: Route, overlay: Overlay) -> str:
    if arrow.source == START:
        (x, y) = route.points[0]
        return f'<g class="edge happy"><circle class="dot" cx="{x}" cy="{y - 7}" r="7"/>{_line(route.points)}</g>'
    noted = _noted(arrow, overlay)
    # The gravest mark colours the line; each outcome keeps its own beside its name.
    kinds = {mark for _, mark, _ in noted}
    kind = next((kind for kind in _GRAVEST if kind in kinds and (kind not in _OF_ALL or kinds == {kind})), "")
    is_happy, is_pale = arrow.happy and not overlay.marks, overlay.fades and kinds == {""}
    classes = ["edge", "happy" if is_happy else "", kind, "pale" if is_pale else ""]
    sources = drawn.members(arrow.source)
    keys = " ".join(f"{source}.{event}" for source in sources for event in arrow.events)
    title = "\n".join(f"{', '.join(sources)} · {event} → {arrow.target} {note}".strip() for event, _, note in noted)
    return (
        f'<g class="{" ".join(filter(None, classes))}" data-edges="{attribute(keys)}"><title>{escape(title)}</title>'
        f"{_line(route.points)}{_label(noted, label_place(arrow, route.label, overlay)) if route.label else ''}</g>"
    )


def _label(noted: list[tuple[str, str, str]], place: Rect) -> str:
    lines = f'<rect class="paper" x="{place.x}" y="{place.y}" width="{place.width}" height="{place.height}"/>'
    for number, (event, kind, note) in enumerate(noted):
        word = f'<tspan class="gone">{escape(event)}</tspan>' if kind == "removed" else escape(event)
        said = f' <tspan class="note {kind}">{escape(note)}</tspan>' if note else ""
        lines += f'<text x="{place.x + 4}" y="{place.y + 13 + LINE_LEADING * number}">{word}{said}</text>'
    return lines


_NO_MARK = Mark("")
_GRAVEST = ("unwalked", "added", "changed", "removed", "traced", "checker", "walked")
_OF_ALL = ("added", "removed")
"""A line is new or gone only with everything on it."""


def _line(points: tuple[Point, ...]) -> str:
    """A line through the points with round corners, and its tip."""
    points = tuple(point for number, point in enumerate(points) if number == 0 or point != points[number - 1])
    path = f"M{points[0][0]} {points[0][1]}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        radius = min(_CORNER, _length(before, corner) / 2, _length(corner, after) / 2)
        (x1, y1), (x2, y2) = _towards(corner, before, radius), _towards(corner, after, radius)
        path += f"L{x1:g} {y1:g}Q{corner[0]} {corner[1]} {x2:g} {y2:g}"
    end = points[-1]
    x, y = _towards(end, points[-2], 3)
    dx, dy = _towards((0, 0), (points[-2][0] - end[0], points[-2][1] - end[1]), 1)
    wings = ((end[0] + 8 * dx + side * dy, end[1] + 8 * dy + side * dx) for side in (4, -4))
    tip = " ".join(f"{x:g},{y:g}" for x, y in (end, *wings))
    return f'<path d="{path}L{x:g} {y:g}"/><polygon class="tip" points="{tip}"/>'


def _length(one: Point, two: Point) -> int:
    return abs(one[0] - two[0]) + abs(one[1] - two[1])


def _towards(start: Point, end: Point, distance: float) -> tuple[float, float]:
    """The point at `distance` from `start` on the horizontal or vertical way to `end`."""
    whole = _length(start, end) or 1
    return start[0] + (end[0] - start[0]) * distance / whole, start[1] + (end[1] - start[1]) * distance / whole
