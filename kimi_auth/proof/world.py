"""The model that is explored: processes that walk the committed machines, and the world around them.

The machines decide what a process may do next; a simulated hook decides what an activity does. A move of one process
depends only on the shared world and that process, so the model computes each such move once and caches it.
"""

from __future__ import annotations

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
    closed,
    is_fresh,
    is_incomplete,
    lock_bit,
    owns,
    pair_at,
)
from .hooks_inside import WRITES, Hook
from .hooks_outside import HOOKS, LOCAL, TAKING, UNDISTURBED, WAITING
from .numbering import BITS, Numbering
from .predicates import PREDICATES, owed
from .state import NOTHING, Process, Shared
from .state import idle as resting

__all__ = ["Cancel", "World"]

ROOTS = ("token_lifecycle", "device_login")
BEGINNINGS = frozenset({Kind.BEGIN, Kind.FAULT})
CHAIN_MAX = 30

Cancel = Callable[[Config, Shared, Process, str], "Effect | None"]
"""The effect of the caller's cancellation on a walk in the given activity."""

Leave = Callable[[Config, Shared, Process], Shared]
"""The effect on claims when a walk leaves the lock."""

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


class World:
    """Implements `kimi_auth.proof.explore.Model` for `machines` in the world of `config`.

    An ablation may replace `hooks`, `cancel` and `leave`. Without `reduced`, each step of a walk is a move of its own, which
    takes far more states.
    """

    def __init__(
        self,
        machines: Mapping[str, Machine],
        config: Config,
        *,
        hooks: Mapping[str, Hook] = HOOKS,
        cancel: Cancel = environment.cancelled,
        leave: Leave = closed,
        reduced: bool = True,
    ) -> None:
        self.program = Program(machines, ROOTS)
        self.config = config
        self._hooks = hooks
        self._cancel = cancel
        self._leave = leave
        self._storing = self.program.find("device_login", "store_credential")
        waiting = (number for number, location in enumerate(self.program.locations) if location.activity in WAITING)
        self._known = Numbering(config, frozenset() if config.memory else frozenset(waiting))
        alone = config.excludes and not config.unlocked_writers
        self._at_once = LOCAL | UNDISTURBED if alone and not config.old_program else LOCAL
        if not (config.waits or config.waiters):
            self._at_once |= {"back_off"}
        self._taken_at_once = TAKING if alone else frozenset()
        if not reduced:
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
            found.append((step.kind, target, (), ()))
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
        return shared.record < 0 or is_fresh(shared) or bool(shared.pairs[shared.record].revoked)

    def story(self, path: Sequence[int], rule: str) -> list[str]:
        _, processes = self._known.opened(path[0])
        names = list("ABCDEFGH"[: len(processes)])
        told = []
        for before, after in pairwise(path):
            text, names = self._told(before, after, names, rule if after == path[-1] else "")
            told.append(text)
        return told

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
        dead = environment.killed(self.config, shared, process)
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
        """The next step, taken in the same move because no interleaving could come between."""
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
        return (
            shared._replace(locks=shared.locks & ~lock_bit(self.config, process)) if process.marks & HOLDS else shared
        )

    def _outside(self, process: Process) -> Process:
        return process._replace(claim="", pair=NOTHING, stage=0, event="", marks=process.marks & BEYOND_THE_LOCK)

    # --- moves of the world -------------------------------------------------------------------------------------------

    def _steps_around(self, shared: int, processes: Sequence[int]) -> Iterable[Step]:
        steps = self._around.get(shared)
        if steps is None:
            steps = self._around[shared] = [
                self._step(kind, after, None, (), (), text)
                for kind, after, text in environment.environment_moves(self.config, self._known.shared[shared])
            ]
        return [*steps, *self._steps_of_all(shared, processes)] if self.config.power else steps

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

    # --- texts --------------------------------------------------------------------------------------------------------

    def _told(self, before: int, after: int, names: list[str], rule: str) -> tuple[str, list[str]]:
        """One step as a sentence, and the names of the processes in their order after it."""
        shared, processes = self._known.opened(before)
        found: list[tuple[bool, str, list[str]]] = []
        for slot in range(len(processes)):
            for step in self._steps_of(shared, processes[slot]):
                moved = [step.process if at == slot else number for at, number in enumerate(processes)]
                if self._known.state(step.shared, moved) == after:
                    said = f"{names[slot]}: {step.text}"
                    found.append((rule in step.broken, said, self._sorted_names(step.shared, moved, names)))
        for step in self._steps_around(shared, processes):
            moved = self._others(step, processes)
            if self._known.state(step.shared, moved) == after:
                found.append((False, step.text, self._sorted_names(step.shared, moved, names)))
        _, text, names = max(found, key=lambda story: story[0])
        return text, names

    def _sorted_names(self, shared: int, processes: list[int], names: list[str]) -> list[str]:
        _, canonical = self._known.canonical(shared, processes)
        return [name for _, name in sorted(zip(canonical, names, strict=True))]
