"""The explored model as data: the machines' edges, and the relation of each hook, of the environment and of each predicate.

Everything that a hook may do comes from the Python function that our own checker runs (`relation`). Everything about
walks (locations, children, the lock's region, which steps are one move, which differences are forgotten) is data
or a sentence here, and each exporter writes it in the language of another checker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import NamedTuple

from kimi_auth.machine import Machine
from kimi_auth.proof import environment
from kimi_auth.proof.effects import Config, Effect, closed, has_open_claim
from kimi_auth.proof.hooks_inside import WRITES, Hook
from kimi_auth.proof.hooks_outside import HOOKS, WAITING, chained_activities
from kimi_auth.proof.predicates import DUTIES, PREDICATES, Duty
from kimi_auth.proof.state import Process, Shared
from kimi_auth.proof.stores import Leave
from kimi_auth.proof.world import ROOTS

from .domains import domains_of
from .positions import Position, positions
from .relation import Change, Domains, Leaf, Node, changes, relation

__all__ = ["ELSEWHERE", "Exported", "Move", "NotExportable", "Position", "Relation", "exported"]

PAIRS_MAX = 3
"""Pairs that exist between two moves; the exported model asserts that no more are needed."""

ELSEWHERE = "the export has files only: no second lock of another program, no lease, no session and no host's own disk"
"""Why a world whose credential rests elsewhere is not exported."""


class NotExportable(Exception):
    """The world has a part that no export expresses. The message says which."""


class Move(NamedTuple):
    """One way in which a function can go. `outcome` None: the activity continues."""

    outcome: str | None
    change: Change
    broken: tuple[str, ...] = ()
    hurt: bool = False
    note: str = ""


class Relation(NamedTuple):
    """A tree with its name. `breaks`: the rule that a truth breaks, "" for a tree of moves; with `holds`, that its opposite
    does."""

    name: str
    node: Node
    breaks: str = ""
    holds: bool = False


class Exported(NamedTuple):
    """A world, ready to be written down. `roots` and `children`: the positions of walks and of the machines inside the lock.
    The leaves of `hooks`, `begun`, `logins`, `around`, `killed`, `cancelled` and `leave` are tuples of `Move`s; those of
    `is_left_open`, `lies` and `owed` are truths. `at_once`: activities taken in the move before them;
    `taken_at_once`: the same for a walk that begins; `waiting`: where a walk forgets what it read."""

    config: Config
    domains: Domains
    roots: tuple[Position, ...]
    children: tuple[Position, ...]
    storing: str
    hooks: Mapping[str, Node]
    begun: Mapping[tuple[str, str], Node]
    logins: Node
    around: tuple[Node, ...]
    killed: Node
    cancelled: Mapping[str, Node]
    leave: Node
    is_left_open: Node
    lies: Mapping[tuple[str, str], Node]
    owed: Mapping[tuple[str, str], Node]
    at_once: frozenset[str]
    taken_at_once: frozenset[str]
    waiting: frozenset[str]
    guarded: frozenset[str]
    beginning: Shared

    def relations(self) -> Iterator[Relation]:
        """Every relation of the exported model, by the name that it has in each language."""
        yield from (Relation(f"h_{name}", node) for name, node in self.hooks.items())
        yield from (Relation(f"b_{state}_{event}", node) for (state, event), node in self.begun.items())
        yield from (Relation(f"c_{name}", node) for name, node in self.cancelled.items())
        yield from (Relation(f"e_{number}", node) for number, node in enumerate(self.around))
        yield Relation("f_logins", self.logins)
        yield Relation("f_killed", self.killed)
        yield Relation("f_leave", self.leave)
        yield Relation("f_left_open", self.is_left_open, breaks="claims are closed")
        for (machine, state), node in self.lies.items():
            yield Relation(f"p_{machine}_{state}", node, breaks="I8", holds=True)
        for number, ((_, rule), node) in enumerate(self.owed.items()):
            yield Relation(f"d_{number}", node, breaks=rule)


def exported(
    machines: Mapping[str, Machine],
    config: Config,
    *,
    hooks: Mapping[str, Hook] = HOOKS,
    cancel: environment.Cancel = environment.cancelled,
    leave: Leave = closed,
    pairs: int = PAIRS_MAX,
    chained: bool = True,
) -> Exported:
    """The model of the world of `config`, as `World` has it. `chained`: with the moves that `World` takes together in
    one move; else one move for each step of a walk. Raises NotExportable for power cuts, directories that are not
    synchronised, and credentials elsewhere than in files."""
    if config.power or not config.synchronous:
        raise NotExportable("power cuts change all processes in one move, and the exports have no such move")
    if config.store != "files":
        raise NotExportable(ELSEWHERE)
    roots, children = positions(machines)
    activities = sorted({position.activity for position in (*roots, *children) if position.activity})
    at_once, taken_at_once = chained_activities(config) if chained else (frozenset[str](), frozenset[str]())
    domains = domains_of(config, pairs)
    return Exported(
        config,
        domains,
        roots,
        children,
        next((position.name for position in roots if position.activity == "store_credential"), ""),
        {name: _of_hook(config, pairs, hooks[name]) for name in activities if name in hooks},
        {
            (position.state, event): _of_beginning(config, pairs, position.state, event)
            for position in roots
            if position.machine == ROOTS[0] and not position.activity
            for event in position.on
        },
        *_of_environment(config, pairs),
        {name: relation(domains, _cancelled(domains, config, cancel, name)) for name in activities},
        *_of_leaving(config, pairs, leave),
        _of_predicates(config, pairs) if config.excludes else {},
        {
            (position.state, rule): _of_duty(config, pairs, position.state, rule)
            for position in roots
            if position.machine == ROOTS[0] and not position.activity
            for rule in DUTIES
        },
        at_once,
        taken_at_once,
        frozenset() if config.memory else WAITING,
        WRITES,
        environment.beginning(config),
    )


# Ablations change one hook each; the relations of the others are worked out once.


@cache
def _of_hook(config: Config, pairs: int, hook: Hook) -> Node:
    domains = domains_of(config, pairs)
    return relation(domains, _effects(domains, config, hook))


@cache
def _of_beginning(config: Config, pairs: int, state: str, event: str) -> Node:
    domains = domains_of(config, pairs)
    return relation(domains, _begun(domains, config, state, event))


@cache
def _of_environment(config: Config, pairs: int) -> tuple[Node, tuple[Node, ...], Node]:
    """The relations of the exported model for new logins, for the moves around, and for what a kill leaves."""
    domains = domains_of(config, pairs)

    def logins(shared: Shared, process: Process) -> tuple[Move, ...]:
        return tuple(Move("", changes(domains, *found)) for found in environment.logins(config, shared, process))

    def killed(shared: Shared, process: Process) -> tuple[Move, ...]:
        return (Move("", changes(domains, environment.killed(config, shared, process), None)),)

    return relation(domains, logins), tuple(_around(domains, config)), relation(domains, killed)


@cache
def _of_leaving(config: Config, pairs: int, leave: Leave) -> tuple[Node, Node]:
    domains = domains_of(config, pairs)

    def left(shared: Shared, process: Process) -> tuple[Move, ...]:
        return (Move("", changes(domains, leave(config, shared, process), None)),)

    return relation(domains, left), relation(domains, has_open_claim)


@cache
def _of_predicates(config: Config, pairs: int) -> Mapping[tuple[str, str], Node]:
    domains = domains_of(config, pairs)
    return {key: relation(domains, _truth(fact)) for key, fact in PREDICATES.items()}


@cache
def _of_duty(config: Config, pairs: int, state: str, rule: str) -> Node:
    return relation(domains_of(config, pairs), partial(_owed, DUTIES[rule], state))


def _owed(duty: Duty, state: str, shared: Shared, process: Process) -> bool:
    return bool(duty(shared, process, state))


def _truth(fact: Callable[[Shared, Process], bool]) -> Callable[[Shared, Process], bool]:
    return lambda shared, process: bool(fact(shared, process))


def _effects(domains: Domains, config: Config, hook: Hook) -> Callable[[Shared, Process], tuple[Move, ...]]:
    def moves(shared: Shared, process: Process) -> tuple[Move, ...]:
        return tuple(dict.fromkeys(_move(domains, effect) for effect in hook(config, shared, process)))

    return moves


def _move(domains: Domains, effect: Effect) -> Move:
    change = changes(domains, effect.shared, effect.process)
    return Move(effect.outcome, change, effect.broken, bool(effect.hurt), effect.note)


def _begun(domains: Domains, config: Config, state: str, event: str) -> Callable[[Shared, Process], tuple[Move, ...]]:
    def moves(shared: Shared, process: Process) -> tuple[Move, ...]:
        return tuple(
            Move(event, changes(domains, after, begins), note=f"finds {state}")
            for _, after, begins in environment.begun(config, shared, process, state, event)
        )

    return moves


def _cancelled(
    domains: Domains, config: Config, cancel: environment.Cancel, activity: str
) -> Callable[[Shared, Process], tuple[Move, ...]]:
    def moves(shared: Shared, process: Process) -> tuple[Move, ...]:
        effect = cancel(config, shared, process, activity)
        return () if effect is None else (_move(domains, effect),)

    return moves


def _around(domains: Domains, config: Config) -> Iterable[Node]:
    """The moves of the environment in the exported model, without those that this world never has."""
    found: list[Callable[[Config, Shared], Iterable[environment.EnvironmentMove]]] = list(environment.OF_THE_WORLD)
    for number in range(domains.pairs):
        found += [partial(_numbered, move, number) for move in environment.OF_A_PAIR]
    for number in range(domains.logins):
        found += [partial(_numbered, move, number) for move in environment.OF_A_LOGIN]
    nodes = (relation(domains, partial(_moved_around, domains, config, function)) for function in found)
    yield from (node for node in nodes if node != Leaf(()))


def _moved_around(
    domains: Domains,
    config: Config,
    function: Callable[[Config, Shared], Iterable[environment.EnvironmentMove]],
    shared: Shared,
    process: Process,
) -> tuple[Move, ...]:
    return tuple(Move("", changes(domains, after, None), note=text) for _, after, text in function(config, shared))


def _numbered(
    move: Callable[[Config, Shared, int], Iterable[environment.EnvironmentMove]],
    number: int,
    config: Config,
    shared: Shared,
) -> Iterable[environment.EnvironmentMove]:
    return move(config, shared, number)
