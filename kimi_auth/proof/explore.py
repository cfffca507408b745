"""The exhaustive checker: visits the whole state space of a model and finds the shortest counterexample to each rule.

It knows nothing about the meaning of a model. A model is a graph, given as functions (`Model`). Each move has a kind,
and the liveness checks depend on the kinds: a fault may happen at any time, and the model must settle without new
ones.
"""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

__all__ = ["ANY", "SETTLES", "TERMINATES", "Kind", "Model", "Move", "Report", "StateSpaceTooLarge", "Story", "explore"]

State = int
ANY = frozenset({"any"})
SETTLES = "settles"
TERMINATES = "step bound"


class Kind(IntEnum):
    """The kind of a move. `WALK`: a walk takes a step. `HURT`: it takes a step, and a transient error hit it. `BEGIN`:
    a new walk. `WORLD`: time passes, or a fault ends. `FAULT`: something breaks, or a person acts."""

    WALK = 0
    HURT = 1
    BEGIN = 2
    WORLD = 3
    FAULT = 4


WITHOUT_FAULT = frozenset({Kind.WALK, Kind.BEGIN, Kind.WORLD})
OF_WALKS = frozenset({Kind.WALK, Kind.HURT})


class Move(NamedTuple):
    """One step of the model: its kind, the state that it leads to, the rules that it breaks, and the edges of the
    machines that it walks."""

    kind: int
    target: State
    broken: tuple[str, ...]
    edges: tuple[int, ...]


class Model(Protocol):
    """A finite graph. States are integers that the model chooses; equal states are equal integers."""

    def initial(self) -> Iterable[State]: ...
    def moves(self, state: State, /) -> Iterable[tuple[int, State, tuple[str, ...], tuple[int, ...]]]:
        """Every move that is possible in `state`, as `Move`s or as plain tuples of the same fields."""

    def broken(self, state: State, /) -> tuple[str, ...]:
        """The rules that `state` itself breaks."""

    def is_settled(self, state: State, /) -> bool:
        """True if nothing is left to do in `state`."""

    def story(self, path: Sequence[State], rule: str, /) -> list[str]:
        """Tells `path` to people, one sentence per step; the last step breaks `rule`."""


class Story(NamedTuple):
    """The shortest counterexample to a rule."""

    rule: str
    steps: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.rule} is broken in {len(self.steps)} steps:"]
        return "\n".join([*lines, *(f"{number:4}. {step}" for number, step in enumerate(self.steps, 1))])


class StateSpaceTooLarge(Exception):
    """The state space has more states than `limit`."""


@dataclass(slots=True)
class Report:
    """The result of an exploration. `depth`: steps to the farthest state. `longest_walk`: the most steps that walks
    can take in a row without a new beginning. `walked`: numbers of the edges that were walked. `apart`: by name, how many
    moves of another program break a rule; they are not ours."""

    states: int = 0
    edges: int = 0
    depth: int = 0
    longest_walk: int = 0
    seconds: float = 0.0
    stories: dict[str, Story] = field(default_factory=dict)
    walked: set[int] = field(default_factory=set)
    complete: bool = True
    apart: dict[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """True if every state was visited and no rule was broken."""
        return self.complete and not self.stories


def explore(
    model: Model,
    *,
    limit: int = 20_000_000,
    liveness: bool = True,
    seek: frozenset[str] | None = None,
) -> Report:
    """Visits every state, breadth first. Raises `StateSpaceTooLarge` beyond `limit` states.

    `liveness`: also check that the model settles and that every walk ends. `seek`: stop as soon as all of these rules
    are broken, and leave the rest unvisited; `ANY`: stop at the first broken rule.
    """
    return _Exploration(model, limit, liveness=liveness, seek=seek).run()


class _Exploration:
    def __init__(self, model: Model, limit: int, *, liveness: bool, seek: frozenset[str] | None) -> None:
        self._model = model
        self._limit = limit
        self._liveness = liveness
        self._seek = seek
        self._numbers: dict[State, int] = {}
        self._states: list[State] = []
        self._parents = array("i")
        self._report = Report()
        self._walked: set[tuple[int, ...]] = set()
        # Compressed rows: the moves of state n are _targets[_rows[n]:_rows[n + 1]].
        self._rows = array("q", [0])
        self._targets = array("i")
        self._kinds = bytearray()

    def run(self) -> Report:
        collects = gc.isenabled()
        gc.disable()  # every object made here is kept: scanning for garbage took a quarter of the time
        try:
            return self._run()
        finally:
            if collects:
                gc.enable()

    def _run(self) -> Report:
        began_s = time.perf_counter()
        for state in self._model.initial():
            self._add(state, -1)
        level_end, depth = len(self._states), 0
        done = 0
        while done < len(self._states):
            if done == level_end:
                depth, level_end = depth + 1, len(self._states)
            self._expand(done)
            done += 1
            if self._report.stories and self._has_what_it_seeks():
                break
        report = self._report
        report.states, report.edges, report.depth = len(self._states), self._rows[-1], depth
        report.walked = {edge for edges in self._walked for edge in edges}
        report.complete = done == len(self._states)
        if self._liveness and report.complete:
            self._judge_settling()
            self._judge_walks()
        report.seconds = time.perf_counter() - began_s
        return report

    def _has_what_it_seeks(self) -> bool:
        found = self._report.stories.keys()
        return self._seek is not None and (self._seek == ANY or found >= self._seek)

    def _add(self, state: State, parent: int) -> int:
        number = self._numbers[state] = len(self._states)
        if number >= self._limit:
            raise StateSpaceTooLarge(f"more than {self._limit} states; make the world smaller or raise the limit")
        self._states.append(state)
        self._parents.append(parent)
        for rule in self._model.broken(state):
            self._found(rule, number)
        return number

    def _expand(self, number: int) -> None:
        numbers, walked, liveness = self._numbers, self._walked, self._liveness
        targets, kinds = self._targets, self._kinds
        count = 0
        for kind, state, broken, edges in self._model.moves(self._states[number]):
            count += 1
            target = numbers.get(state)
            if target is None:
                target = self._add(state, number)
            if edges:
                walked.add(edges)
            for rule in broken:
                self._found(rule, number, state)
            if liveness:
                targets.append(target)
                kinds.append(kind)
        self._rows.append(self._rows[-1] + count)

    def _found(self, rule: str, number: int, *last: State) -> None:
        if rule not in self._report.stories:
            path = [*self._path(number), *last]
            self._report.stories[rule] = Story(rule, tuple(self._model.story(path, rule)))

    def _path(self, number: int) -> list[State]:
        path = []
        while number >= 0:
            path.append(self._states[number])
            number = self._parents[number]
        return path[::-1]

    # --- liveness -----------------------------------------------------------------------------------------------------

    def _judge_settling(self) -> None:
        """From every state, a path without a new fault must lead to a settled state; then a fair environment
        settles."""
        count = len(self._states)
        sources, heads = self._reversed({int(kind) for kind in WITHOUT_FAULT})
        good = bytearray(count)
        front = [number for number, state in enumerate(self._states) if self._model.is_settled(state)]
        for number in front:
            good[number] = 1
        while front:
            number = front.pop()
            for at in range(heads[number], heads[number + 1]):
                source = sources[at]
                if not good[source]:
                    good[source] = 1
                    front.append(source)
        stuck = good.find(0)
        if stuck >= 0:
            self._found(SETTLES, stuck)

    def _reversed(self, kinds: set[int]) -> tuple[array[int], array[int]]:
        """The moves of these kinds in the state space, reversed: sources[heads[n]:heads[n + 1]] lead to state n."""
        count = len(self._states)
        heads = array("q", bytes(8 * (count + 1)))
        for target, kind in zip(self._targets, self._kinds, strict=True):
            if kind in kinds:
                heads[target + 1] += 1
        for number in range(count):
            heads[number + 1] += heads[number]
        sources = array("i", bytes(4 * heads[count]))
        free = array("q", heads)
        for source in range(count):
            for at in range(self._rows[source], self._rows[source + 1]):
                if self._kinds[at] in kinds:
                    target = self._targets[at]
                    sources[free[target]] = source
                    free[target] += 1
        return sources, heads

    def _judge_walks(self) -> None:
        """The moves of walks alone must have no cycle; then every walk ends, and their longest chain is the bound."""
        kinds = {int(kind) for kind in OF_WALKS}
        count = len(self._states)
        waiting = array("i", bytes(4 * count))
        for target, kind in zip(self._targets, self._kinds, strict=True):
            if kind in kinds:
                waiting[target] += 1
        length = array("i", bytes(4 * count))
        front = [number for number in range(count) if not waiting[number]]
        seen = 0
        while front:
            number = front.pop()
            seen += 1
            beyond = length[number] + 1
            for at in range(self._rows[number], self._rows[number + 1]):
                if self._kinds[at] in kinds:
                    target = self._targets[at]
                    length[target] = max(length[target], beyond)
                    waiting[target] -= 1
                    if not waiting[target]:
                        front.append(target)
        self._report.longest_walk = max(length, default=0)
        if seen < count:
            self._found(TERMINATES, next(number for number in range(count) if waiting[number]))
