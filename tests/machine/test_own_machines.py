"""The machines that this package ships, as the engine room sees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kimi_auth.machine import ACQUIRED, Edge, EdgeRecorder, Library, Machine, digest, edges, steps, walk_sync
from kimi_auth.review.mermaid import mermaid

OWN = Library.load()


@pytest.fixture(params=list(OWN))
def machine(request: pytest.FixtureRequest) -> Machine:
    """Each machine of the package."""
    return OWN[request.param]


def test_it_goes_round_as_data(machine: Machine) -> None:
    """Loaded machines can be written as plain data and loaded again."""
    assert digest(Library.from_data(OWN.data())[machine.name]) == digest(machine)


def test_every_edge_can_be_stepped(machine: Machine) -> None:
    """From the initial state or from a rest state, the engine reaches and takes every declared edge."""
    counting = EdgeRecorder(test=lambda: "")
    for edge in edges(machine):
        _walk_to(machine, edge, counting)
    assert counting.unwalked([machine]) == []


def test_the_picture_is_complete(machine: Machine) -> None:
    """Every state and every outcome stands in the picture."""
    drawn = mermaid(machine)
    for name, state in machine.states.items():
        assert f'state "{name}' in drawn
        assert all(event in drawn for event in state.on)


def test_the_happy_path_ends_well(machine: Machine) -> None:
    """Always answering with the first outcome comes to rest, in a state that is not bad: such is the convention."""

    class Happy:
        def __getattr__(self, activity: str) -> Any:
            walking = {state.activity for state in _all_states(machine) if state.walks}
            first = {state.activity: next(iter(state.on)) for state in _all_states(machine) if state.activity}

            @contextmanager
            def hold(ctx: None) -> Iterator[tuple[str, None]]:
                yield ACQUIRED, ctx

            def hook(ctx: None) -> tuple[str, None]:
                return first[activity], ctx

            return hold if activity in walking else hook

    end, _ = walk_sync(machine, Happy(), None, limit=100)
    assert machine.states[end].tone in ("good", "plain")


def _all_states(machine: Machine) -> list[Any]:
    children = [child for name in machine.states if (child := machine.child(name)) is not None]
    return [*machine.states.values(), *(state for child in children for state in _all_states(child))]


def _walk_to(machine: Machine, goal: Edge, counting: EdgeRecorder) -> None:
    """Walks, as often as it takes, until `goal` has been walked: breadth first over edges, rest states included."""
    paths: dict[str, list[Edge]] = {machine.initial: []}
    queue = [machine.initial]
    for at in queue:
        for edge in (edge for edge in edges(machine) if edge.source == at and edge.target not in paths):
            paths[edge.target] = [*paths[at], edge]
            queue.append(edge.target)
    by_hand = steps(machine, observe=counting)
    started = False
    for edge in [*paths[goal.source], goal]:
        if machine.states[edge.source].is_rest:
            by_hand, started = steps(machine, edge.source, edge.event, observe=counting), True
            next(by_hand, None)
            continue
        if not started:
            next(by_hand)
            started = True
        try:
            by_hand.send(edge.event)
        except StopIteration:
            started = False
