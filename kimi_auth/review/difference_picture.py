"""A difference as an overlay: the new machine's drawing with its changes in colour, and below it the list of changes.

Only the new machine is drawn, so a reviewer sees the machine that will run, in the layout of its page. A drawing of it cannot
show a state or an outcome that it no longer has: those are listed below it, and a state that lost an outcome is marked.
"""

from __future__ import annotations

from kimi_auth.machine.spec import Machine

from .equivalence import observed
from .graph import NOTE_LETTERS, Graph
from .overlay import Mark, Overlay, Text, marks

__all__ = ["overlay"]

_NOTES = {"added": "new", "changed": "moved"}
_LEGEND = (
    ("added", "new"),
    ("changed", "leads elsewhere, works differently, or lost an outcome"),
    ("removed", "gone: listed below"),
)


def overlay(before: Machine | None, after: Machine | None, graph: Graph, footer: tuple[Text, ...] = ()) -> Overlay:
    """The marks of a change from `before` to `after` on the graph of `after`; `footer`: the list of changes.

    A machine that only one revision has (the other is None) gets a caption and no marks.
    """
    if before is None or after is None:
        caption = "a new machine" if before is None else "this machine is gone"
        return Overlay(caption, footer=footer)

    def mark_of(sources: tuple[str, ...], event: str, target: str) -> Mark | None:
        known = {source: _target(before, source, event) for source in sources}
        changed = [source for source, old in known.items() if old != target]
        if not changed:
            return None
        kind = "changed" if any(known[source] for source in changed) else "added"
        return Mark(kind, _NOTES[kind] if changed == list(sources) else _some(changed, sources))

    found = marks(graph, mark_of)
    states = {name: kind for name in after.states if (kind := _state_kind(before, after, name))}
    kinds = {*states.values(), *(mark.kind for mark in found.values()), *(kind for kind, _ in footer)}
    legend = tuple(line for line in _LEGEND if line[0] in kinds)
    return Overlay("changes in this revision", found, states, legend, fades=True, footer=footer)


def _some(changed: list[str], sources: tuple[str, ...]) -> str:
    """The state of a frame that has changed, by name if its label has room for it, or how many of them."""
    (first, *others) = changed
    return first if not others and len(first) < NOTE_LETTERS else f"{len(changed)}/{len(sources)}"


def _target(machine: Machine, state: str, event: str) -> str | None:
    known = machine.states.get(state)
    return known.on.get(event) if known else None


def _state_kind(before: Machine, after: Machine, name: str) -> str:
    """How a state of `after` has changed: "" if at most its targets and sentences did, which its arrows and the list show."""
    if name not in before.states:
        return "added"
    has_lost = not before.states[name].on.keys() <= after.states[name].on.keys()
    is_entry = (before.initial == name) != (after.initial == name)
    is_other = observed(before, name) != observed(after, name)
    return "changed" if has_lost or is_entry or is_other else ""
