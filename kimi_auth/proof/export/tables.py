"""What the machines say of each position, in a language of expressions: tables, and the operators that choose a relation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kimi_auth.proof.effects import BEYOND_THE_LOCK, HOLDS, UNSAVED
from kimi_auth.proof.state import ABSENT, CLOSED, CORRUPT, EMPTY, FOREIGN, GONE, NO_CLAIM, NOTHING, STALE

from .functional import Writer, bits
from .model import Move, Position
from .relation import Change, Leaf

__all__ = ["Choice", "Tables"]

CODES = {
    "EMPTY": EMPTY,
    "ABSENT": ABSENT,
    "CORRUPT": CORRUPT,
    "NOTHING": NOTHING,
    "STALE": STALE,
    "FOREIGN": FOREIGN,
    "UNCLAIMED": NO_CLAIM,
    "GONE": GONE,
    "CLOSED": CLOSED,
}


class Choice(NamedTuple):
    """An operator of state, process and the texts `parameters`, that chooses one of `rows` by the text `on`."""

    name: str
    on: str
    rows: Mapping[str, str]
    otherwise: str
    kind: str = "moves"
    parameters: tuple[str, ...] = ("position",)


class Tables(Writer):
    """A writer that knows the tables, too."""

    def constants(self) -> Iterator[str]:
        """The world, and what the machines say of each position."""
        model, config = self.model, self.model.config
        numbers = {**CODES, "N": config.processes, "PAIRS": model.domains.pairs, "LOGINS": model.domains.logins}
        for name, number in {**numbers, "UNSAVED": bits(UNSAVED)[0], "HOLDS": bits(HOLDS)[0]}.items():
            yield self.constant(name, str(number), "int")
        truths = {
            "LOCK_WORKS": config.lock == "works",
            "EXCLUDES": config.excludes,
            "DIES": not config.waiters,
            "ORPHANS": config.orphans,
            "ROTATES": config.policy != "none",
            "ENDS_ON_REUSE": config.policy in ("strict", "grace"),
        }
        for name, truth in truths.items():
            yield self.constant(name, self.truth(truth), "bool")
        yield self.constant("BEYOND_THE_LOCK", self.value(BEYOND_THE_LOCK, of_bits=True), "Set[int]")
        yield self.constant("UNUSED_PAIR", self.pair(model.domains.unused), "Pair")
        yield self.constant("BEGINNING", self.beginning(), "State")
        yield self.constant("STORING", self.text(model.storing), "str")
        yield from self._of_positions()

    def truth(self, truth: object) -> str:
        return str(bool(truth)).lower()

    def _of_positions(self) -> Iterator[str]:
        model, positions = self.model, self.positions
        text = self.text
        resting = [position for position in positions if not position.activity]
        roots = [position for position in model.roots if position.machine == "token_lifecycle"]
        sets: Mapping[str, Iterable[Position]] = {
            "RESTS": resting,
            "ROOT_RESTS": [position for position in roots if not position.activity],
            "GUARDED": [position for position in positions if position.activity in model.guarded],
            "AT_ONCE": [position for position in positions if position.activity in model.at_once],
            "TAKING": [position for position in positions if position.activity in model.taken_at_once],
            "WAITS": [position for position in positions if position.activity in model.waiting],
        }
        for name, found in sets.items():
            yield self.constant(name, self.set_of(text(position.name) for position in found), "Set[str]")
        tables: Mapping[str, Mapping[str, str]] = {
            "ACTIVITY": {position.name: position.activity or "" for position in positions},
            "FIRST": {position.name: position.child for position in positions},
            "REST": {position.name: position.state for position in positions},
        }
        for name, rows in tables.items():
            told = self.table({key: text(value) for key, value in rows.items()})
            yield self.constant(name, told, "str -> str")
        edges = {
            position.name: self.table({out: text(f"{position.machine}_{to}") for out, to in position.on.items()})
            for position in positions
        }
        yield self.constant("EDGES", self.table(edges), "str -> (str -> str)")
        inspecting = next(position for position in model.roots if position.activity == "inspect")
        yield self.constant("INSPECTING", text(inspecting.name), "str")

    def dispatch(self) -> Iterator[str]:
        """The operators that choose a relation: by activity, by rest state, by event."""
        model = self.model
        nothing = self.sequence([])
        crash = self.sequence([self.move(Move("", Change(), ("crash",)))])
        activity = self.at("ACTIVITY", "position")
        named = [name for name in model.hooks if any(p.activity == name for p in self.positions)]
        yield self.choice(Choice("Performed", activity, {name: f"h_{name}(s, me)" for name in named}, crash))
        cancels = {name: f"c_{name}(s, me)" for name, node in model.cancelled.items() if node != Leaf(())}
        yield self.choice(Choice("Cancelled", activity, cancels, nothing))
        resting = [position for position in self.positions if not position.activity]
        told = {p.name: f"p_{p.name}(s, me)" for p in resting if (p.machine, p.state) in model.lies}
        yield self.choice(Choice("Lies", "position", told, self.set_of([]), "rules"))
        duties: dict[str, list[str]] = {}
        for number, (state, _) in enumerate(model.owed):
            duties.setdefault(f"token_lifecycle_{state}", []).append(f"d_{number}(s, me)")
        owed = {key: self.union(rows) for key, rows in duties.items()}
        yield self.choice(Choice("Owed", "position", owed, self.set_of([]), "rules"))
        rows: dict[str, dict[str, str]] = {}
        for state, event in model.begun:
            rows.setdefault(f"token_lifecycle_{state}", {})[event] = f"b_{state}_{event}(s, me)"
        for key, events in rows.items():
            yield self.choice(Choice(f"Begun_{key}", "event", events, nothing, parameters=("event",)))
        calls = {key: f"Begun_{key}(s, me, event)" for key in rows}
        yield self.choice(Choice("Begun", "position", calls, nothing, parameters=("position", "event")))
        yield self.constant("EVENTS", self.set_of(map(self.text, sorted({e for _, e in model.begun}))), "Set[str]")

    @abstractmethod
    def at(self, table: str, key: str) -> str: ...
    @abstractmethod
    def union(self, sets: Sequence[str]) -> str: ...
    @abstractmethod
    def choice(self, one: Choice) -> str:
        """The operator as text."""
