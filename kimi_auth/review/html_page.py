"""The HTML page for a review: every machine with its picture, its tables, the tests that walk it, and the proofs.

The page is one file: no network, no framework, opened from disk, readable without its script, on paper and on a phone. All
its content comes from the machines and the data beside it, so the same folder gives the same bytes. The sections are made
by `html_landing`, `html_machine`, `html_outcomes` and `html_proof`; `html_page.js` shows them, `player.js` plays walks.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from kimi_auth.machine.spec import Machine

from .html_landing import landing_section
from .html_machine import machine_section
from .html_outcomes import outcomes_section
from .html_parts import escape
from .html_proof import answers_section, faults_section, proof_section
from .page_data import PageData
from .player_data import embedded, player_data
from .styles import PAGE, PICTURE, SHAPES, css

__all__ = ["html_page"]

_MARK = "made from machines/ by kimi_auth.review; change those, then run `make diagrams`"

Section = tuple[str, str, Iterable[str]]
"""Its anchor, its title, and its parts as HTML."""


def html_page(
    machines: Mapping[str, Machine],
    page_data: PageData,
    stories: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The HTML page, ending in a newline. `stories`: more of them to play; the page opens with the first."""
    sections = list(_sections(machines, page_data))
    tabs = "".join(f'<a href="#{escape(anchor)}">{escape(title)}</a>' for anchor, title, _ in sections)
    body = "".join(
        f'<section id="{escape(anchor)}" aria-label="{escape(title)}">\n{"".join(parts)}</section>\n'
        for anchor, title, parts in sections
    )
    style = f"\n{_file('html_page.css')}{SHAPES}{css(PAGE)}{css(PICTURE)}"
    script = f"\n{_file('html_page.js')}{_file('player.js')}"
    policy = f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}"
    opened = f"story/{stories[0]['id']}" if stories else ""
    data = embedded(player_data(machines, page_data, stories, opened))
    return (
        f'<!doctype html>\n<!-- {_MARK} -->\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n<title>Machines under review</title>\n'
        '<link rel="icon" href="data:,">\n'
        f"<style>{style}</style>\n</head>\n<body>\n<header><h1>Machines under review</h1>"
        f'<p class="muted">Every state and transition, as data, with the tests that walk it and the proofs.</p></header>\n'
        f'<nav aria-label="Machines"><div>{tabs}</div></nav>\n<main>\n{body}</main>\n'
        f'<script type="application/json" id="page-data">{data}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _sections(machines: Mapping[str, Machine], page_data: PageData) -> Iterator[Section]:
    yield "overview", "Overview", landing_section(machines, page_data)
    for name, machine in machines.items():
        yield name, name, machine_section(machine, machines, page_data)
    yield "outcomes", "Outcomes", outcomes_section(machines, page_data)
    yield "walk", "Walk it", _walk()
    yield "proof", "Proof", proof_section(machines, page_data)
    if page_data.faults:
        yield "faults", "Faults", faults_section(page_data)
    if page_data.answers:
        yield "answers", "Answers", answers_section(machines, page_data)


def _walk() -> Iterator[str]:
    yield (
        "<h2>Walk it</h2>\n<p>Choose an outcome, and the walk goes on; the disk is that of the model checker's world. Keys: 1 to 9 "
        "choose, U takes the last step back, and in a story the arrows left and right turn its pages. The address of the page "
        'names the walk: copy it to share it.</p>\n<div id="player"><p class="muted">Walking needs the script of this '
        "page.</p></div>\n"
    )


def _source(text: str) -> str:
    """The source expression that lets exactly this text run (Content Security Policy Level 3, hash-source)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
