"""A counterexample played again: its sentences, each with the states of the processes and the world as text.

The checker keeps sentences. In the world that they come from, each sentence fits one or a few moves, so the course can be
followed again within milliseconds, and a course that no longer fits its world is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .disk import disk_of, numbered
from .world import World

__all__ = ["Frame", "frame", "replayed"]

Frame = dict[str, Any]
"""A moment of a story: `text`, `edges` (`machine.state.outcome`), `at` (location by process), `disk` (numbers of `VALUES`)."""

_Path = list[tuple[int, list[str], str, tuple[int, ...]]]


def replayed(world: World, course: Sequence[str]) -> list[Frame]:
    """The frames of `course`, its beginning first. Raises ValueError for a course that is not possible in `world`."""
    (begin,) = world.initial()
    paths: list[_Path] = [[(begin, world.names(begin), "", ())]]
    for number, sentence in enumerate(course, 1):
        longer: dict[tuple[int, tuple[str, ...]], _Path] = {}
        for path in paths:
            state, names, _, _ = path[-1]
            for move in world.told(state, names):
                if move.text == sentence:
                    step = (move.target, move.names, move.text, move.edges)
                    longer.setdefault((move.target, tuple(move.names)), [*path, step])
        if not longer:
            raise ValueError(f"step {number} is not possible in this world: {sentence}")
        paths = list(longer.values())
    return [frame(world, *step) for step in paths[0]]


def frame(world: World, state: int, names: Sequence[str], text: str, edges: Sequence[int]) -> Frame:
    """`state` as a moment of a replayed story, reached by the move `text` over `edges`."""
    shared, processes = world.opened(state)
    at = sorted(zip(names, processes, strict=True))
    moved = next((process for name, process in at if text.startswith(f"{name}: ")), at[0][1])
    return {
        "text": text,
        "edges": [edge_id(world, number) for number in edges],
        "at": {
            name: str(world.program.locations[process.location]) if process.location else "" for name, process in at
        },
        "disk": numbered(disk_of(shared, moved)),
    }


def edge_id(world: World, number: int) -> str:
    """The address of the edge `number` in a counterexample that is played again: `machine.state.outcome`."""
    edge = world.program.edges[number]
    return f"{edge.machine}.{edge.source}.{edge.event}"
