"""The states of the machines as positions that a walk of the exported model can be at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kimi_auth.machine import Machine
from kimi_auth.proof.world import ROOTS

__all__ = ["Position", "positions"]


class Position(NamedTuple):
    """A state of a machine as a position of a walk. `child`: the initial state of the machine that it walks; `parents`:
    where a child's rest state leads, by the state that walks it."""

    machine: str
    state: str
    activity: str | None
    child: str
    on: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.machine}_{self.state}"


def positions(machines: Mapping[str, Machine]) -> tuple[tuple[Position, ...], tuple[Position, ...]]:
    """The positions that a simulated process can come to: all of token_lifecycle, and device_login from the storing on."""
    roots: dict[str, Position] = {}
    children: dict[str, Position] = {}
    lifecycle, login = (machines[name] for name in ROOTS)
    storing = [state for state, spec in login.states.items() if spec.activity == "store_credential"]
    ahead = [(lifecycle, state) for state in lifecycle.states] + [(login, state) for state in storing[:1]]
    while ahead:
        machine, state = ahead.pop(0)
        position = _position(machine, state)
        child = machine.child(state)
        if child is not None:
            children.update({found.name: found for found in (_position(child, inner) for inner in child.states)})
        if position.name not in roots:
            roots[position.name] = position
            ahead += [(machine, target) for target in position.on.values()]
    return tuple(roots.values()), tuple(children.values())


def _position(machine: Machine, state: str) -> Position:
    spec = machine.states[state]
    child = machine.child(state)
    inner = f"{child.name}_{child.initial}" if child is not None else ""
    return Position(machine.name, state, spec.activity, inner, dict(spec.on))
