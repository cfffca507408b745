"""Machines as Mermaid state diagrams, which GitHub and most editors draw inside a page."""

from __future__ import annotations

from kimi_auth.machine.spec import Machine

from .graph import bundles, state_lines

__all__ = ["mermaid"]

_COLOURS = {
    "good": "fill:#d3f2dc,stroke:#1a7f37,color:#0b3d1c",
    "plain": "fill:#eaeef2,stroke:#57606a,color:#24292f",
    "bad": "fill:#ffd8d3,stroke:#cf222e,color:#5c0d12",
}
_KEYWORDS = frozenset(
    {"accdescr", "acctitle", "class", "classdef", "click", "default", "end", "href", "note", "scale", "state", "style"}
)
"""Names that Mermaid's grammar does not accept as the id of a state (tried against Mermaid 11)."""


def mermaid(machine: Machine) -> str:
    """The machine as a Mermaid `stateDiagram-v2`, ending in a newline. Same machine, same text."""
    lines = ["stateDiagram-v2"]
    lines += [
        f'    state "{"<br/>".join(state_lines(name, state))}" as {_id(name)}' for name, state in machine.states.items()
    ]
    lines += [f"    [*] --> {_id(machine.initial)}"]
    for name, state in machine.states.items():
        lines += [f"    {_id(name)} --> {_id(to)} : {'<br/>'.join(events)}" for to, events in bundles(state).items()]
        lines += [f"    {_id(name)} --> [*]"] if state.is_rest else []
    if machine.holds is not None:
        lines += [f"    note right of {_id(machine.initial)} : every state holds {machine.holds}"]
    for tone, colours in _COLOURS.items():
        toned = [_id(name) for name, state in machine.states.items() if state.tone == tone]
        lines += [f"    classDef {tone} {colours}", f"    class {','.join(toned)} {tone}"] if toned else []
    return "\n".join(lines) + "\n"


def _id(state: str) -> str:
    return f"{state}_" if state in _KEYWORDS else state
