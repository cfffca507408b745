"""Who walks each edge: what the recorder of a test run counted, made small enough to keep, and drawn over the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from kimi_auth.machine.spec import Edge, Machine, digest

from .material import Material
from .overlay import Mark, Overlay, marks
from .sketch import Sketch

__all__ = ["coverage", "kept", "only_checked"]

LEGEND = (
    ("walked", "walked by tests, how often"),
    ("checker", "reached by the model checker only"),
    ("unwalked", "walked by nobody"),
)


def kept(machines: Mapping[str, Machine], report: Mapping[str, Any]) -> dict[str, Any]:
    """What stays of a test run's report, by machine: its digest, and by `state.outcome` the walks of each test function.

    The parameters of a test are left out, so that its rows count together. Raises ValueError where the report is of
    other machines.
    """
    if report["machines"] != digest(machines):
        raise ValueError("the report is of other machines; run the tests again")
    counts: dict[str, dict[str, Counter[str]]] = {name: {} for name in machines}
    for edge in report["edges"]:
        tests = counts[edge["machine"]].setdefault(f"{edge['source']}.{edge['event']}", Counter())
        for test, times in edge["tests"].items():
            tests[test.partition("[")[0] or "outside of tests"] += times
    return {
        name: {
            "digest": digest(machines[name]),
            "edges": {key: dict(sorted(tests.items())) for key, tests in by.items()},
        }
        for name, by in counts.items()
    }


def only_checked(material: Material, machines: Mapping[str, Machine]) -> dict[Edge, int]:
    """The edges that the checker reached, each with the fewest processes that it takes."""
    found: dict[Edge, int] = {}
    checked = material.checked(machines)
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
    machine: Machine, drawn: Sketch, tests: Mapping[Edge, Mapping[str, int]], checked: Mapping[Edge, int]
) -> Overlay:
    """The overlay: each outcome with how often tests walked it, or with who else reached it."""

    def judge(sources: tuple[str, ...], event: str, target: str) -> Mark:
        judged = [one(Edge(machine.name, source, event, target)) for source in sources]
        grave = [mark for mark in judged if mark.kind != "walked"]
        return grave[0] if grave else Mark("walked", f"×{sum(int(mark.note[1:]) for mark in judged)}")

    def one(edge: Edge) -> Mark:
        if walks := sum(tests.get(edge, {}).values()):
            return Mark("walked", f"×{walks}")
        return Mark("checker", f"N={checked[edge]}") if edge in checked else Mark("unwalked", "nobody")

    found = marks(drawn, judge)
    kinds = {mark.kind for mark in found.values()}
    legend = tuple(line for line in LEGEND if line[0] in kinds)
    return Overlay("which edges the tests walk", found, legend=legend)
