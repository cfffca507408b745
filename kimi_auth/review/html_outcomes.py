"""The page's index of outcomes: where each leads, and which tests walk it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kimi_auth.machine.spec import Edge, Machine, edges

from .html_machine import address_of
from .html_parts import Row, escape, identifier, link, mono, table
from .page_data import PageData

__all__ = ["outcomes_section"]


def outcomes_section(machines: Mapping[str, Machine], page_data: PageData) -> Iterator[str]:
    """The section as HTML: a row for each edge, by the name of its outcome."""
    yield (
        "<h2>Outcomes</h2>\n<p>Each outcome by its name: the states that declare it, where it leads from there, and the tests "
        "that walk this edge. Both are links.</p>\n"
    )
    found: dict[str, list[tuple[Edge, str]]] = {}
    for machine in machines.values():
        tests = page_data.tests(machine)
        for edge in edges(machine):
            walked = "not measured" if tests is None else _tests(edge, tests[edge])
            found.setdefault(edge.event, []).append((edge, walked))
    rows: list[Row] = []
    ids: list[str] = []
    quiet: list[bool] = []
    for outcome, those in sorted(found.items()):
        for count, (edge, walked) in enumerate(those):
            name = f"outcome-{identifier(outcome)}"
            head = mono(outcome) if count else f"{mono(outcome)} {link(name)}"
            led = link(address_of(edge), f"{escape(edge.machine)}.{escape(edge.source)} → {escape(edge.target)}")
            rows.append((head, led, walked))
            ids.append("" if count else name)
            quiet.append(count > 0)
    yield table(("outcome", "edge", "walked by"), rows, heading=1, ids=ids, quiet=quiet)


def _tests(edge: Edge, walked: Mapping[str, int]) -> str:
    if not walked:
        return "no test"
    many = f"{len(walked)} test{'s' if len(walked) > 1 else ''}"
    return link(f"{address_of(edge)}.tests", many)
