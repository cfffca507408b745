"""Which edges the tests walk: the counts of a test run, made small enough to keep, and drawn over the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from kimi_auth.machine.spec import Edge, Machine, digest

from .graph import Graph
from .overlay import Mark, Overlay, marks
from .page_data import PageData

__all__ = ["condense", "coverage", "only_checked"]

LEGEND = (
    ("walked", "walked by tests, how often"),
    ("checker", "reached by the model checker only"),
    ("unwalked", "never walked"),
)


def condense(machines: Mapping[str, Machine], report: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a test run's report to keep, by machine: its digest, and by `state.outcome` the walks of each test.

    The parameters of a test are left out, so that its rows count together. Raises ValueError if the report is of other
    machines.
    """
    if report["machines"] != digest(machines):
        raise ValueError("the report is of other machines; run the tests again")
    counts: dict[str, dict[str, Counter[str]]] = {name: {} for name in machines}
    for edge in report["edges"]:
        tests = counts[edge["machine"]].setdefault(f"{edge['source']}.{edge['event']}", Counter())
        for test, times in edge["tests"].items():
            if test:  # a walk outside of tests shows nothing
                tests[test.partition("[")[0]] += times
    return {
        name: {
            "digest": digest(machines[name]),
            "edges": {key: dict(sorted(tests.items())) for key, tests in by.items()},
        }
        for name, by in counts.items()
    }


def only_checked(page_data: PageData, machines: Mapping[str, Machine]) -> dict[Edge, int]:
    """The edges that the checker reached, as coverage without tests, each with the fewest processes that it takes."""
    found: dict[Edge, int] = {}
    checked = page_data.checked(machines)
    by_name = {
        str(edge): edge
        for machine in machines.values()
        for name, state in machine.states.items()
        for event, target in state.on.items()
        for edge in [Edge(machine.name, name, event, target)]
    }
    for run in sorted(checked["runs"] if checked else (), key=lambda run: run["processes"]):
        for name in run.get("walked", ()):
            if name in by_name:
                found.setdefault(by_name[name], run["processes"])
    return found


def coverage(
    machine: Machine, graph: Graph, tests: Mapping[Edge, Mapping[str, int]], checked: Mapping[Edge, int]
) -> Overlay:
    """The counts of a test run over a machine: how often tests walked each outcome, else whether the checker reached it.
    A frame has its worst mark."""

    def mark_of(sources: tuple[str, ...], event: str, target: str) -> Mark:
        counts = {
            edge: sum(tests.get(edge, {}).values())
            for edge in (Edge(machine.name, source, event, target) for source in sources)
        }
        unwalked = [edge for edge, count in counts.items() if not count]
        if any(edge not in checked for edge in unwalked):
            return Mark("unwalked", "never")
        if unwalked:
            return Mark("checker", f"N={max(checked[edge] for edge in unwalked)}")
        return Mark("walked", f"×{sum(counts.values())}")

    found = marks(graph, mark_of)
    kinds = {mark.kind for mark in found.values()}
    legend = tuple(line for line in LEGEND if line[0] in kinds)
    return Overlay("which edges the tests walk", found, legend=legend)
