"""The exhaustive checker, on graphs that are small enough to count by hand."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from kimi_auth.proof.explore import ANY, SETTLES, TERMINATES, Kind, Move, StateSpaceTooLarge, explore

Arrows = Mapping[int, Sequence[Move]]


@dataclass
class Graph:
    """A model given by its arrows; state 0 is the first, `settled` are those in which nothing is left to do."""

    arrows: Arrows
    settled: frozenset[int] = frozenset()
    bad: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def initial(self) -> Iterable[int]:
        return [0]

    def moves(self, state: int, /) -> Iterable[Move]:
        return self.arrows.get(state, ())

    def broken(self, state: int, /) -> tuple[str, ...]:
        return self.bad.get(state, ())

    def is_settled(self, state: int, /) -> bool:
        return state in self.settled

    def story(self, path: Sequence[int], rule: str, /) -> list[str]:
        return [f"{before} to {after}" for before, after in pairwise(path)]


def walk(target: int, *edges: int, broken: tuple[str, ...] = (), kind: int = Kind.WALK) -> Move:
    return Move(kind, target, broken, edges)


DIAMOND = {0: [walk(1, 7), walk(2, 8)], 1: [walk(3, 9)], 2: [walk(4)], 4: [walk(3)]}
"""Two ways to 3: one of two steps, one of three."""


def test_everything_is_counted_once() -> None:
    """States, moves, steps to the farthest state, the longest walk, and the edges that were walked."""
    report = explore(Graph(DIAMOND, frozenset({3})))
    assert (report.states, report.edges, report.depth, report.longest_walk) == (5, 5, 2, 3)
    assert report.walked == {7, 8, 9}
    assert report.holds


def test_the_shortest_story_is_told() -> None:
    """A rule that can be broken on two ways is told on the shorter one, and once."""
    arrows = {0: [walk(1), walk(2)], 1: [walk(3)], 2: [walk(4)], 4: [walk(3, broken=("late",))], 3: []}
    report = explore(Graph(arrows, frozenset({3}), {3: ("here",)}))
    assert str(report.stories["here"]) == "here is broken in 2 steps:\n   1. 0 to 1\n   2. 1 to 3"
    assert report.stories["late"].steps == ("0 to 2", "2 to 4", "4 to 3")
    assert not report.holds


@pytest.mark.parametrize(
    ("seek", "found", "complete"),
    [
        (None, {"one", "two"}, True),
        (ANY, {"one"}, False),
        (frozenset({"two"}), {"one", "two"}, False),
        (frozenset({"three"}), {"one", "two"}, True),
    ],
    ids=["everything", "anything", "something", "what is not there"],
)
def test_it_stops_when_it_has_what_it_seeks(seek: frozenset[str] | None, found: set[str], complete: bool) -> None:
    """A sought state ends the search; what comes after is left unseen, and the report says so."""
    arrows = {0: [walk(1, broken=("one",))], 1: [walk(2, broken=("two",))], 2: [walk(3)], 3: [walk(4)]}
    report = explore(Graph(arrows, frozenset({4})), seek=seek)
    assert set(report.stories) == found
    assert report.complete is complete
    assert not report.holds


def test_too_many_states() -> None:
    """A graph beyond the limit is an error that says what to do, and the collector of garbage works as before."""
    with pytest.raises(StateSpaceTooLarge, match="more than 3 states; make the world smaller or raise the limit"):
        explore(Graph(DIAMOND), limit=3)
    assert gc.isenabled()


def test_the_collector_stays_off_where_it_was_off() -> None:
    """Who has switched the collector off finds it off afterwards."""
    gc.disable()
    try:
        explore(Graph(DIAMOND, frozenset({3})))
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("kind", "settles"),
    [(Kind.WALK, True), (Kind.BEGIN, True), (Kind.WORLD, True), (Kind.HURT, False), (Kind.FAULT, False)],
    ids=lambda value: value.name if isinstance(value, Kind) else "",
)
def test_it_must_settle_without_new_faults(kind: Kind, settles: bool) -> None:
    """A state from which only a fault leads to rest is stuck."""
    report = explore(Graph({0: [walk(1, kind=kind)]}, frozenset({1})))
    assert (SETTLES not in report.stories) is settles


@pytest.mark.parametrize("kind", [Kind.WALK, Kind.HURT])
def test_a_walk_must_end(kind: Kind) -> None:
    """Steps of walks that come back to where they were have no bound."""
    report = explore(Graph({0: [walk(1, kind=kind)], 1: [walk(0), walk(2)]}, frozenset({2})))
    assert TERMINATES in report.stories


def test_a_circle_through_the_world_is_no_endless_walk() -> None:
    """Walks that are begun again and again each have an end."""
    report = explore(Graph({0: [walk(1, kind=Kind.BEGIN)], 1: [walk(0)]}, frozenset({0})))
    assert report.holds
    assert report.longest_walk == 1


def test_liveness_can_be_left_out() -> None:
    """Only rules broken in a state or by a move are found then."""
    report = explore(Graph({0: [walk(0)]}), liveness=False)
    assert report.holds
    assert (report.states, report.edges, report.longest_walk) == (1, 1, 0)
