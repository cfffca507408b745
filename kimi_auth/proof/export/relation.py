"""What a simulated hook does, as a relation: a decision tree over the fields that the hook reads, with its effects as leaves.

A hook is a pure Python function of a world and a process. `relation` runs it on fields without a value. The first field
that the hook looks at becomes a branch, with one run for each value that the field can have, and so on until the hook
returns. The tree is exact: no field outside the tree was read. A field that a hook only passes on stays a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from kimi_auth.proof.state import Pair, Process, Shared

__all__ = ["IMPOSSIBLE", "Branch", "Change", "Domains", "Flag", "Leaf", "Node", "Value", "Var", "changes", "relation"]

Value = int | str | tuple[int, ...]


class Var(NamedTuple):
    """A field of the state. `owner`: "world", "pair", "login" or "me" (the process that moves); `number`: of the
    pair or login, else 0."""

    owner: str
    number: int
    name: str


class Flag(NamedTuple):
    """One bit of a field of bits."""

    var: Var
    bit: int


class Leaf(NamedTuple):
    """What the function returned."""

    result: Any


class Branch(NamedTuple):
    """A field that was read, and a tree for each of its values."""

    on: Var | Flag
    children: tuple[tuple[Value, Node], ...]


Node = Leaf | Branch

IMPOSSIBLE = "impossible"
"""The result where a function asks for a pair that does not exist. The exported model asserts that it never does."""


class _Unread(BaseException):
    """The function reads a field that has no value yet. No hook may catch it."""

    def __init__(self, on: Var | Flag) -> None:
        super().__init__()
        self.on = on


class _Values:
    """The values of the run in progress."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: Mapping[Var | Flag, Value] = {}

    def read(self, on: Var | Flag) -> Value:
        if on not in self.values:
            raise _Unread(on)
        return self.values[on]


class Symbolic:
    """A field without a value: it is read as soon as anything but copying happens to it."""

    __slots__ = ("_run", "var")

    def __init__(self, run: _Values, var: Var) -> None:
        self._run = run
        self.var: Var = var

    @property
    def value(self) -> Any:
        return self._run.read(self.var)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __index__(self) -> int:
        return int(self.value)

    def __hash__(self) -> int:
        return hash(self.value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)

    def __getitem__(self, key: int) -> Any:
        return self.value[key]


def _reads(name: str) -> Callable[..., Any]:
    def operate(self: Symbolic, other: object) -> Any:
        mine, theirs = resolve(self), resolve(other)
        return getattr(mine, name)(theirs)

    return operate


_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "contains")
_ARITHMETIC = ("add", "radd", "sub", "rsub", "lshift", "rlshift", "rshift")
for _name in (*_COMPARISONS, *_ARITHMETIC):
    setattr(Symbolic, f"__{_name}__", _reads(f"__{_name}__"))


class Bits:
    """A field of bits after some were cleared and set; a bit is read only when something depends on it."""

    __slots__ = ("_run", "clear", "put", "var", "width")

    def __init__(self, run: _Values, var: Var, width: int, clear: int = 0, put: int = 0) -> None:
        self._run = run
        self.var: Var = var
        self.width: int = width
        self.clear: int = clear
        self.put: int = put

    def __and__(self, mask: object) -> Bits:
        kept = int(resolve(mask))
        return Bits(self._run, self.var, self.width, self.clear | ~kept & (1 << self.width) - 1, self.put & kept)

    def __or__(self, mask: object) -> Bits:
        put = int(resolve(mask))
        return Bits(self._run, self.var, self.width, self.clear & ~put, self.put | put)

    __rand__ = __and__
    __ror__ = __or__

    def __bool__(self) -> bool:
        if self.put:
            return True
        left = (bit for bit in range(self.width) if not self.clear >> bit & 1)
        return any(self._run.read(Flag(self.var, bit)) for bit in left)

    def __eq__(self, other: object) -> bool:
        raise TypeError("bits are tested one by one")

    __hash__ = None  # type: ignore[assignment]


class _Pairs(tuple[Pair, ...]):
    """Pairs by number. A negative number names no pair, where a plain tuple counts from its end."""

    __slots__ = ()

    def __getitem__(self, number: Any) -> Any:
        if not isinstance(number, slice) and int(number) < 0:
            raise IndexError(number)
        return super().__getitem__(number)


def resolve(value: object) -> Any:
    """The value itself, as a relation takes it; a field without a value is read."""
    return value.value if isinstance(value, Symbolic) else value


class Change(NamedTuple):
    """Fields after a function: constants, fields copied from others, and bits cleared and set."""

    constants: tuple[tuple[Var, Value], ...] = ()
    copies: tuple[tuple[Var, Var], ...] = ()
    bits: tuple[tuple[Var, int, int], ...] = ()


class Domains(NamedTuple):
    """The values of each field in one world. `pairs`, `logins`: how many can exist between two moves; the next number
    is that of one that a move makes. `bits`: the width of each field of bits."""

    pairs: int
    logins: int
    values: Mapping[tuple[str, str], tuple[Value, ...]]
    bits: Mapping[tuple[str, str], int]
    unused: Pair

    def fields(self, owner: str) -> tuple[str, ...]:
        """The fields of `owner` (a world, a pair or a process) that a relation may read: those of this kind of store."""
        return tuple(name for of, name in self.values if of == owner)


def relation(domains: Domains, function: Callable[[Shared, Process], Any]) -> Node:
    """The tree of `function`, which gets a world and a process and returns a hashable value. `Shared` and `Process` in
    what it returns must have gone through `changes`."""
    leaves: dict[Any, Leaf] = {}
    branches: dict[Any, Branch] = {}
    run = _Values()
    world = _symbolic(domains, run)

    def build(values: dict[Var | Flag, Value]) -> Node:
        run.values = values
        found = _outcome(function, *world)
        if isinstance(found, Leaf):
            return leaves.setdefault(found.result, found)
        on = found.on
        children = tuple((value, build({**values, on: value})) for value in _domain(domains, on))
        if all(child is children[0][1] for _, child in children):
            return children[0][1]
        # Equal trees are one object, so that comparing them never goes through them.
        key = (on, tuple((value, id(child)) for value, child in children))
        return branches.setdefault(key, Branch(on, children))

    return build({})


def _outcome(function: Callable[[Shared, Process], Any], shared: Shared, process: Process) -> Leaf | _Unread:
    try:
        return Leaf(function(shared, process))
    except _Unread as unread:
        return unread
    except IndexError:
        return Leaf(IMPOSSIBLE)


def _domain(domains: Domains, on: Var | Flag) -> tuple[Value, ...]:
    return (0, 1) if isinstance(on, Flag) else domains.values[on.owner, on.name]


def _symbolic(domains: Domains, run: _Values) -> tuple[Any, Any]:
    def field(owner: str, number: int, name: str) -> Any:
        var = Var(owner, number, name)
        width = domains.bits.get((owner, name))
        if width:
            return Bits(run, var, width)
        return Symbolic(run, var) if (owner, name) in domains.values else None

    pairs = _Pairs(Pair(*(field("pair", number, name) for name in Pair._fields)) for number in range(domains.pairs))
    logins = tuple(field("login", number, "login") for number in range(domains.logins))
    shared = Shared(*(field("world", 0, name) for name in Shared._fields))._replace(pairs=pairs, logins=logins)
    process = Process(*(field("me", 0, name) for name in Process._fields))._replace(location=1)
    return shared, process


def changes(domains: Domains, shared: Shared, process: Process | None) -> Change:
    """What a function made of the symbolic world and process that it was given."""
    found = list(_changed("world", 0, shared, skip=("pairs", "logins")))
    for number, pair in enumerate(shared.pairs):
        found += _changed("pair", number, pair, than=domains.unused if number >= domains.pairs else None)
    for number, bits in enumerate(shared.logins):
        found += _compared(Var("login", number, "login"), bits, 0 if number >= domains.logins else None)
    if process is not None:
        if not process.location:
            found.append((Var("me", 0, "location"), 0))
        found += _changed("me", 0, process, skip=("location",))
    return _change(found)


def _changed(
    owner: str, number: int, after: Any, *, skip: tuple[str, ...] = (), than: Any = None
) -> Iterator[tuple[Var, object]]:
    for name in after._fields:
        if name not in skip:
            yield from _compared(Var(owner, number, name), getattr(after, name), getattr(than, name, None))


def _compared(var: Var, after: object, before: object) -> Iterator[tuple[Var, object]]:
    """`var` with its new value, unless that is what it was: itself, or `before` where it did not exist."""
    if isinstance(after, Symbolic | Bits):
        if after.var != var or (isinstance(after, Bits) and (after.clear or after.put)):
            yield var, after
    elif after is not before and after != before:
        yield var, after


def _change(found: list[tuple[Var, object]]) -> Change:
    written = {var for var, _ in found}
    constants, copies, bits = [], [], []
    for var, after in found:
        if isinstance(after, Bits):
            bits.append((var, after.clear, after.put))
        elif isinstance(after, Symbolic) and after.var not in written:
            copies.append((var, after.var))
        else:
            value = resolve(after)
            constants.append((var, int(value) if isinstance(value, bool) else value))
    return Change(tuple(constants), tuple(copies), tuple(bits))
