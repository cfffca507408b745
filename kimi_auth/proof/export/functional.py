"""The exported model in a language of expressions: what Quint and TLA+ have in common.

Each relation becomes an operator that returns the moves of a hook, as nested tests over one record that is the state; what
the machines say becomes tables. What a walk is and what the model forgets is written by hand in each language (`walks.qnt`,
`walks.tla`), after `world`, `state` and `numbering`. A field of bits is a set of bits' numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kimi_auth.proof.state import Pair, Process

from .model import Exported, Move, Position, Relation
from .relation import IMPOSSIBLE, Branch, Change, Flag, Leaf, Node, Value, Var

__all__ = ["ME", "WORLD", "Writer", "bits"]

BITS_OF = frozenset({"locks", "login", "marks"})
"""Fields that are sets of bits, except the `login` of a pair, which is a number."""

WORLD = ("record", "held", "forced", "full", "logins_left", "logouts_left", "spoils_left", "faults_left")
ME = tuple(name for name in Process._fields if name != "location")


def bits(number: int) -> tuple[int, ...]:
    """The elements that the expression of a set lists: the numbers of the bits that are set."""
    return tuple(bit for bit in range(number.bit_length()) if number >> bit & 1)


class Writer(ABC):
    """Writes one model. Subclasses say how each thing is spelt."""

    def __init__(self, model: Exported) -> None:
        self.model = model
        self.positions: tuple[Position, ...] = (*model.roots, *model.children)
        self._changes: dict[str, str] = {}

    # --- the spelling -------------------------------------------------------------------------------------------------

    @abstractmethod
    def text(self, value: str) -> str: ...
    @abstractmethod
    def sequence(self, values: Iterable[str]) -> str: ...
    @abstractmethod
    def set_of(self, values: Iterable[str]) -> str: ...
    @abstractmethod
    def table(self, rows: Mapping[str, str]) -> str: ...
    @abstractmethod
    def record(self, fields: Mapping[str, str]) -> str: ...
    @abstractmethod
    def either(self, test: str, then: str, otherwise: str) -> str: ...
    @abstractmethod
    def is_in(self, value: str, values: Sequence[str]) -> str: ...
    @abstractmethod
    def has_bit(self, field: str, bit: int) -> str: ...
    @abstractmethod
    def with_bits(self, field: str, clear: str, put: str) -> str: ...
    @abstractmethod
    def field(self, var: Var) -> str: ...
    @abstractmethod
    def changed(self, updates: Mapping[Var, str]) -> str:
        """The expression of the state with new values of some fields."""

    @abstractmethod
    def define(self, name: str, body: str, kind: str) -> str:
        """The expression of an operator of state and process. `kind`: "moves", "state", or "rules" for a set of broken rules."""

    @abstractmethod
    def constant(self, name: str, body: str, kind: str) -> str: ...

    # --- values -------------------------------------------------------------------------------------------------------

    def value(self, value: Value, *, of_bits: bool = False) -> str:
        if of_bits:
            assert isinstance(value, int)
            return self.set_of(map(str, bits(value)))
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, tuple):
            return self.sequence(map(str, value))
        return str(int(value))

    def value_of(self, var: Var, value: Value) -> str:
        return self.value(value, of_bits=var.name in BITS_OF and var.owner != "pair")

    def pair(self, pair: Pair) -> str:
        return self.record({name: self.value(getattr(pair, name)) for name in pair._fields})

    def beginning(self) -> str:
        """The expression of the state in which a world begins, before anything is forgotten."""
        model, world = self.model, self.model.beginning
        pairs = [*world.pairs, *[model.domains.unused] * (model.domains.pairs + 1 - len(world.pairs))]
        logins = [*world.logins, *[0] * (model.domains.logins + 1 - len(world.logins))]
        hosts = [1 if model.config.shared_lock else number + 1 for number in range(model.config.processes)]
        fields = {name: self.value(getattr(world, name)) for name in WORLD}
        fields["locks"] = self.value(world.locks, of_bits=True)
        fields["pair"] = self.numbered(map(self.pair, pairs))
        fields["login"] = self.numbered(self.value(login, of_bits=True) for login in logins)
        fields["p"] = self.numbered(map(self.process, hosts))
        return self.record(fields)

    def numbered(self, values: Iterable[str]) -> str:
        """Values by number, from 0."""
        return self.sequence(values)

    def process(self, host: int) -> str:
        """A process without a walk."""
        process = Process(host)
        known = {name: self.value(getattr(process, name), of_bits=name == "marks") for name in ME}
        return self.record({"at": self.text(""), "sub": self.text(""), **known})

    # --- relations ----------------------------------------------------------------------------------------------------

    def relations(self) -> Iterator[str]:
        """The operators of every tree."""
        for relation in self.model.relations():
            yield from self._operator(relation)

    def _operator(self, relation: Relation) -> Iterator[str]:
        """The expression of a tree as an operator, after those of the trees that it has more than once."""
        name, node, breaks, holds = relation
        kind = "rules" if breaks else "moves"
        uses = _uses(node)
        written: dict[int, str] = {}
        apart: list[str] = []

        def expression(node: Node) -> str:
            if id(node) in written:
                return written[id(node)]
            body = self._leaf(node.result, breaks, holds=holds) if isinstance(node, Leaf) else branched(node)
            if uses[id(node)] > 1 and kind == "moves":
                part = f"{name}__{len(apart)}"
                apart.append(self.define(part, body, kind))
                body = f"{part}(s, me)"
            written[id(node)] = body
            return body

        def branched(branch: Branch) -> str:
            groups: dict[int, tuple[list[Value], Node]] = {}
            for value, child in branch.children:
                groups.setdefault(id(child), ([], child))[0].append(value)
            *others, (_, last) = sorted(groups.values(), key=lambda group: len(group[0]))
            body = expression(last)
            for values, child in reversed(others):
                body = self.either(self._test(branch.on, values), expression(child), body)
            return body

        known = len(self._changes)
        body = expression(node)
        for change, called in list(self._changes.items())[known:]:
            yield self.define(called, change, "state")
        yield from apart
        yield self.define(name, body, kind)

    def _test(self, on: Var | Flag, values: Sequence[Value]) -> str:
        if isinstance(on, Flag):
            return ("" if values[0] else self.negation) + self.has_bit(self.field(on.var), on.bit)
        return self.is_in(self.field(on), [self.value_of(on, value) for value in values])

    negation = "~"

    def _leaf(self, result: object, breaks: str, *, holds: bool) -> str:
        if breaks:
            rules = [IMPOSSIBLE] if result == IMPOSSIBLE else [breaks] if bool(result) != holds else []
            return self.set_of(map(self.text, rules))
        if result == IMPOSSIBLE:
            return self.sequence([self.move(Move("", Change(), (IMPOSSIBLE,)))])
        moves: tuple[Move, ...] = result  # type: ignore[assignment]
        return self.sequence(map(self.move, moves))

    def move(self, move: Move) -> str:
        changed = self.changed(dict(self._updates(move.change)))
        if changed != "s":  # each change is written once, as an operator: many moves of many hooks make it
            changed = self._changes.setdefault(changed, f"v_{len(self._changes)}") + "(s, me)"
        rules = self.set_of(map(self.text, move.broken))
        return f"Going({self.text(move.outcome or '')}, {changed}, {rules}, {self.text(move.note)})"

    def _updates(self, change: Change) -> Iterator[tuple[Var, str]]:
        for var, source in change.copies:
            yield var, self.field(source)
        for var, value in change.constants:
            if var.name == "location":
                yield var._replace(name="at"), self.text("")
                yield var._replace(name="sub"), self.text("")
            else:
                yield var, self.value_of(var, value)
        for var, clear, put in change.bits:
            cleared, added = (self.set_of(map(str, bits(each & 0x3FFF))) for each in (clear, put))
            yield var, self.with_bits(self.field(var), cleared, added)


def _uses(root: Node) -> dict[int, int]:
    """How often each tree stands in `root`, by identity: the expression names what it uses twice."""
    uses: dict[int, int] = {}
    ahead = [root]
    while ahead:
        node = ahead.pop()
        uses[id(node)] = uses.get(id(node), 0) + 1
        if uses[id(node)] == 1 and isinstance(node, Branch):
            ahead += {id(child): child for _, child in node.children}.values()
    return uses
