"""The model that is explored: worlds and processes as numbers, with the moves between them.

A move of one process depends only on the shared world and that process, so the model computes each such move once and
caches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from kimi_auth.machine import Machine
from kimi_auth.proof.locations import Program

from . import environment
from .effects import HOLDS, Config
from .hooks_inside import Hook
from .hooks_outside import WAITING
from .numbering import BITS, Numbering
from .state import Process, Shared, idle
from .stores import Leave
from .successors import Successor, Successors

__all__ = ["ToldMove", "World"]

ROOTS = ("token_lifecycle", "device_login")

Moves = list[tuple[int, int, tuple[str, ...], tuple[int, ...]]]


class Step(NamedTuple):
    """A `Successor` in numbers (`process` is negative if none moves). `unheld`: bits of the pairs that the model then
    forgets, unless another process holds them."""

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
        cancel: environment.Cancel = environment.cancelled,
        leave: Leave | None = None,
        chained: bool = True,
    ) -> None:
        self.program: Program = Program(machines, ROOTS)
        self.config = config
        self._successors = Successors(
            self.program, config, hooks=hooks or {}, cancel=cancel, leave=leave, chained=chained
        )
        self.apart = self._successors.apart
        waiting = (number for number, location in enumerate(self.program.locations) if location.activity in WAITING)
        self._known = Numbering(config, frozenset() if config.memory else frozenset(waiting))
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
        shared, processes = self._known.opened(state)
        walks = any(self._known.processes[process].location for process in processes)
        return not walks and self._successors.is_settled(self._known.shared[shared])

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
        """The names of the processes in a `state` of the explored model: a letter each."""
        return list("ABCDEFGH"[: len(self._known.opened(state)[1])])

    def opened(self, state: int) -> tuple[Shared, list[Process]]:
        """A `state` of the explored model, opened: the shared world and its processes."""
        shared, processes = self._known.opened(state)
        return self._known.shared[shared], [self._known.processes[number] for number in processes]

    def told(self, state: int, names: list[str]) -> Iterator[ToldMove]:
        """Every move of the model from `state`, each with its text; `names` are those of its processes, in their order."""
        shared, processes = self._known.opened(state)
        for slot, process in enumerate(processes):
            for step in self._steps_of(shared, process):
                moved = [step.process if at == slot else number for at, number in enumerate(processes)]
                yield self._told(step, f"{names[slot]}: {step.text}", moved, names)
        for step in self._steps_around(shared, processes):
            yield self._told(step, step.text, self._others(step, processes), names)

    def _told(self, step: Step, text: str, moved: list[int], names: list[str]) -> ToldMove:
        _, canonical = self._known.canonical(step.shared, moved)
        named = [name for _, name in sorted(zip(canonical, names, strict=True))]
        return ToldMove(step.kind, text, self._known.state(step.shared, moved), named, step.edges, step.broken)

    # --- successors in numbers ----------------------------------------------------------------------------------------

    def _steps_of(self, shared: int, process: int) -> list[Step]:
        key = shared << BITS | process
        steps = self._steps.get(key)
        if steps is None:
            found = self._successors.of(self._known.shared[shared], self._known.processes[process])
            steps = self._steps[key] = list(dict.fromkeys(map(self._numbered, found)))
        return steps

    def _steps_around(self, shared: int, processes: Sequence[int]) -> Iterable[Step]:
        known = self._known
        steps = self._around.get(shared)
        if steps is None:
            steps = self._around[shared] = [*map(self._numbered, self._successors.around(known.shared[shared]))]
        if not self.config.power:
            return steps
        cut = self._successors.power_cut(known.shared[shared], [known.processes[number] for number in processes])
        return [*steps, self._numbered(cut)]

    def _others(self, step: Step, processes: Sequence[int]) -> list[int]:
        """The processes after a move of the world: unchanged, or all of them without a walk."""
        if step.process < 0:
            return list(processes)
        return [self._known.join(idle(self._known.processes[number])) for number in processes]

    def _numbered(self, found: Successor) -> Step:
        known = self._known
        kind, shared, process, text, broken, edges = found
        after = known.share(shared)
        moved = -1 if process is None else known.forgetting(known.join(process), known.records[after])
        return Step(kind, after, moved, tuple(dict.fromkeys(broken)), edges, text, known.unheld(after, moved))
