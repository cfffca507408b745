"""Numbers worlds and processes, and encodes a state of the model as one integer: the shared world, then the sorted
processes.

Equal objects get equal numbers, after the model has forgotten differences that can no longer have an effect. So equal
states are equal integers, and two states that differ only in the names of the processes are one state.
"""

from __future__ import annotations

from collections.abc import Iterable

from .effects import Config
from .state import (
    Process,
    Shared,
    compacted,
    compacted_process,
    forgetful,
    held_by,
    references,
    renumbering,
    simplified,
    with_staged,
)

__all__ = ["BITS", "Numbering"]

BITS = 20
"""The width of a process's number in a state."""

MASK = (1 << BITS) - 1


class Numbering:
    """Numbers for the world of `config`. In the states `waiting`, the values that a process read before do not matter.

    By number of a shared world: `shared`, its `records`, and the bits of `all_pairs`. By number of a process:
    `processes`, and the bits of the pairs that it `held`. `mask`: the bits of the processes in a state.
    """

    def __init__(self, config: Config, waiting: frozenset[int]) -> None:
        self._config = config
        self._waiting = waiting
        self.mask: int = (1 << BITS * config.processes) - 1
        self.shared: list[Shared] = []
        self.records: list[int] = []
        self.all_pairs: list[int] = []
        self.processes: list[Process] = []
        self.held: list[int] = []
        self._references: list[int] = []
        self._shared_numbers: dict[Shared, int] = {}
        self._process_numbers: dict[Process, int] = {}
        self._simplified: dict[Shared, int] = {}
        self._forgotten: dict[int, int] = {}
        self._compacted: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {}
        self._renumbered: dict[tuple[int, tuple[int, ...]], int] = {}

    def share(self, shared: Shared) -> int:
        """The number of the shared world `shared`, simplified."""
        number = self._simplified.get(shared)
        if number is None:
            number = self._simplified[shared] = self._share(simplified(shared, self._config.policy))
        return number

    def _share(self, shared: Shared) -> int:
        number = self._shared_numbers.get(shared)
        if number is None:
            number = self._shared_numbers[shared] = len(self.shared)
            self.shared.append(shared)
            self.records.append(shared.record)
            self.all_pairs.append((1 << len(shared.pairs)) - 1)
            self._references.append(references(shared, orphans=self._config.orphans))
        return number

    def join(self, process: Process) -> int:
        """The number of `process`."""
        number = self._process_numbers.get(process)
        if number is None:
            number = self._process_numbers[process] = len(self.processes)
            self.processes.append(process)
            self.held.append(held_by(process))
        return number

    def forgetting(self, process: int, record: int) -> int:
        """The number of the process without the values that do not matter while `record` is stored."""
        key = process << 4 | record + 8
        found = self._forgotten.get(key)
        if found is None:
            known = self.processes[process]
            waits = known.location in self._waiting
            found = self._forgotten[key] = self.join(forgetful(known, record, waits=waits))
        return found

    def unheld(self, shared: int, process: int) -> int:
        """The bits of a numbered world's pairs that the model forgets unless a process other than `process` holds them."""
        mask = self._references[shared]
        if process >= 0:
            mask |= self.held[process]
        return self.all_pairs[shared] & ~with_staged(self.shared[shared], mask)

    def canonical(self, shared: int, processes: Iterable[int]) -> tuple[int, list[int]]:
        """The numbers of the same state without differences that can no longer have an effect; the processes keep their
        order."""
        record = self.records[shared]
        kept = [self.forgetting(process, record) for process in processes]
        mask = self._references[shared]
        for process in kept:
            mask |= self.held[process]
        if mask == self.all_pairs[shared]:
            return shared, kept
        found = self._compacted.get((shared, mask))
        if found is None:
            found = self._compacted[shared, mask] = self._compact(shared, mask)
        shared, numbers = found
        return shared, [self._renumber(process, numbers) for process in kept] if numbers else kept

    def _compact(self, shared: int, mask: int) -> tuple[int, tuple[int, ...]]:
        mask = with_staged(self.shared[shared], mask)
        if mask == self.all_pairs[shared]:
            return shared, ()
        numbers = renumbering(mask, len(self.shared[shared].pairs))
        return self._share(compacted(self.shared[shared], numbers)), numbers

    def _renumber(self, process: int, numbers: tuple[int, ...]) -> int:
        found = self._renumbered.get((process, numbers))
        if found is None:
            found = self.join(compacted_process(self.processes[process], numbers))
            self._renumbered[process, numbers] = found
        return found

    def state(self, shared: int, processes: Iterable[int]) -> int:
        """The integer that encodes the state of the model with these parts."""
        shared, kept = self.canonical(shared, processes)
        kept.sort()
        for process in kept:
            shared = shared << BITS | process
        return shared

    def opened(self, state: int) -> tuple[int, list[int]]:
        """Decodes `state` into the numbers of the shared world and of the processes."""
        processes = []
        for _ in range(self._config.processes):
            processes.append(state & MASK)
            state >>= BITS
        processes.reverse()
        return state, processes
