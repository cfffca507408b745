"""The successor function of the model: every move that a process, or the world around it, may make next.

The machines decide what a process may do next; a simulated hook decides what an activity does. A move of one process
depends only on the shared world and that process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kimi_auth.machine import ACQUIRED
from kimi_auth.proof.explore import TERMINATES, Kind
from kimi_auth.proof.locations import Arrow, Location, Program

from . import environment
from .effects import BEYOND_THE_LOCK, HOLDS, UNSAVED, Config, Effect, has_open_claim, is_fresh
from .hooks_inside import WRITES, Hook
from .hooks_outside import TAKING, chained_activities
from .kimi_code import KIMI_CODE
from .predicates import PREDICATES, owed
from .sessions import SESSIONS
from .state import NOTHING, Process, Shared, idle
from .stores import APART, FILES, Leave, StoreModel

__all__ = ["Successor", "Successors"]

BEGINNINGS = frozenset({Kind.BEGIN, Kind.FAULT})
CHAIN_MAX = 30
STORES: Mapping[str, StoreModel] = {"files": FILES, "kimi-code": KIMI_CODE, "sessions": SESSIONS}
UNDECLARED = "undeclared outcome"


def _unknown(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    """The hook of an activity that no walk of this world may run."""
    return [Effect(None, shared, idle(process), "has no business here", broken=("crash",))]


class Successor(NamedTuple):
    """A move and its successor: the world and the process that moved (None: no process did), a sentence about it, the
    rules that it breaks, and the numbers of the edges that are walked."""

    kind: int
    shared: Shared
    process: Process | None
    text: str
    broken: tuple[str, ...] = ()
    edges: tuple[int, ...] = ()


class Successors:
    """The moves of processes that walk `program` in the world of `config`.

    An ablation may replace some `hooks`, and `cancel` and `leave`. `chained`: moves between which no interleaving matters are
    taken as one. `apart`: by rule, how many moves of another program break it.
    """

    def __init__(
        self,
        program: Program,
        config: Config,
        *,
        hooks: Mapping[str, Hook],
        cancel: environment.Cancel,
        leave: Leave | None,
        chained: bool,
    ) -> None:
        self._program = program
        self._config = config
        self._store = STORES[config.store]
        self._hooks = {**self._store.hooks, **hooks}
        self._cancel = cancel
        self._leave = leave or self._store.leave
        self._storing = program.find("device_login", "store_credential")
        self._at_once, self._taken_at_once = chained_activities(config) if chained else (frozenset(), frozenset())
        self._excludes = config.excludes
        self.apart: Counter[str] = Counter()

    # --- moves of one process -----------------------------------------------------------------------------------------

    def of(self, shared: Shared, process: Process) -> Iterator[Successor]:
        """Every move of `process`."""
        if not process.location:
            yield from self._beginnings(shared, process)
            return
        location = self._program.locations[process.location]
        assert location.activity is not None
        discipline: tuple[str, ...] = (
            () if location.activity not in WRITES or process.marks & HOLDS else ("lock discipline",)
        )
        if process.marks & UNSAVED and location.activity != "stage":
            discipline += ("I2",)
        for effect in self._performed(location, shared, process):
            yield self._moved(process, effect, discipline)
        torn = self._cancel(self._config, shared, process, location.activity)
        if torn is not None:
            yield Successor(Kind.FAULT, self._released(torn.shared, process), torn.process, torn.note, torn.broken)
        if self._config.waiters:
            return  # a process that is killed is no waiter, so rule I10 does not cover it
        dead = self._store.killed(self._config, shared, process)
        if dead is not None:
            yield Successor(Kind.FAULT, self._released(dead, process), idle(process), "is killed")

    def _beginnings(self, shared: Shared, process: Process) -> Iterator[Successor]:
        begin = self._program.initial["token_lifecycle"]
        for effect in self._hooks["inspect"](self._config, shared, process):
            first = self._program.locations[begin].arrows.get(effect.outcome or "")
            if first is None:
                text = f"looks, and nothing is declared for {effect.outcome}"
                yield Successor(Kind.BEGIN, shared, idle(process), text, (UNDECLARED,))
                continue
            at = self._program.locations[first.target]
            if not at.is_rest:
                looking = effect.process._replace(location=first.target, event="touched")
                yield Successor(Kind.BEGIN, shared, looking, f"looks, and is {at}", edges=first.edges)
                continue
            for event, arrow in at.arrows.items():
                for kind, after, begun in environment.begun(self._config, shared, effect.process, at.state, event):
                    step = Effect(event, after, begun, broken=self._lies(after, begun, "token_lifecycle", at.state))
                    text = f"finds {at.state}, {event}{' for another pair' * (begun.need == 'not_pair')}"
                    yield self._arrived(kind, step, arrow, f"{text}: -> {arrow.text}", (), first.edges)
        for after, begun in environment.logins(self._config, shared, process) if self._storing else ():
            started = begun._replace(location=self._storing)
            yield Successor(Kind.FAULT, after, started, "a new login was approved, and is to be stored")

    def _performed(self, location: Location, shared: Shared, process: Process) -> Iterable[Effect]:
        return self._hooks.get(location.activity or "", _unknown)(self._config, shared, process)

    def _moved(self, process: Process, effect: Effect, broken: tuple[str, ...]) -> Successor:
        location = self._program.locations[process.location]
        kind = Kind.HURT if effect.hurt else Kind.WALK
        broken += effect.broken
        if effect.outcome is None:
            return Successor(kind, effect.shared, effect.process, f"{location}: {effect.note}", broken)
        arrow = location.arrows.get(effect.outcome)
        if arrow is None:
            text = f"{location} answers {effect.outcome}, which is not declared"
            return Successor(kind, effect.shared, idle(process), text, (*broken, UNDECLARED))
        aside = f" ({effect.note})" if effect.note else ""
        text = f"{location} --{effect.outcome}--> {arrow.text}{aside}"
        return self._arrived(kind, effect, arrow, text, broken, ())

    def _arrived(
        self, kind: int, effect: Effect, arrow: Arrow, text: str, broken: tuple[str, ...], edges: tuple[int, ...]
    ) -> Successor:
        shared, process = effect.shared, effect.process
        broken += effect.broken
        edges += arrow.edges
        for machine, state in arrow.left:
            broken += self._lies(shared, process, machine, state)
            if process.marks & UNSAVED:
                broken += ("I2",)
            shared = self._leave(self._config, shared, process)
            if has_open_claim(shared, process):
                broken += ("claims are closed",)
            shared = self._released(shared, process)
            marks = process.marks & BEYOND_THE_LOCK
            process = process._replace(claim="", pair=NOTHING, stage=0, event="", marks=marks)
        process = process._replace(location=arrow.target)
        location = self._program.locations[arrow.target]
        if location.is_rest:
            if location.machine == "token_lifecycle":
                broken += self._lies(shared, process, location.machine, location.state)
                broken += owed(shared, process, location.state)
            return Successor(kind, shared, idle(process), text, broken, edges)
        if location.activity in self._at_once or (kind in BEGINNINGS and location.activity in self._taken_at_once):
            effects = list(self._performed(location, shared, process))
            if len(edges) > CHAIN_MAX:
                broken += (TERMINATES,)
            elif len(effects) == 1 and (effects[0].outcome == ACQUIRED or location.activity not in TAKING):
                return self._followed(kind, effects[0], location, text, broken, edges)
        return Successor(kind, shared, process, text, broken, edges)

    def _followed(
        self, kind: int, effect: Effect, location: Location, text: str, broken: tuple[str, ...], edges: tuple[int, ...]
    ) -> Successor:
        """The next step, taken in the same move because no interleaving could come between."""
        arrow = location.arrows.get(effect.outcome or "")
        if arrow is None:
            return Successor(kind, effect.shared, idle(effect.process), text, (*broken, UNDECLARED), edges)
        return self._arrived(kind, effect, arrow, f"{text} --{effect.outcome}--> {arrow.text}", broken, edges)

    def _lies(self, shared: Shared, process: Process, machine: str, state: str) -> tuple[str, ...]:
        if not self._excludes:
            return ()  # without exclusion, a fact that the walk saw may change before the walk ends
        fact = PREDICATES.get((machine, state))
        return () if fact is None or fact(shared, process) else ("I8",)

    def _released(self, shared: Shared, process: Process) -> Shared:
        return self._store.release(self._config, shared, process)

    # --- moves of the world -------------------------------------------------------------------------------------------

    def around(self, shared: Shared) -> Iterator[Successor]:
        """The successors of a world by moves that involve no process."""
        config, store = self._config, self._store
        for kind, after, text in environment.environment_moves(config, shared):
            if not store.is_beyond(config, after) or store.is_beyond(config, shared):
                yield Successor(kind, after, None, text)
        for kind, after, text, broken in store.moves(config, shared):
            if not store.is_beyond(config, after) or store.is_beyond(config, shared):
                self.apart.update(rule for rule in broken if rule.startswith(APART))
                yield Successor(kind, after, None, text, tuple(rule for rule in broken if not rule.startswith(APART)))

    def power_cut(self, shared: Shared, processes: Sequence[Process]) -> Successor:
        """The successor after a power cut, which ends the walks of all `processes`; its move names the first of
        them."""
        after, text = environment.power_cut(self._config, shared, processes)
        return Successor(Kind.FAULT, after, idle(processes[0]), text)

    def is_settled(self, shared: Shared) -> bool:
        """True for a world with no next move to make once no process walks: no lock held, the token fresh or a new login needed."""
        return not shared.locks and (is_fresh(shared) or self._store.is_left(self._config, shared))
