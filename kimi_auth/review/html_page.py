"""The HTML page for a review: every machine with its picture, its tables, the tests that walk it, and the proofs.

The page is one file: no network, no framework, opened from disk, readable without its script, on paper and on a phone. All
its content comes from the machines and the data beside it, so the same folder gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources

from kimi_auth.machine.spec import Edge, Machine, State, digest

from .coverage import coverage, only_checked
from .escape import attribute as escape
from .layout import layout_of
from .page_data import HOOK_COLUMNS, PageData
from .styles import PAGE, PICTURE, SHAPES, css
from .svg import drawing

__all__ = ["html_page"]

_MARK = "made from machines/ by kimi_auth.review; change those, then run `make diagrams`"


def html_page(machines: Mapping[str, Machine], page_data: PageData) -> str:
    """The page as HTML, ending in a newline."""
    sections = [
        ("overview", "Overview", _overview(machines, page_data)),
        *((name, name, _machine(machine, machines, page_data)) for name, machine in machines.items()),
        ("proof", "Proof", _proof(machines, page_data)),
        *([("faults", "Faults", _faults(page_data))] if page_data.faults else []),
        *([("answers", "Answers", _answers(page_data))] if page_data.answers else []),
    ]
    tabs = "".join(f'<a href="#{escape(anchor)}">{escape(title)}</a>' for anchor, title, _ in sections)
    body = "".join(
        f'<section id="{escape(anchor)}" aria-label="{escape(title)}">\n{"".join(parts)}</section>\n'
        for anchor, title, parts in sections
    )
    style = _file("html_page.css") + SHAPES + css(PAGE) + css(PICTURE)
    return (
        f'<!doctype html>\n<!-- {_MARK} -->\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n<title>Machines under review</title>\n'
        '<link rel="icon" href="data:,">\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n<header><h1>Machines under review</h1>"
        f'<p class="muted">Every state and transition, as data, with the tests that walk it and the proofs.</p></header>\n'
        f'<nav aria-label="Machines"><div>{tabs}</div></nav>\n<main>\n{body}</main>\n'
        f"<script>\n{_file('html_page.js')}</script>\n</body>\n</html>\n"
    )


def _overview(machines: Mapping[str, Machine], page_data: PageData) -> Iterator[str]:
    yield "<h2>Overview</h2>\n"
    rows = []
    for name, machine in machines.items():
        tests = page_data.tests(machine)
        walked = "not measured" if tests is None else f"{sum(map(bool, tests.values()))} of {_edge_count(machine)}"
        working = len(machine.states) - len(machine.rest)
        rows.append(
            (
                f'<a class="mono" href="#{escape(name)}">{escape(name)}</a>',
                _prose(machine.about),
                str(working),
                str(len(machine.rest)),
                str(_edge_count(machine)),
                walked,
            )
        )
    yield _table(("machine", "about", "working states", "rest states", "edges", "walked by tests"), rows)
    yield (
        "<h3>How to read the pictures</h3><p>A box is a state; under its name is the activity that runs in it. An arrow is "
        "an outcome of that activity. A double border is a rest state: a walk ends there, and arrows that leave it are "
        "events from outside. The strong line is the walk on which everything goes well. Amber marks states in which a resource "
        "is held. Point at a row of a table, and its arrow lights up; click an arrow to come to its row.</p>\n"
        f'<p class="muted">Digest of these machines: <code>{digest(machines)[:16]}</code></p>\n'
    )


def _machine(machine: Machine, machines: Mapping[str, Machine], page_data: PageData) -> Iterator[str]:
    tests, checked = page_data.tests(machine), only_checked(page_data, machines)
    graph, layout = layout_of(machine)
    yield f'<h2 class="mono">{escape(machine.name)}</h2>\n<p>{_prose(machine.about)}</p>\n'
    if machine.holds:
        yield f"<p>Every state of this machine runs while {_mono(machine.holds)} is held.</p>\n"
    yield _figure(drawing(machine, graph, layout, link="#{}".format, titled=False))
    yield "<h3>Transitions</h3>\n" + _transitions(machine, tests, checked)
    if hooks := page_data.hook_rows(machine):
        yield "<h3>Hooks</h3>\n" + _hooks(hooks)
    yield "<h3>Tests that walk it</h3>\n"
    if tests is None:
        yield '<p class="muted">Not measured on this machine. Run <code>make test</code>, then <code>make diagrams</code>.</p>\n'
        return
    over = coverage(machine, graph, tests, checked)
    yield _figure(drawing(machine, graph, layout, over, link="#{}".format, titled=False))


def _transitions(machine: Machine, tests: Mapping[Edge, Mapping[str, int]] | None, checked: Mapping[Edge, int]) -> str:
    rows, keys = [], []
    for name, state in machine.states.items():
        targets = list(state.on.items()) or [("", "")]
        for number, (event, target) in enumerate(targets):
            first = (f'<span class="mono">{escape(name)}</span> {_tag(state)}', _work(state), _prose(state.about))
            edge = Edge(machine.name, name, event, target)
            walks = _walks(edge, tests, checked) if event else ""
            rows.append((*(first if number == 0 else ("", "", "")), _mono(event), _mono(target), walks))
            keys.append(f"{name}.{event}" if event else name)
    return _table(("state", "activity", "about", "outcome", "leads to", "walked"), rows, keys)


def _walks(edge: Edge, tests: Mapping[Edge, Mapping[str, int]] | None, checked: Mapping[Edge, int]) -> str:
    if tests is None:
        return '<span class="muted">not measured</span>'
    found = tests[edge]
    if not found:
        reached = f"by the checker, N={checked[edge]}" if edge in checked else "never"
        return f'<span class="{"checker" if edge in checked else "unwalked"}">{reached}</span>'
    lines = "".join(f"<li><code>{escape(test)}</code> ×{count}</li>" for test, count in found.items())
    many = f"{len(found)} test{'s' if len(found) > 1 else ''}"
    return f'<details><summary><span class="walked">×{sum(found.values())}</span> {many}</summary><ul>{lines}</ul></details>'


def _hooks(hooks: list[tuple[str, ...]]) -> str:
    rows = [
        (_mono(activity), _mono(method.replace(".", ".\u200b")), *map(escape, others))
        for activity, method, *others in hooks
    ]
    return _table(("activity", *HOOK_COLUMNS), rows)


def _proof(machines: Mapping[str, Machine], page_data: PageData) -> Iterator[str]:
    yield "<h2>Proof</h2>\n<h3>Model checker</h3>\n"
    checked = page_data.checked(machines)
    if checked is None:
        yield '<p class="muted">Not measured on these machines. Run <code>make verify</code>, then <code>make diagrams</code>.</p>\n'
    else:
        yield f"<p>{escape(checked.get('about', ''))}</p>\n"
        columns = ("world", "processes", "policy", "states", "edges", "depth", "longest_walk")
        runs = [tuple(_number(run.get(column, "")) for column in columns) for run in checked["runs"]]
        yield _table(("world", "N", "server", "states", "moves", "depth", "longest walk"), runs)
        yield "<h3>Invariants</h3>\n" + _table(
            ("invariant", "rule"),
            [(_mono(rule["name"]), escape(rule["about"])) for rule in checked.get("invariants", ())],
        )
        yield (
            "<h3>Ablations</h3><p>Each takes one precaution away; the checker must find the broken invariant.</p>\n"
            + _table(
                ("without", "breaks", "in steps"),
                [
                    (escape(gone["about"]), _mono(gone["rule"]), _number(gone["steps"]))
                    for gone in checked.get("ablations", ())
                ],
            )
        )
    yield "<h3>Edge mutation</h3>\n"
    mutated = page_data.mutated(machines)
    if mutated is None:
        yield '<p class="muted">Not measured on these machines. Run <code>make verify</code>, then <code>make diagrams</code>.</p>\n'
        return
    figures = (("edits of an edge", mutated["mutants"]), ("caught", mutated["killed"]))
    blocks = "".join(f'<div><span class="big">{_number(count)}</span>{title}</div>' for title, count in figures)
    yield f'<div class="figures">{blocks}</div>\n'
    caught = [(escape(by), _number(count)) for by, count in mutated.get("by", {}).items()]
    yield _table(("caught by", "edits"), caught) if caught else ""
    if not mutated["survivors"]:
        return
    yield _table(
        ("edit that nothing catches", "why it may survive"),
        [(escape(one["mutant"]), escape(one["argument"])) for one in mutated["survivors"]],
    )


def _faults(page_data: PageData) -> Iterator[str]:
    yield "<h2>Faults</h2>\n<p>The effect of each fault: where it happens, how the walk ends, and the messages that the user reads.</p>\n"
    rows = [
        (escape(one["at"]), escape(one["fault"]), _mono(one["ends"]), "<br>".join(map(escape, one.get("shown", ()))))
        for one in page_data.faults.get("faults", ())
    ]
    yield _table(("at", "fault", "ends in", "messages"), rows)


def _answers(page_data: PageData) -> Iterator[str]:
    yield "<h2>Answers</h2>\n<p>The outcome of each answer of a server. Rows are tried from the top; the first that fits decides.</p>\n"
    for title, table in page_data.answers.items():
        outcome = table["columns"].index("outcome") if "outcome" in table["columns"] else -1
        rows = [
            (str(number), *(_mono(cell) if at == outcome else escape(cell) for at, cell in enumerate(row)))
            for number, row in enumerate(table["rows"], 1)
        ]
        yield f"<h3>{escape(title)}</h3>\n" + _table(("#", *table["columns"]), rows)


def _figure(picture: str) -> str:
    return f'<figure><div class="scroll" tabindex="0" role="group" aria-label="picture">{picture}</div></figure>\n'


def _prose(text: str) -> str:
    """A sentence as HTML; text in backquotes is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _table(head: Iterable[str], rows: Iterable[tuple[str, ...]], keys: Iterable[str] | None = None) -> str:
    """Cells are HTML. With `keys`, pointing at a row lights up its arrow."""
    head, rows = tuple(head), list(rows)
    attributes = [f' data-edge="{escape(key)}" tabindex="0"' for key in keys] if keys else [""] * len(rows)
    lines = []
    for row, attribute in zip(rows, attributes, strict=True):
        cells = "".join(
            f'<td data-head="{escape(title)}">{cell}</td>' if cell else "<td></td>"
            for title, cell in zip(head, row, strict=True)
        )
        lines.append(f"<tr{attribute}>{cells}</tr>\n")
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    return f'<table class="wide"><thead><tr>{titles}</tr></thead>\n<tbody>\n{"".join(lines)}</tbody></table>\n'


def _tag(state: State) -> str:
    tone = escape(state.tone or "")
    return f'<span class="tag {tone}">rest, {tone}</span>' if state.is_rest else ""


def _work(state: State) -> str:
    if state.is_rest:
        return ""
    holds = f", holds {_mono(state.holds)}" if state.holds else ""
    child = escape(state.walks or "")
    walks = f', walks <a class="mono" href="#{child}">{child}</a>' if child else ""
    return _mono(f"{state.activity}") + holds + walks


def _mono(text: str) -> str:
    return f"<code>{escape(text)}</code>" if text else ""


def _number(value: object) -> str:
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else escape(str(value))


def _edge_count(machine: Machine) -> int:
    return sum(len(state.on) for state in machine.states.values())


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
