"""Whether two machines behave alike, and if not, the shortest sequence of outcomes after which an observer sees it.

Both machines take the same outcomes side by side, breadth first. An observer sees what runs in a state, what it holds and
walks, the name and tone of a rest state, and which outcomes a state takes. The name of a working state is invisible: two
machines that differ in such names only are equivalent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kimi_auth.machine.spec import Machine

__all__ = ["Pair", "Witness", "disagreement", "goes", "observed", "way_to"]

Pair = tuple[str, str]
"""The state of each of the two machines at one moment."""


class Witness(NamedTuple):
    """After `events`, from the initial state on, one machine is observed as `before` and the other as `after`."""

    events: tuple[str, ...]
    before: str
    after: str

    def __str__(self) -> str:
        way = " → ".join(self.events) or "at the very beginning"
        return f"{way}: {self.before}, now {self.after}"


def disagreement(before: Machine, after: Machine, start: Pair | None = None) -> Witness | None:
    """The first observable difference when two machines are walked side by side; None if they are equivalent.

    `start`: the states to begin in, default both initial ones. The shortest; of several, the first in file order.
    """
    for pair, path in _side_by_side(before, after, start or (before.initial, after.initial)):
        if found := _difference_in(before, after, pair, path):
            return found
    return None


def way_to(before: Machine, after: Machine, goals: set[Pair]) -> tuple[tuple[str, ...], Pair] | None:
    """The shortest sequence of outcomes that takes two machines, side by side, to a pair of `goals`, and that pair."""
    for pair, path in _side_by_side(before, after, (before.initial, after.initial)):
        if pair in goals:
            return path, pair
    return None


def observed(machine: Machine, name: str) -> str:
    """A state as an observer sees it, who cannot see the names of working states."""
    state = machine.states[name]
    if state.is_rest:
        return f"rests in {name} ({state.tone})"
    holds = state.holds or machine.holds
    held = f" holding {holds}" if holds else " holding nothing"
    return f"runs {state.activity}{held}" + (f" and walks {state.walks}" if state.walks else "")


def goes(target: str | None) -> str:
    """Where an outcome leads in machines that may not behave alike; None for one that the state does not declare: the
    walk ends with an error there."""
    return f"goes to {target}" if target else "is no declared outcome"


def _side_by_side(before: Machine, after: Machine, first: Pair) -> Iterator[tuple[Pair, tuple[str, ...]]]:
    """Every pair of states that both can be in after the same outcomes, nearest first, with those outcomes."""
    paths: dict[Pair, tuple[str, ...]] = {first: ()}
    queue = [first]
    for pair in queue:
        yield pair, paths[pair]
        one, other = before.states[pair[0]].on, after.states[pair[1]].on
        for event in (event for event in one if event in other):
            following = (one[event], other[event])
            if following not in paths:
                paths[following] = (*paths[pair], event)
                queue.append(following)


def _difference_in(before: Machine, after: Machine, pair: Pair, path: tuple[str, ...]) -> Witness | None:
    seen = observed(before, pair[0]), observed(after, pair[1])
    if seen[0] != seen[1]:
        return Witness(path, *seen)
    one, other = before.states[pair[0]], after.states[pair[1]]
    for event in [*one.on, *other.on]:
        if (event in one.on) != (event in other.on):
            return Witness((*path, event), goes(one.on.get(event)), goes(other.on.get(event)))
    return None
