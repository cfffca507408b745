"""A machine as a small picture: its boxes and lines where the whole picture has them, and the names on the good way."""

from __future__ import annotations

from kimi_auth.machine.spec import Machine

from .escape import attribute
from .escape import text as escape
from .graph import START
from .layout import layout_of
from .svg import line

__all__ = ["sketch"]


def sketch(machine: Machine) -> str:
    """The small picture as an SVG element. It has no label but a name for each state on the way on which everything goes well."""
    graph, layout = layout_of(machine)
    happy = {arrow.target for arrow in graph.arrows if arrow.happy}
    size, spoken = f"0 0 {layout.width} {layout.height}", attribute(f"small picture of {machine.name}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="m sketch" viewBox="{size}" role="img" aria-label="{spoken}">'
    ]
    for arrow, route in zip(graph.arrows, layout.routes, strict=True):
        (x, y) = route.points[0]
        dot = f'<circle class="dot" cx="{x}" cy="{y - 9}" r="9"/>' if arrow.source == START else ""
        parts.append(f'<g class="edge{" happy" if arrow.happy else " pale"}">{dot}{line(route.points)}</g>')
    for name, rect in layout.boxes.items():
        state = machine.states[name]
        kinds = " ".join(filter(None, ("state", state.tone or "", "held" if state.holds else "")))
        box = f'<rect class="box" x="{rect.x}" y="{rect.y}" width="{rect.width}" height="{rect.height}" rx="9"/>'
        text = f'<text class="big-name" x="{rect.x + rect.width / 2:g}" y="{rect.y + rect.height / 2 + 8:g}" text-anchor="middle">'
        named = f"{text}{escape(name)}</text>" if name in happy or name == machine.initial else ""
        parts.append(f'<g class="{attribute(kinds)}"><title>{escape(name)}</title>{box}{named}</g>')
    return "".join([*parts, "</svg>"])
