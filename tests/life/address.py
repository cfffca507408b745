"""The address of a recorded walk in the player of the page for reviewers."""

from __future__ import annotations

from collections.abc import Mapping

from kimi_auth.machine.spec import ACQUIRED, Machine, State
from kimi_auth.machine.trace import Walk

__all__ = ["walk_address"]


def walk_address(machines: Mapping[str, Machine], walk: Walk) -> str:
    """The address of a recorded walk in the player: a start, then a word for each outcome. "" if `machines` do not allow
    it, or a part of it is missing."""
    root, first = walk.machine, walk.traced[0]
    if root not in machines:
        return ""
    begins_at_rest = first.machine == root and first.source != machines[root].initial
    words = [f"{root}.{first.source}" if begins_at_rest else root]
    stack = [(root, first.source if begins_at_rest else machines[root].initial)]
    implied: list[tuple[str, str, str]] = []
    for traced in walk.traced:
        step = (traced.machine, traced.source, traced.event)
        if implied:  # the end of a child is an outcome of its parent, which is no choice
            if step != implied.pop(0):
                return ""
            continue
        child = _state(machines, stack[-1]).walks or ""
        if child and child == traced.machine:
            words.append(ACQUIRED)
            stack.append((child, machines[child].initial))
        elif child and traced.event in machines[child].rest:
            return ""  # the end of a child that was not walked
        if step[:2] != stack[-1] or _state(machines, stack[-1]).on.get(traced.event) != traced.target:
            return ""
        words.append(traced.event)
        stack[-1] = (traced.machine, traced.target)
        while len(stack) > 1 and _state(machines, stack[-1]).is_rest:
            _, end = stack.pop()
            parent = stack[-1]
            implied.append((*parent, end))
            stack[-1] = (parent[0], _state(machines, parent).on[end])
    return "/".join(["walk", *words])


def _state(machines: Mapping[str, Machine], at: tuple[str, str]) -> State:
    machine, state = at
    return machines[machine].states[state]
