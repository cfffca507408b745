"""Coverage, a walk or a difference over a machine: marks on its outcomes and states, which the picture shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from .graph import Graph

__all__ = ["NO_OVERLAY", "Mark", "Overlay", "Text", "marks"]

Text = tuple[str, str]
"""The kind (a colour of `styles`, "" for none) of a line of text, and the line."""


class Mark(NamedTuple):
    """`kind` is a colour of `styles`, `note` a few letters beside the outcome, `shorter` the same in fewer letters, for where
    `note` would cover a neighbour. The last of them fits into the room of `graph.NOTE_LETTERS`, the blank before it included.
    """

    kind: str
    note: str = ""
    shorter: tuple[str, ...] = ()

    def at(self, level: int) -> Mark:
        """The mark of an overlay with its note made shorter `level` times, or as often as it can be."""
        return self._replace(note=(self.note, *self.shorter)[min(level, len(self.shorter))])


@dataclass(frozen=True, slots=True)
class Overlay:
    """`caption`: a line under the title. `marks`: by node (state or frame), outcome and target. `states`: kind by state.

    `legend`: the meaning of each kind. `fades`: unmarked arrows are pale. `footer`: lines under the picture.
    """

    caption: str = ""
    marks: Mapping[tuple[str, str, str], Mark] = field(default_factory=lambda: MappingProxyType({}))
    states: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    legend: tuple[Text, ...] = ()
    fades: bool = False
    footer: tuple[Text, ...] = ()


NO_OVERLAY = Overlay()


def marks(
    graph: Graph, mark_of: Callable[[tuple[str, ...], str, str], Mark | None]
) -> dict[tuple[str, str, str], Mark]:
    """A mark for each outcome that is drawn. `mark_of` gets the states that it leaves (several in a frame), its name and
    its target."""
    found = {
        (arrow.source, event, arrow.target): mark_of(graph.members(arrow.source), event, arrow.target)
        for arrow in graph.arrows
        for event in arrow.events
    }
    return {key: mark for key, mark in found.items() if mark is not None}
