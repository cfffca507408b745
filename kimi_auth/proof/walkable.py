"""One process, followed step by step: every state that it can come to, and every move, as data for a player.

The process meets everything that the checker's worlds have: it may die at any step, answers are lost, servers are busy,
proxies answer, time passes. Other parties interfere once: a full disk, a spoiled record, a new login, a logout (and then
a new login), a program without our lock. States that look the same and lead on in the same ways are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kimi_auth.machine import Machine

from .disk import COLUMNS, ON_DISK, VALUES, VOID, Disk, disk_of, numbered
from .effects import Config
from .replay import edge_id
from .state import ABSENT, EMPTY
from .world import ToldMove, World

__all__ = ["Walkable", "dying", "gates", "walkable"]

WORLD = Config(processes=1, logins=1, logouts=1, spoils=1, any_need=False, gives_up=True, old_program=True, hidden=True)

FOREIGN_MOVES = ("takes no more", "is spoiled", "another OAuth host", "an old program")
INTERFERES = (*FOREIGN_MOVES, "a new login", ", logout:")
"""Moves of which a walk meets one, by a part of their sentence."""

LEFT_OUT = ("rejected:", "a late request", "an old program renews")
"""Moves that lead to states which look like others: they would make the world three times as large."""

SENDS = "sends the refresh token"
DIES = "is killed"


class Label(NamedTuple):
    """What a move is called: its sentence, a word for an address, the edges that it walks."""

    text: str
    word: str
    edges: tuple[str, ...]


@dataclass(slots=True)
class Walkable:
    """`states`: (location, disk) by number, state 0 first; `moves`: by state, (label, target) each."""

    locations: list[str] = field(default_factory=list)
    disks: list[Disk] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    states: list[tuple[int, int]] = field(default_factory=list)
    moves: list[list[tuple[int, int]]] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """The player's data, as JSON. States and moves are flat lists; the values of a disk are numbers into `VALUES`."""
        return {
            "columns": list(COLUMNS),
            "on disk": len(ON_DISK),
            "values": list(VALUES),
            "locations": self.locations,
            "labels": [[label.text, label.word, list(label.edges)] for label in self.labels],
            "disks": [numbered(disk) for disk in self.disks],
            "states": [value for state in self.states for value in state],
            "moves": [[value for move in moves for value in move] for moves in self.moves],
        }


def walkable(machines: Mapping[str, Machine], config: Config = WORLD) -> Walkable:
    """The states and moves of the one process in `machines`; `config` may be another world of one process."""
    return _merged(*_explored(World(machines, config, chained=False)))


def _explored(world: World) -> tuple[list[tuple[str, Disk]], list[list[tuple[Label, int]]]]:
    (begin,) = world.initial()
    order = [(begin, False)]
    numbers = {order[0]: 0}
    views: list[tuple[str, Disk]] = []
    moves: list[list[tuple[Label, int]]] = []
    for state, is_over in order:  # it grows
        shared, (process,) = world.opened(state)
        location = str(world.program.locations[process.location]) if process.location else ""
        views.append((location, disk_of(shared, process)))
        moves.append([])
        for move in world.told(state, [""]):
            signs_in_again = shared.record in (EMPTY, ABSENT) and "a new login" in move.text
            interferes = any(part in move.text for part in INTERFERES) and not signs_in_again
            if (interferes and is_over) or any(part in move.text for part in LEFT_OUT):
                continue
            after = (move.target, is_over or interferes)
            if after not in numbers:
                numbers[after] = len(order)
                order.append(after)
            moves[-1].append((_label(world, move), numbers[after]))
    return views, moves


def _label(world: World, move: ToldMove) -> Label:
    text = move.text.removeprefix(": ")
    edges = tuple(edge_id(world, number) for number in move.edges)
    if "--" in text:
        word = text.partition("--")[2].partition("--")[0]
    elif text.startswith("finds "):
        word = text.partition(", ")[2].partition(":")[0]
    else:
        word = "-".join(text.rpartition(": ")[2].replace(",", "").replace("'", "").split()[:6])
    return Label(text, word, edges)


def _merged(views: list[tuple[str, Disk]], moves: list[list[tuple[Label, int]]]) -> Walkable:
    """The coarsest merging for the player under which equal states of the one process look alike and have equal moves."""
    ids: dict[object, int] = {}
    classes = [ids.setdefault(view, len(ids)) for view in views]
    count = 0
    while len(ids) > count:
        count, ids = len(ids), {}
        keys = (
            (classes[at], frozenset((label, classes[target]) for label, target in each))
            for at, each in enumerate(moves)
        )
        classes = [ids.setdefault(key, len(ids)) for key in keys]
    found = Walkable()
    places: dict[str, int] = {}
    disks: dict[Disk, int] = {}
    labels: dict[Label, int] = {}
    for at, (location, disk) in enumerate(views):
        if classes[at] < len(found.states):
            continue  # an equal state came first
        place = places.setdefault(location, len(places))
        found.states.append((place, disks.setdefault(disk, len(disks))))
        each = dict.fromkeys((labels.setdefault(label, len(labels)), classes[target]) for label, target in moves[at])
        found.moves.append(list(each))
    found.locations, found.disks, found.labels = list(places), list(disks), list(labels)
    return found


# --- what a reader asks -------------------------------------------------------------------------------------------------


def dying(world: Walkable) -> dict[str, dict[str, list[str]]]:
    """By location of the one process: the files that its death may leave there, each column with its possible values.

    Only our own program touched the disk before; a location that another program's interference alone leads to has the
    files that this leaves.
    """
    foreign = {number for number, label in enumerate(world.labels) if any(part in label.text for part in FOREIGN_MOVES)}
    found = _left_by_deaths(world, _reachable(world, foreign))
    every = _left_by_deaths(world, set(range(len(world.states))))
    return {
        place: {column: sorted(values, key=VALUES.index) for column, values in {**every, **found}[place].items()}
        for place in sorted(every)
    }


def _left_by_deaths(world: Walkable, states: Iterable[int]) -> dict[str, dict[str, set[str]]]:
    found: dict[str, dict[str, set[str]]] = {}
    for state in states:
        place, seen = world.states[state]
        for label, target in world.moves[state]:
            if world.labels[label].text == DIES:
                disk = world.disks[world.states[target][1]]
                columns = found.setdefault(world.locations[place], {column: set() for column in ON_DISK})
                for column, value, before in zip(ON_DISK, disk, world.disks[seen], strict=False):
                    # The model forgets files of an older pair with the walk that knows of them; on disk they stay.
                    columns[column].add(before if before == VOID else value)
    return found


def gates(world: Walkable) -> list[str]:
    """The edges in the player without which its one process sends no refresh token a second time, but still a first time."""
    again = [
        (state, target)
        for state, moves in enumerate(world.moves)
        for label, target in moves
        if SENDS in world.labels[label].text and "second" in world.disks[world.states[target][1]][-1]
    ]
    once = [
        (state, target)
        for state, moves in enumerate(world.moves)
        for label, target in moves
        if SENDS in world.labels[label].text and (state, target) not in again
    ]
    every = dict.fromkeys(edge for label in world.labels for edge in label.edges)
    return [
        edge
        for edge in every
        if not _comes_to(world, edge, (state for state, _ in again))
        and _comes_to(world, edge, (state for state, _ in once))
    ]


def _comes_to(world: Walkable, without: str, states: Iterable[int]) -> bool:
    """True if a walk that never takes the edge `without` comes to one of `states`."""
    shut = {number for number, label in enumerate(world.labels) if without in label.edges}
    return not _reachable(world, shut).isdisjoint(states)


def _reachable(world: Walkable, shut: set[int]) -> set[int]:
    """The states of the one process that moves without a label of `shut` lead to."""
    seen, front = {0}, [0]
    while front:
        for label, target in world.moves[front.pop()]:
            if label not in shut and target not in seen:
                seen.add(target)
                front.append(target)
    return seen
