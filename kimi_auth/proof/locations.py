"""Machines flattened for the checker: every location where a walk can be, children included, and every arrow between
locations.

A location is a stack of states, with the state of the innermost child on top. An arrow is one outcome. When it brings a
child to rest, the same arrow also releases the resource and moves the parent on, as the engine does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kimi_auth.machine.spec import ACQUIRED, Edge, Machine, edges

__all__ = ["Arrow", "Location", "Program"]

Stack = tuple[tuple[Machine, str], ...]


class Arrow(NamedTuple):
    """The target of an outcome: the number of a location, the edges that are walked, and the ends of children on the way.
    `text` names these ends and the location."""

    target: int
    edges: tuple[int, ...]
    left: tuple[tuple[str, str], ...]
    text: str


@dataclass(slots=True)
class Location:
    """One location: `machine` and `state` on top of the stack, its `activity` (None at rest), and an arrow per outcome.

    `depth` is 1 for a root machine; each child adds one.
    """

    machine: str
    state: str
    activity: str | None
    depth: int
    arrows: dict[str, Arrow]

    @property
    def is_rest(self) -> bool:
        return self.activity is None

    def __str__(self) -> str:
        return f"{self.machine}.{self.state}"


class Program:
    """The locations of the `roots` among `machines`, and of the machines that they walk. Location 0 stands for "no walk"."""

    def __init__(self, machines: Mapping[str, Machine], roots: Sequence[str]) -> None:
        self.edges: list[Edge] = [edge for name in machines for edge in edges(machines[name])]
        self.locations: list[Location] = [Location("", "", None, 0, {})]
        self._edge_numbers = {edge: number for number, edge in enumerate(self.edges)}
        self._numbers: dict[Stack, int] = {}
        self.initial: dict[str, int] = {
            name: self._location(((machines[name], machines[name].initial),)) for name in roots
        }
        for name in roots:
            for state in machines[name].states:
                self._location(((machines[name], state),))

    def find(self, machine: str, activity: str) -> int:
        """The number of the first location of `machine`, in the flat machines, that runs `activity`; 0 if it has none."""
        for number, location in enumerate(self.locations):
            if location.machine == machine and location.activity == activity:
                return number
        return 0

    def _location(self, stack: Stack) -> int:
        number = self._numbers.get(stack)
        if number is None:
            machine, state = stack[-1]
            spec = machine.states[state]
            number = self._numbers[stack] = len(self.locations)
            location = Location(machine.name, state, spec.activity, len(stack), {})
            self.locations.append(location)
            child = machine.child(state)
            if child is not None:
                location.arrows[ACQUIRED] = self._arrow((*stack, (child, child.initial)), (), ())
            for event in spec.on:
                location.arrows[event] = self._taken(stack, event, (), ())
        return number

    def _taken(self, stack: Stack, event: str, walked: tuple[int, ...], left: tuple[tuple[str, str], ...]) -> Arrow:
        """The arrow of `event` in the state on top of `stack`."""
        machine, state = stack[-1]
        target = machine.states[state].on[event]
        walked += (self._edge_numbers[Edge(machine.name, state, event, target)],)
        return self._arrow((*stack[:-1], (machine, target)), walked, left)

    def _arrow(self, stack: Stack, walked: tuple[int, ...], left: tuple[tuple[str, str], ...]) -> Arrow:
        machine, state = stack[-1]
        if machine.states[state].is_rest and len(stack) > 1:
            return self._taken(stack[:-1], state, walked, (*left, (machine.name, state)))
        text = " -> ".join(f"{name}.{end}" for name, end in (*left, (machine.name, state)))
        return Arrow(self._location(stack), walked, left, text)
