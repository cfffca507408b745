"""Parts that the sections of the page are made of: tables, prose, figures. Every text of a machine is escaped here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from kimi_auth.machine.spec import Machine, State

from .escape import attribute as escape

__all__ = [
    "Row",
    "escape",
    "figure",
    "identifier",
    "led",
    "link",
    "mono",
    "number",
    "prose",
    "states_of",
    "table",
    "tag",
    "work",
]

Row = tuple[str, ...]
"""Cells, as HTML."""


def table(
    head: Iterable[str],
    rows: Iterable[Row],
    keys: Iterable[str] | None = None,
    *,
    heading: int = 0,
    ids: Iterable[str] | None = None,
    quiet: Iterable[bool] | None = None,
) -> str:
    """Cells are HTML. The first `heading` cells of a row are its headers. With `keys`, pointing at a row lights up its
    arrow; `ids` are the rows' addresses, "" for none; `quiet` rows repeat the header of the row above."""
    head, rows = tuple(head), list(rows)
    many = len(rows)
    marked = zip(rows, list(keys or [""] * many), list(ids or [""] * many), list(quiet or [False] * many), strict=True)
    lines = []
    for row, key, address, repeats in marked:
        cells = "".join(
            f'<th scope="row"{" class=again" if repeats else ""}>{cell}</th>'
            if at < heading
            else f'<td data-head="{escape(title)}">{cell}</td>'
            if cell
            else "<td></td>"
            for at, (title, cell) in enumerate(zip(head, row, strict=True))
        )
        marks = f' id="{escape(address)}"' * bool(address) + f' data-edge="{escape(key)}"' * bool(key)
        lines.append(f"<tr{marks}>{cells}</tr>\n")
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    return f'<table class="wide"><thead><tr>{titles}</tr></thead>\n<tbody>\n{"".join(lines)}</tbody></table>\n'


def figure(picture: str, label: str) -> str:
    """A picture as a part of the page, which scrolls in its own frame; `label` is spoken."""
    return (
        f'<figure><div class="scroll" tabindex="0" role="group" aria-label="{escape(label)}">{picture}</div></figure>\n'
    )


def link(address: str, content: str = "") -> str:
    """A link in a section to an address of this page; by default the sign that stands in each row, to be copied."""
    return (
        f'<a href="#{escape(address)}">{content}</a>'
        if content
        else f'<a class="here" href="#{escape(address)}" aria-label="link to {escape(address)}">#</a>'
    )


def led(machines: Mapping[str, Machine], address: str, outcome: str) -> str:
    """A link, as a part of the page, to the edge that an outcome takes in the state at `address`: from where to where."""
    name, _, state = address.partition(".")
    target = machines[name].states[state].on[outcome]
    return link(f"{address}.{outcome}", f"{escape(address)} → {escape(target)}")


def prose(text: str) -> str:
    """A sentence of prose as HTML; text in backquotes is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def mono(text: str) -> str:
    """A name."""
    return f"<code>{escape(text)}</code>" if text else ""


def number(value: object) -> str:
    """A count in a table, in groups of three digits."""
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else escape(str(value))


def identifier(text: str) -> str:
    """`text` as a part of the address of a section of the page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def tag(state: State) -> str:
    """The tone of a rest state."""
    tone = escape(state.tone or "")
    return f'<span class="tag {tone}">rest, {tone}</span>' if state.is_rest else ""


def work(state: State) -> str:
    """A cell of the page's tables: a state's activity, the resource that it holds and the machine that it walks."""
    if state.is_rest:
        return ""
    holds = f", holds {mono(state.holds)}" if state.holds else ""
    child = escape(state.walks or "")
    walks = f', walks <a class="mono" href="#{child}">{child}</a>' if child else ""
    return mono(f"{state.activity}") + holds + walks


def states_of(outcomes: set[str], machines: Mapping[str, Machine]) -> list[str]:
    """The states whose activity has all of these outcomes, as a section of the page links to them."""
    return [
        f"{name}.{state}"
        for name, machine in machines.items()
        for state, spec in machine.states.items()
        if spec.activity and outcomes <= set(spec.on)
    ]
