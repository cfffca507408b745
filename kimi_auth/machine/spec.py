"""A machine as data: what one `machines/*.toml` file says, frozen.

A file holds *names* and sentences: no guard, no expression, no timer, no code. `on` and `states` keep the order of the
file, because the first outcome of a state is by convention the happy one. What these models accept has the right shape;
whether it makes sense is asked by `lint`, and only `Library` hands out machines that passed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr

from .errors import MachineError

ACQUIRED = "acquired"
"""What the hook of a walking state answers when it got its resource: the child is walked, no edge is taken."""

_V = TypeVar("_V")


def _frozen(mapping: Mapping[str, _V]) -> Mapping[str, _V]:
    return MappingProxyType(dict(mapping))


class _Table(BaseModel):
    """A TOML table: unknown keys are refused, nothing is converted, nothing changes later.

    Every key has a default, so that what a file leaves out is reported by a lint, together with everything else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class State(_Table):
    """One state: `activity` is the hook that runs in it, `on` maps each of its outcomes to the next state."""

    about: str = ""
    activity: str | None = None
    holds: str | None = None
    walks: str | None = None
    tone: str | None = None
    on: Annotated[Mapping[str, str], AfterValidator(_frozen)] = Field(default_factory=lambda: _frozen({}))

    @property
    def is_rest(self) -> bool:
        """Whether a walk ends here. The events of a rest state come from outside."""
        return self.activity is None


class Machine(_Table):
    """One machine, safe to share between threads.

    Machines are compared by identity, so that what the engine builds for one is never taken for another;
    two machines say the same when their digests are equal.
    """

    name: str = ""
    about: str = ""
    initial: str = ""
    holds: str | None = None
    states: Annotated[Mapping[str, State], AfterValidator(_frozen)] = Field(default_factory=lambda: _frozen({}))
    _children: Mapping[str, Machine] = PrivateAttr(default_factory=lambda: _frozen({}))

    @property
    def rest(self) -> tuple[str, ...]:
        """The names of the rest states, in file order: every answer that a walk can have."""
        return tuple(name for name, state in self.states.items() if state.is_rest)

    def child(self, state: str) -> Machine | None:
        """The machine that `state` walks while it holds its resource, or None."""
        walks = self.states[state].walks
        if walks is None:
            return None
        if walks not in self._children:
            raise MachineError(f"{self.name}: {state!r} walks {walks!r}, which is not linked; load both in a Library")
        return self._children[walks]

    def linked(self, machines: Mapping[str, Machine]) -> Machine:
        """This machine, with those of `machines` that its states walk as its children. For `Library`."""
        names = {state.walks for state in self.states.values() if state.walks is not None}
        copy = self.model_copy()
        copy._children = _frozen({name: machines[name] for name in sorted(names)})  # noqa: SLF001 - a fresh copy of ourselves
        return copy

    def data(self) -> dict[str, Any]:
        """The machine as plain, fresh dicts in the form of its file, without the keys that were left out."""
        top = {"name": self.name, "about": self.about, "initial": self.initial, "holds": self.holds}
        return {key: value for key, value in top.items() if value is not None} | {
            "states": {name: _state_data(state) for name, state in self.states.items()}
        }

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class Edge(NamedTuple):
    """One declared transition. An event that leaves a rest state comes from outside and counts like any other."""

    machine: str
    source: str
    event: str
    target: str

    def __str__(self) -> str:
        return f"{self.machine}: {self.source} --{self.event}--> {self.target}"


def edges(machine: Machine) -> list[Edge]:
    """All edges of `machine`, in file order."""
    return [
        Edge(machine.name, name, event, target)
        for name, state in machine.states.items()
        for event, target in state.on.items()
    ]


def digest(subject: Machine | Mapping[str, Machine]) -> str:
    """SHA-256, in hex, of what a machine or a whole library says.

    Comments, white space and the order of the keys of a table do not count; the order of states and of outcomes does,
    for it has a meaning. The machines that a machine walks are not part of its own digest.
    """
    data = subject.data() if isinstance(subject, Machine) else {name: subject[name].data() for name in sorted(subject)}
    return hashlib.sha256(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def _state_data(state: State) -> dict[str, Any]:
    keys = {name: getattr(state, name) for name in State.model_fields if name != "on"}
    said = {key: value for key, value in keys.items() if value is not None}
    return said | ({"on": dict(state.on)} if state.on else {})
