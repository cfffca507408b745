"""Tables for people: 80 columns on a terminal, or Markdown for docs/measured.md, under a line that says what they hold for."""

from __future__ import annotations

import os
import platform
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["NONE", "WIDTH", "Table", "busy", "machine_class", "number"]

WIDTH = 80
NONE = "–"
"""Shown where nothing was measured; a note below the table says why."""


@dataclass(frozen=True)
class Table:
    """`head` names the columns, the first one what each row is about; `notes` stand below."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """For a terminal: names to the left, everything else to the right."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.head))]
        widths[0] = max(widths[0], WIDTH - sum(widths[1:]) - 2 * len(widths))
        body = [
            "  " + "  ".join(_placed(cell, width, at) for at, (cell, width) in _cells(line, widths)) for line in lines
        ]
        notes = [textwrap.fill(note, WIDTH, initial_indent="  * ", subsequent_indent="    ") for note in self.notes]
        return "\n".join([self.title, *(line.rstrip() for line in body), *notes])

    def markdown(self) -> str:
        """For docs/measured.md."""
        rule = ("---", *("---:" for _ in self.head[1:]))
        lines = [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in (self.head, rule, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines, "", *(f"- {note}" for note in self.notes)]).rstrip()


def _cells(line: tuple[str, ...], widths: list[int]) -> Iterable[tuple[int, tuple[str, int]]]:
    return enumerate(zip(line, widths, strict=True))


def _placed(cell: str, width: int, at: int) -> str:
    return cell.rjust(width) if at else cell.ljust(width)


def number(value: float) -> str:
    """Three digits that count: 0.213, 2.13, 21.3, 213, 2,130."""
    magnitude = abs(value)
    digits = 0 if magnitude >= 100 else 1 if magnitude >= 10 else 2 if magnitude >= 1 else 3
    return f"{value:,.{digits}f}"


def machine_class(folder: Path) -> str:
    """What the figures hold for, without naming anything: the day, processor, cores, system, file system, Python."""
    release = re.match(r"\d+\.\d+", platform.release())
    parts = (
        f"{datetime.now(UTC):%Y-%m-%d}",
        f"{_usable_cores()} cores of {_processor()}",
        f"{platform.system()} {release[0] if release else ''}".strip(),
        _file_system(folder),
        f"{platform.python_implementation()} {platform.python_version()}",
    )
    return ", ".join(part for part in parts if part)


def busy() -> str:
    """A warning where other programs have been at work: figures taken then are not to be published."""
    load = os.getloadavg()[0]
    return f"the machine is busy (load {load:.1f}): these figures are a trial" if load > 0.5 else ""


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8", "replace"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the file system that holds `folder`: the last mount whose mount point is above it."""
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    mounts = [(Path(line.split()[1]), line.split()[2]) for line in lines]
    above = [(len(place.parts), at, kind) for at, (place, kind) in enumerate(mounts) if folder.is_relative_to(place)]
    return max(above)[2] if above else ""
