"""Machines as SVG: text stays text, light and dark by the reader's choice, no script, same machine same bytes.

`svg` writes a file of its own; `drawing` the element for a page that brings the style.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path
from textwrap import wrap

from kimi_auth.machine.lint import NAME
from kimi_auth.machine.spec import Machine, State

from .escape import attribute
from .escape import text as escape
from .geometry import Layout, Point, Rect, Route
from .graph import LINE_LEADING, LINE_PX, NAME_LEADING, START, Arrow, Box, Graph, text_width
from .layout import layout_of
from .overlay import NO_OVERLAY, Mark, Overlay, Text
from .styles import PICTURE, SHAPES, css

__all__ = ["MARK", "drawing", "fitted", "label_rect", "line", "svg"]

_STYLE = SHAPES + css(PICTURE) + "@media print{.m{width:100%;height:100%}}"
"""A file of its own fits the page that it is printed on; a wide one asks for a wide page."""
_LANDSCAPE = "@page{size:A4 landscape}"
MARK = "<!-- Drawn from machines/ by kimi_auth.review. Change the machine, then run `make diagrams`. -->\n"
"""The first line of every file: a file that begins with it may be overwritten and removed."""

_MARGIN = 24
_HEAD = 40
_FOOTER_LEADING = 17
_FOOTER_LETTERS_MIN = 90
"""Below the narrowest picture, too, most lines of a walk or a difference fit without a break."""
_CORNER = 7


def svg(
    machine: Machine,
    over: Callable[[Graph], Overlay] | None = None,
    *,
    folder: Path | Traversable | None = None,
    link: Callable[[str], str] = "{}.svg".format,
) -> str:
    """The machine as an SVG file, ending in a newline. `over` makes the overlay for its graph.

    `folder`: layouts, see `layout_of`. `link`: the address of a machine that is walked, by its name.
    """
    graph, layout = layout_of(machine, folder)
    return MARK + drawing(machine, graph, layout, over(graph) if over else NO_OVERLAY, link=link, style=_STYLE) + "\n"


def drawing(
    machine: Machine,
    graph: Graph,
    layout: Layout,
    overlay: Overlay = NO_OVERLAY,
    *,
    link: Callable[[str], str] = "{}.svg".format,
    style: str = "",
    titled: bool = True,
) -> str:
    """The `<svg>` element of a machine whose layout is known; `titled`: its name is above the picture."""
    overlay = fitted(graph, layout, overlay)
    held = machine.holds and f"every state runs while {machine.holds} is held"
    subtitles = [line for line in (overlay.caption, held) if line]
    head = _HEAD if titled else 12
    top = head + 16 * len(subtitles) + (18 if overlay.legend else 0)
    letters = max(map(len, [*subtitles, machine.name + "     "]))
    width = max(layout.width, text_width(letters, LINE_PX) + 2 * _MARGIN, _legend_width(overlay))
    footer = list(_wrapped(overlay.footer, (width - 2 * _MARGIN) // text_width(1, LINE_PX)))
    width = max([width, *(text_width(len(line), LINE_PX) + 2 * _MARGIN for _, line in footer)])
    height = layout.height + top + (_FOOTER_LEADING * len(footer) + _MARGIN if footer else 0)
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
    for number, line in enumerate(subtitles):
        tone = "lock" if line is held else "quiet"
        parts.append(f'<text class="{tone}" x="{_MARGIN}" y="{head + 8 + 16 * number}">{escape(line)}</text>')
    parts += _legend(overlay, top - 8)
    within = ' class="within"' if machine.holds else ""
    parts.append(f'<g{within} transform="translate({(width - layout.width) // 2},{top})">')
    if machine.holds:
        parts.append(
            f'<rect class="region" x="8" y="2" width="{layout.width - 16}" height="{layout.height - 10}" rx="14"/>'
        )
    parts += [_frame(rect) for rect in layout.frames.values()]
    parts += [_edge(graph, arrow, route, overlay) for arrow, route in zip(graph.arrows, layout.routes, strict=True)]
    parts += [
        _state(name, state, graph.boxes[name], layout.boxes[name], overlay, link)
        for name, state in machine.states.items()
    ]
    parts += ["</g>", *_footer(footer, top + layout.height)]
    return "\n".join(part for part in [*parts, "</svg>"] if part)


def _sentence(machine: Machine, overlay: Overlay) -> str:
    """The description for a reader who cannot see the picture."""
    ends = ", ".join(f"{name} ({machine.states[name].tone})" for name in machine.rest)
    caption = f" {overlay.caption}." if overlay.caption else ""
    return f"{' '.join(machine.about.split())}{caption} A walk begins in {machine.initial} and can end in {ends}."


def _legend(overlay: Overlay, y: int) -> Iterator[str]:
    x = _MARGIN
    for kind, meaning in overlay.legend:
        line = f'<path d="M{x} {y - 4}h22"/>'
        label = f'<text class="line {kind}" x="{x + 28}" y="{y}">{escape(meaning)}</text>'
        yield f'<g class="edge {kind}">{line}{label}</g>'
        x += 28 + text_width(len(meaning), LINE_PX) + 22


def _wrapped(lines: tuple[Text, ...], letters: int) -> Iterator[Text]:
    letters = max(_FOOTER_LETTERS_MIN, letters)
    for kind, line in lines:
        for part in wrap(line, letters, subsequent_indent="      ", drop_whitespace=False, break_on_hyphens=False):
            yield kind, part


def _footer(lines: list[Text], y: int) -> Iterator[str]:
    for number, (kind, line) in enumerate(lines, 1):
        spaced = f'x="{_MARGIN}" y="{y + _FOOTER_LEADING * number}" xml:space="preserve"'
        yield f'<text class="{" ".join(filter(None, ("line", kind)))}" {spaced}>{escape(line)}</text>'


def _legend_width(overlay: Overlay) -> int:
    return 2 * _MARGIN + sum(50 + text_width(len(meaning), LINE_PX) for _, meaning in overlay.legend)


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


def label_rect(arrow: Arrow, room: Rect, overlay: Overlay = NO_OVERLAY) -> Rect:
    """The label of an arrow in SVG: in the middle of its room, as wide as its outcomes and notes are."""
    width = text_width(max(len(f"{event} {note}".strip()) for event, _, note in _noted(arrow, overlay)), LINE_PX) + 8
    return Rect(room.x + (room.width - width) // 2, room.y, width, room.height)


def fitted(graph: Graph, layout: Layout, overlay: Overlay) -> Overlay:
    """Fits the labels into the SVG: the overlay with the longest notes that cover no box, no line of another arrow, no other
    label. In SVG a label hides everything behind it, so a note that is too long would cut another one."""
    chosen = {key: mark.at(len(mark.shorter)) for key, mark in overlay.marks.items()}
    labels = {
        number: label_rect(arrow, route.label, replace(overlay, marks=chosen))
        for number, (arrow, route) in enumerate(zip(graph.arrows, layout.routes, strict=True))
        if route.label is not None
    }
    for number in labels:
        arrow, route = graph.arrows[number], layout.routes[number]
        assert route.label is not None
        keys = [key for event in arrow.events if (key := (arrow.source, event, arrow.target)) in chosen]
        taken = [rect for other, rect in labels.items() if other != number]
        taken += layout.boxes.values()
        taken += [line for other, way in enumerate(layout.routes) if other != number for line in way.lines]
        for level in range(max((len(overlay.marks[key].shorter) for key in keys), default=0)):
            trial = chosen | {key: overlay.marks[key].at(level) for key in keys}
            rect = label_rect(arrow, route.label, replace(overlay, marks=trial))
            if rect.x >= 0 and rect.right <= layout.width and not any(map(rect.covers, taken)):
                chosen, labels[number] = trial, rect
                break
    return replace(overlay, marks=chosen)


def _noted(arrow: Arrow, overlay: Overlay) -> list[tuple[str, str, str]]:
    """Each outcome with the kind and the note of its mark."""
    marked = [(event, overlay.marks.get((arrow.source, event, arrow.target), _NO_MARK)) for event in arrow.events]
    return [(event, mark.kind, mark.note) for event, mark in marked]


def _edge(graph: Graph, arrow: Arrow, route: Route, overlay: Overlay) -> str:
    if arrow.source == START:
        (x, y) = route.points[0]
        return f'<g class="edge happy"><circle class="dot" cx="{x}" cy="{y - 7}" r="7"/>{line(route.points)}</g>'
    noted = _noted(arrow, overlay)
    # One line can carry several outcomes. It takes the gravest colour; each outcome keeps its own beside its name.
    kinds = {mark for _, mark, _ in noted}
    kind = next((kind for kind in _GRAVEST if kind in kinds), "")
    is_happy, is_pale = arrow.happy and not overlay.marks, overlay.fades and kinds == {""}
    classes = ["edge", "happy" if is_happy else "", kind, "pale" if is_pale else ""]
    sources = graph.members(arrow.source)
    keys = " ".join(f"{source}.{event}" for source in sources for event in arrow.events)
    title = "\n".join(f"{', '.join(sources)} · {event} → {arrow.target} {note}".strip() for event, _, note in noted)
    return (
        f'<g class="{" ".join(filter(None, classes))}" data-edges="{attribute(keys)}"><title>{escape(title)}</title>'
        f"{line(route.points)}{_label(noted, label_rect(arrow, route.label, overlay)) if route.label else ''}</g>"
    )


def _label(noted: list[tuple[str, str, str]], rect: Rect) -> str:
    lines = f'<rect class="paper" x="{rect.x}" y="{rect.y}" width="{rect.width}" height="{rect.height}"/>'
    for number, (event, kind, note) in enumerate(noted):
        noted_as = f' <tspan class="note {kind}">{escape(note)}</tspan>' if note else ""
        lines += f'<text x="{rect.x + 4}" y="{rect.y + 13 + LINE_LEADING * number}">{escape(event)}{noted_as}</text>'
    return lines


_NO_MARK = Mark("")
_GRAVEST = ("unwalked", "changed", "added", "traced", "checker", "walked")


def line(points: tuple[Point, ...]) -> str:
    """A line in SVG through the points with round corners, and its tip."""
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
