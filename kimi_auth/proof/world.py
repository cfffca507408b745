"""The model that is explored: processes that walk the committed machines, and the world around them.

The machines decide what a process may do next; a simulated hook decides what an activity does. A move of one process
depends only on the shared world and that process, so the model computes each such move once and caches it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from kimi_auth.machine import ACQUIRED, Machine
from kimi_auth.proof.explore import TERMINATES, Kind
from kimi_auth.proof.locations import Arrow, Location, Program

from . import environment
from .effects import (
    BEYOND_THE_LOCK,
    HOLDS,
    UNSAVED,
    Config,
    Effect,
    is_fresh,
    is_incomplete,
    owns,
    pair_at,
)
from .hooks_inside import WRITES, Hook
from .hooks_outside import LOCAL, TAKING, UNDISTURBED, WAITING
from .kimi_code import KIMI_CODE
from .numbering import BITS, Numbering
from .predicates import PREDICATES, owed
from .sessions import SESSIONS
from .state import NOTHING, Process, Shared
from .state import idle as resting
from .stores import APART, FILES, Leave, StoreModel

__all__ = ["Cancel", "ToldMove", "World"]

ROOTS = ("token_lifecycle", "device_login")
BEGINNINGS = frozenset({Kind.BEGIN, Kind.FAULT})
CHAIN_MAX = 30

Cancel = Callable[[Config, Shared, Process, str], "Effect | None"]
"""The effect of the caller's cancellation on a walk in the given activity."""

STORES: Mapping[str, StoreModel] = {"files": FILES, "kimi-code": KIMI_CODE, "sessions": SESSIONS}

Moves = list[tuple[int, int, tuple[str, ...], tuple[int, ...]]]


def _unknown(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    """The hook of an activity that no walk of this world may run."""
    return [Effect(None, shared, resting(process), "has no business here", broken=("crash",))]


class Step(NamedTuple):
    """One move of one process, or of the world: the numbers of the successor (`process` is negative if none moves),
    and a sentence about it. `unheld`: bits of the pairs that the model then forgets, unless another process holds
    them."""

    kind: int
    shared: int
    process: int
    broken: tuple[str, ...]
    edges: tuple[int, ...]
    text: str
    unheld: int


class ToldMove(NamedTuple):
    """One move as a reader follows it: its kind, a sentence, the state that it leads to, the names of the processes in
    their order there, the numbers of the edges that are walked, and the rules that it breaks."""

    kind: int
    text: str
    target: int
    names: list[str]
    edges: tuple[int, ...]
    broken: tuple[str, ...]


class World:
    """Implements `kimi_auth.proof.explore.Model` for `machines` in the world of `config`.

    An ablation may replace some `hooks`, and `cancel` and `leave`. `chained`: moves between which no interleaving matters are
    taken as one; a reader who follows a walk wants each alone.
    """

    def __init__(
        self,
        machines: Mapping[str, Machine],
        config: Config,
        *,
        hooks: Mapping[str, Hook] | None = None,
        cancel: Cancel = environment.cancelled,
        leave: Leave | None = None,
        chained: bool = True,
    ) -> None:
        self.program: Program = Program(machines, ROOTS)
        self.config = config
        self._store = STORES[config.store]
        self._hooks = {**self._store.hooks, **(hooks or {})}
        self._cancel = cancel
        self._leave = leave or self._store.leave
        self.apart: Counter[str] = Counter()
        self._storing = self.program.find("device_login", "store_credential")
        waiting = (number for number, location in enumerate(self.program.locations) if location.activity in WAITING)
        self._known = Numbering(config, frozenset() if config.memory else frozenset(waiting))
        alone = config.excludes and not config.unlocked_writers
        self._at_once = (
            LOCAL | UNDISTURBED if alone and not (config.old_program or config.store == "kimi-code") else LOCAL
        )
        if not (config.waits or config.waiters):
            self._at_once |= {"back_off"}
        leased = config.store == "sessions"
        self._at_once |= {"reread"} if leased else frozenset()
        self._taken_at_once = TAKING if alone or leased else frozenset()
        if not chained:
            self._at_once = self._taken_at_once = frozenset()
        self._excludes = config.excludes
        self._steps: dict[int, list[Step]] = {}
        self._around: dict[int, list[Step]] = {}

    # --- the model ----------------------------------------------------------------------------------------------------

    def initial(self) -> Iterable[int]:
        shared = environment.beginning(self.config)
        processes = [Process(1 if self.config.shared_lock else number + 1) for number in range(self.config.processes)]
        yield self._known.state(self._known.share(shared), map(self._known.join, processes))

    def moves(self, state: int) -> Moves:
        known = self._known
        shared, processes = known.opened(state)
        records, held = known.records, [known.held[process] for process in processes]
        record = records[shared]
        found: Moves = []
        last = -1
        for slot, process in enumerate(processes):
            if process == last:
                continue  # an equal process has the same moves
            last = process
            others = processes[:slot] + processes[slot + 1 :]
            by_others = 0
            for at, bits in enumerate(held):
                by_others |= bits if at != slot else 0
            steps = self._steps.get(shared << BITS | process)
            for step in self._steps_of(shared, process) if steps is None else steps:
                kind, target, mover, broken, edges, _, unheld = step
                if records[target] == record and not unheld & ~by_others:  # the others stay as they are
                    line = [*others, mover]
                    line.sort()
                    for number in line:
                        target = target << BITS | number
                else:
                    target = known.state(target, [*others, mover])
                found.append((kind, target, broken, edges))
        together = 0
        for bits in held:
            together |= bits
        for step in self._steps_around(shared, processes):
            target = step.shared
            if step.process < 0 and records[target] == record and not step.unheld & ~together:
                target = target << BITS * len(processes) | state & known.mask
            else:
                target = known.state(target, self._others(step, processes))
            found.append((step.kind, target, step.broken, ()))
        return found

    def broken(self, state: int) -> tuple[str, ...]:
        if not self._excludes:
            return ()
        _, processes = self._known.opened(state)
        holders = [number for number in processes if self._known.processes[number].marks & HOLDS]
        return ("I9",) if len(holders) > 1 else ()

    def is_settled(self, state: int) -> bool:
        number, processes = self._known.opened(state)
        shared = self._known.shared[number]
        if shared.locks or any(self._known.processes[process].location for process in processes):
            return False
        return is_fresh(shared) or self._store.is_left(self.config, shared)

    def story(self, path: Sequence[int], rule: str) -> list[str]:
        names = self.names(path[0])
        told = []
        for before, after in pairwise(path):
            breaks = rule if after == path[-1] else ""
            moves = [move for move in self.told(before, names) if move.target == after]
            found = max(moves, key=lambda move: breaks in move.broken)
            told.append(found.text)
            names = found.names
        return told

    # --- for readers ---------------------------------------------------------------------------------------------------

    def names(self, state: int) -> list[str]:
        """A letter for each process of a `state` of the model."""
        return list("ABCDEFGH"[: len(self._known.opened(state)[1])])

    def opened(self, state: int) -> tuple[Shared, list[Process]]:
        """The shared world and the processes of a `state` of the model."""
        shared, processes = self._known.opened(state)
        return self._known.shared[shared], [self._known.processes[number] for number in processes]

    def told(self, state: int, names: list[str]) -> Iterator[ToldMove]:
        """Every move of `state`; `names` are those of its processes, in their order."""
        shared, processes = self._known.opened(state)
        for slot, process in enumerate(processes):
            for step in self._steps_of(shared, process):
                moved = [step.process if at == slot else number for at, number in enumerate(processes)]
                yield self._told(step, f"{names[slot]}: {step.text}", moved, names)
        for step in self._steps_around(shared, processes):
            yield self._told(step, step.text, self._others(step, processes), names)

    def _told(self, step: Step, text: str, moved: list[int], names: list[str]) -> ToldMove:
        target = self._known.state(step.shared, moved)
        named = self._sorted_names(step.shared, moved, names)
        return ToldMove(step.kind, text, target, named, step.edges, step.broken)

    # --- moves of one process -----------------------------------------------------------------------------------------

    def _steps_of(self, shared: int, process: int) -> list[Step]:
        key = shared << BITS | process
        steps = self._steps.get(key)
        if steps is None:
            worked_out = self._work_out(self._known.shared[shared], self._known.processes[process])
            steps = self._steps[key] = list(dict.fromkeys(worked_out))
        return steps

    def _work_out(self, shared: Shared, process: Process) -> Iterator[Step]:
        if not process.location:
            yield from self._beginnings(shared, process)
            return
        location = self.program.locations[process.location]
        assert location.activity is not None
        discipline: tuple[str, ...] = (
            () if location.activity not in WRITES or process.marks & HOLDS else ("lock discipline",)
        )
        if process.marks & UNSAVED and location.activity != "stage":
            discipline += ("I2",)
        for effect in self._performed(location, shared, process):
            yield self._moved(process, effect, discipline)
        torn = self._cancel(self.config, shared, process, location.activity)
        if torn is not None:
            yield self._step(Kind.FAULT, self._released(torn.shared, process), torn.process, torn.broken, (), torn.note)
        if self.config.waiters:
            return  # a process that is killed is no waiter, so rule I10 does not cover it
        dead = self._store.killed(self.config, shared, process)
        if dead is None:
            return
        yield self._step(Kind.FAULT, self._released(dead, process), resting(process), (), (), "is killed")

    def _beginnings(self, shared: Shared, process: Process) -> Iterator[Step]:
        begin = self.program.initial["token_lifecycle"]
        for effect in self._hooks["inspect"](self.config, shared, process):
            first = self.program.locations[begin].arrows.get(effect.outcome or "")
            if first is None:
                text = f"looks, and nothing is declared for {effect.outcome}"
                yield self._step(Kind.BEGIN, shared, resting(process), ("undeclared outcome",), (), text)
                continue
            at = self.program.locations[first.target]
            if not at.is_rest:
                looking = effect.process._replace(location=first.target, event="touched")
                yield self._step(Kind.BEGIN, shared, looking, (), first.edges, f"looks, and is {at}")
                continue
            for event, arrow in at.arrows.items():
                for kind, after, begun in environment.begun(self.config, shared, effect.process, at.state, event):
                    step = Effect(event, after, begun, broken=self._lies(after, begun, "token_lifecycle", at.state))
                    text = f"finds {at.state}, {event}{' for another pair' * (begun.need == 'not_pair')}"
                    yield self._arrived(kind, step, arrow, (), first.edges, f"{text}: -> {arrow.text}")
        for after, begun in environment.logins(self.config, shared, process) if self._storing else ():
            started = begun._replace(location=self._storing)
            yield self._step(Kind.FAULT, after, started, (), (), "a new login was approved, and is to be stored")

    def _performed(self, location: Location, shared: Shared, process: Process) -> Iterable[Effect]:
        return self._hooks.get(location.activity or "", _unknown)(self.config, shared, process)

    def _moved(self, process: Process, effect: Effect, broken: tuple[str, ...]) -> Step:
        location = self.program.locations[process.location]
        kind = Kind.HURT if effect.hurt else Kind.WALK
        broken += effect.broken
        if effect.outcome is None:
            return self._step(kind, effect.shared, effect.process, broken, (), f"{location}: {effect.note}")
        arrow = location.arrows.get(effect.outcome)
        if arrow is None:
            text = f"{location} answers {effect.outcome}, which is not declared"
            return self._step(kind, effect.shared, resting(process), (*broken, "undeclared outcome"), (), text)
        aside = f" ({effect.note})" if effect.note else ""
        text = f"{location} --{effect.outcome}--> {arrow.text}{aside}"
        return self._arrived(kind, effect, arrow, broken, (), text)

    def _arrived(
        self, kind: int, effect: Effect, arrow: Arrow, broken: tuple[str, ...], edges: tuple[int, ...], text: str
    ) -> Step:
        shared, process = effect.shared, effect.process
        broken += effect.broken
        edges += arrow.edges
        for machine, state in arrow.left:
            broken += self._lies(shared, process, machine, state)
            if process.marks & UNSAVED:
                broken += ("I2",)
            shared = self._leave(self.config, shared, process)
            if owns(shared, process) and is_incomplete(pair_at(shared, process.record)):
                broken += ("claims are closed",)
            shared, process = self._released(shared, process), self._outside(process)
        process = process._replace(location=arrow.target)
        location = self.program.locations[arrow.target]
        if location.is_rest:
            if location.machine == "token_lifecycle":
                broken += self._lies(shared, process, location.machine, location.state) + owed(
                    shared, process, location.state
                )
            return self._step(kind, shared, resting(process), broken, edges, text)
        if location.activity in self._at_once or (kind in BEGINNINGS and location.activity in self._taken_at_once):
            effects = list(self._performed(location, shared, process))
            if len(edges) > CHAIN_MAX:
                broken += (TERMINATES,)
            elif len(effects) == 1 and (effects[0].outcome == ACQUIRED or location.activity not in TAKING):
                return self._followed(kind, effects[0], location, broken, edges, text)
        return self._step(kind, shared, process, broken, edges, text)

    def _followed(
        self, kind: int, effect: Effect, location: Location, broken: tuple[str, ...], edges: tuple[int, ...], text: str
    ) -> Step:
        """In the model that is explored: the next step, taken in the same move because no interleaving could come between."""
        arrow = location.arrows.get(effect.outcome or "")
        if arrow is None:
            return self._step(
                kind, effect.shared, resting(effect.process), (*broken, "undeclared outcome"), edges, text
            )
        return self._arrived(kind, effect, arrow, broken, edges, f"{text} --{effect.outcome}--> {arrow.text}")

    def _lies(self, shared: Shared, process: Process, machine: str, state: str) -> tuple[str, ...]:
        if not self._excludes:
            return ()  # without exclusion, a fact that the walk saw may change before the walk ends
        fact = PREDICATES.get((machine, state))
        return () if fact is None or fact(shared, process) else ("I8",)

    def _released(self, shared: Shared, process: Process) -> Shared:
        return self._store.release(self.config, shared, process)

    def _outside(self, process: Process) -> Process:
        return process._replace(claim="", pair=NOTHING, stage=0, event="", marks=process.marks & BEYOND_THE_LOCK)

    # --- moves of the world -------------------------------------------------------------------------------------------

    def _steps_around(self, shared: int, processes: Sequence[int]) -> Iterable[Step]:
        steps = self._around.get(shared)
        if steps is None:
            steps = self._around[shared] = list(self._worked_out_around(self._known.shared[shared]))
        return [*steps, *self._steps_of_all(shared, processes)] if self.config.power else steps

    def _worked_out_around(self, shared: Shared) -> Iterator[Step]:
        config, store = self.config, self._store
        for kind, after, text in environment.environment_moves(config, shared):
            if not store.is_beyond(config, after) or store.is_beyond(config, shared):
                yield self._step(kind, after, None, (), (), text)
        for kind, after, text, broken in store.moves(config, shared):
            if not store.is_beyond(config, after) or store.is_beyond(config, shared):
                self.apart.update(rule for rule in broken if rule.startswith(APART))
                ours = tuple(rule for rule in broken if not rule.startswith(APART))
                yield self._step(kind, after, None, ours, (), text)

    def _steps_of_all(self, shared: int, numbers: Sequence[int]) -> Iterator[Step]:
        """The moves of the world that involve all processes."""
        before = self._known.shared[shared]
        processes = [self._known.processes[number] for number in numbers]
        after, text = environment.power_cut(self.config, before, processes)
        yield self._step(Kind.FAULT, after, resting(processes[0]), (), (), text)

    def _others(self, step: Step, processes: Sequence[int]) -> list[int]:
        """The processes after a move of the world: unchanged, or all of them without a walk."""
        if step.process < 0:
            return list(processes)
        return [self._known.join(resting(self._known.processes[number])) for number in processes]

    def _step(
        self,
        kind: int,
        shared: Shared,
        process: Process | None,
        broken: tuple[str, ...],
        edges: tuple[int, ...],
        text: str,
    ) -> Step:
        known = self._known
        after = known.share(shared)
        moved = -1 if process is None else known.forgetting(known.join(process), known.records[after])
        return Step(kind, after, moved, tuple(dict.fromkeys(broken)), edges, text, known.unheld(after, moved))

    def _sorted_names(self, shared: int, processes: list[int], names: list[str]) -> list[str]:
        _, canonical = self._known.canonical(shared, processes)
        return [name for _, name in sorted(zip(canonical, names, strict=True))]
