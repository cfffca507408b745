"""What is drawn over a machine: a mark and a note for each outcome of each place, whatever the measuring was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from .sketch import Sketch

__all__ = ["NOTHING", "Mark", "Overlay", "marks"]


class Mark(NamedTuple):
    """`kind` is a colour of `palette`, `note` a few letters beside the outcome."""

    kind: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Overlay:
    """`caption`: a line under the title. `marks`: by place (state or frame), outcome and target. `states`: kind by state.

    `legend`: what the kinds mean here. `fades`: whether what is not marked steps back. `story`: lines under the picture.
    """

    caption: str = ""
    marks: Mapping[tuple[str, str, str], Mark] = field(default_factory=lambda: MappingProxyType({}))
    states: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    legend: tuple[tuple[str, str], ...] = ()
    fades: bool = False
    story: tuple[str, ...] = ()


NOTHING = Overlay()


def marks(drawn: Sketch, judge: Callable[[tuple[str, ...], str, str], Mark | None]) -> dict[tuple[str, str, str], Mark]:
    """A mark for each outcome that is drawn; `judge` sees the states it leaves (several in a frame), its name and where it
    leads."""
    judged = {
        (arrow.source, event, arrow.target): judge(drawn.members(arrow.source), event, arrow.target)
        for arrow in drawn.arrows
        for event in arrow.events
    }
    return {key: mark for key, mark in judged.items() if mark is not None}
