"""A machine as a graph for Graphviz, its children as clusters."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kimi_auth.machine import ACQUIRED, Machine

__all__ = ["dot"]

COLOURS = {"good": "#2e7d32", "plain": "#546e7a", "bad": "#c62828"}


def dot(machine: Machine) -> str:
    """The whole machine for Graphviz, as one directed graph."""
    lines = [
        f"digraph {machine.name} {{",
        '  graph [rankdir=TB, fontname="sans-serif", labelloc=t, ' + f"label={_quoted(machine.about)}];",
        '  node [shape=box, style=rounded, fontname="sans-serif"];',
        '  edge [fontname="sans-serif", fontsize=10];',
        '  start [shape=point, label=""];',
        f"  start -> {_id(machine, machine.initial)};",
        *_states(machine, "  "),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _states(machine: Machine, indent: str) -> Iterator[str]:
    for name, state in machine.states.items():
        looks = f", peripheries=2, color={_quoted(COLOURS[state.tone])}" if state.tone else ""
        text = f"{name}\n{state.activity}" if state.activity else name
        yield f"{indent}{_id(machine, name)} [label={_quoted(text)}, tooltip={_quoted(state.about)}{looks}];"
        for event, target in state.on.items():
            yield f"{indent}{_id(machine, name)} -> {_id(machine, target)} [label={_quoted(event)}];"
        child = machine.child(name)
        if child is not None:
            yield f"{indent}subgraph cluster_{child.name} {{"
            yield f"{indent}  label={_quoted(child.name)};"
            yield from _states(child, indent + "  ")
            yield f"{indent}}}"
            yield f"{indent}{_id(machine, name)} -> {_id(child, child.initial)} [label={ACQUIRED}, style=dashed];"


def _id(machine: Machine, state: str) -> str:
    return f"{machine.name}__{state}"


def _quoted(text: str) -> str:
    """In quotes as Graphviz reads them; a line break centres its line."""
    return json.dumps(text, ensure_ascii=False)
