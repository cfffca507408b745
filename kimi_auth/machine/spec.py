"""A machine as data: what one `machines/*.toml` file says, frozen.

A file holds *names* and sentences: no guard, no expression, no timer, no code. `on` and `states` keep the order of the
file, because the first outcome of a state is by convention the happy one. What `shaped` lets through has the right shape;
whether it makes sense is asked by `lint`, and only `Library` hands out machines that passed.

A shape is texts and tables of texts, so it is checked here: every command that looks at a credential loads its machines,
and the package that checks the other files of users would cost it more than all the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from .errors import MachineError

ACQUIRED = "acquired"
"""What the hook of a walking state answers when it got its resource: the child is walked, no edge is taken."""

_V = TypeVar("_V")


def _frozen(mapping: Mapping[str, _V]) -> Mapping[str, _V]:
    return MappingProxyType(dict(mapping))


class State(NamedTuple):
    """One state: `activity` is the hook that runs in it, `on` maps each of its outcomes to the next state.

    Every key has a default, so that what a file leaves out is reported by a lint, together with everything else.
    """

    about: str = ""
    activity: str | None = None
    holds: str | None = None
    walks: str | None = None
    tone: str | None = None
    on: Mapping[str, str] = _frozen({})

    @property
    def is_rest(self) -> bool:
        """Whether a walk ends here. The events of a rest state come from outside."""
        return self.activity is None


class Machine(NamedTuple):
    """One machine, safe to share between threads.

    Machines are compared by identity, so that what the engine builds for one is never taken for another;
    two machines say the same when their digests are equal. `children`: those that its states walk; no key of a file.
    """

    name: str = ""
    about: str = ""
    initial: str = ""
    holds: str | None = None
    states: Mapping[str, State] = _frozen({})
    children: Mapping[str, Any] = _frozen({})

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:  # a tuple has one of its own
        return self is not other

    def __hash__(self) -> int:
        return id(self)

    @classmethod
    def from_data(cls, data: object) -> Machine:
        """The machine that `data`, in the form of its file, describes. Raises ValueError for another shape."""
        machine, misshapen = shaped(data)
        if misshapen:
            raise ValueError(f"no machine: {'.'.join(misshapen[0].path)} is {misshapen[0].kind}")
        return machine

    @property
    def rest(self) -> tuple[str, ...]:
        """The names of the rest states, in file order: every answer that a walk can have."""
        return tuple(name for name, state in self.states.items() if state.is_rest)

    def child(self, state: str) -> Machine | None:
        """The machine that `state` walks while it holds its resource, or None."""
        walks = self.states[state].walks
        if walks is None:
            return None
        if walks not in self.children:
            raise MachineError(f"{self.name}: {state!r} walks {walks!r}, which is not linked; load both in a Library")
        child: Machine = self.children[walks]
        return child

    def linked(self, machines: Mapping[str, Machine]) -> Machine:
        """This machine, with those of `machines` that its states walk as its children. For `Library`."""
        names = {state.walks for state in self.states.values() if state.walks is not None}
        return self._replace(children=_frozen({name: machines[name] for name in sorted(names)}))

    def data(self) -> dict[str, Any]:
        """The machine as plain, fresh dicts in the form of its file, without the keys that were left out."""
        top = {"name": self.name, "about": self.about, "initial": self.initial, "holds": self.holds}
        return {key: value for key, value in top.items() if value is not None} | {
            "states": {name: _state_data(state) for name, state in self.states.items()}
        }


class Edge(NamedTuple):
    """One declared transition. An event that leaves a rest state comes from outside and counts like any other."""

    machine: str
    source: str
    event: str
    target: str

    def __str__(self) -> str:
        return f"{self.machine}: {self.source} --{self.event}--> {self.target}"


def edges(machine: Machine) -> list[Edge]:
    """All edges of the spec of `machine`, in file order."""
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
    import hashlib  # a walk needs no digest
    import json

    data = subject.data() if isinstance(subject, Machine) else {name: subject[name].data() for name in sorted(subject)}
    return hashlib.sha256(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def _state_data(state: State) -> dict[str, Any]:
    keys = {name: getattr(state, name) for name in keys_of(State) if name != "on"}
    said = {key: value for key, value in keys.items() if value is not None}
    return said | ({"on": dict(state.on)} if state.on else {})


def keys_of(table: type[State | Machine]) -> tuple[str, ...]:
    """The keys that a table of the spec may have, in our order."""
    return tuple(name for name in table._fields if name != "children")


class Misshapen(NamedTuple):
    """A part that does not have the shape of a machine: where in the file, and `unknown` (a key), `no text` or `no
    table`."""

    path: tuple[str, ...]
    kind: str


def shaped(data: object) -> tuple[Machine, list[Misshapen]]:
    """The frozen machine that one file's `data` specifies, and the parts that were left out to get one. Nothing is converted."""
    misshapen: list[Misshapen] = []
    top = dict(_shaped(Machine, data, (), misshapen))
    tables = top.get("states", {})
    top["states"] = _frozen(
        {
            name: State(**dict(_shaped(State, table, ("states", name), misshapen)))
            for name, table in tables.items()
            if _is_table(table, ("states", name), misshapen)
        }
    )
    # Known keys come before unknown ones, each in the order of the file.
    return Machine(**top), sorted(misshapen, key=lambda one: one.kind == "unknown" and len(one.path) == 1)


def _shaped(
    table: type[State | Machine], data: object, path: tuple[str, ...], misshapen: list[Misshapen]
) -> Iterator[tuple[str, Any]]:
    """The keys of one table of a machine's file that have their shape."""
    if not _is_table(data, path, misshapen):
        return
    assert isinstance(data, Mapping)
    known = keys_of(table)
    for key in (key for key in known if key in data):
        value, where = data[key], (*path, key)
        if key == "states":
            if _is_table(value, where, misshapen):
                yield key, value
        elif key == "on":
            if _is_table(value, where, misshapen):
                yield (
                    key,
                    _frozen({event: to for event, to in value.items() if _is_text(to, (*where, event), misshapen)}),
                )
        elif (value is None and key in _OPTIONAL) or _is_text(value, where, misshapen):
            yield key, value
    misshapen += [Misshapen((*path, str(key)), "unknown") for key in data if key not in known]


_OPTIONAL = frozenset({"activity", "holds", "walks", "tone"})


def _is_text(value: object, path: tuple[str, ...], misshapen: list[Misshapen]) -> bool:
    return _is(str, value, Misshapen(path, "no text"), misshapen)


def _is_table(value: object, path: tuple[str, ...], misshapen: list[Misshapen]) -> bool:
    return _is(Mapping, value, Misshapen(path, "no table"), misshapen)


def _is(kind: type, value: object, otherwise: Misshapen, misshapen: list[Misshapen]) -> bool:
    fits = isinstance(value, kind)
    if not fits:
        misshapen.append(otherwise)
    return fits
