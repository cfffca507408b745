"""What rich draws on a terminal: a console whose text is clean, and facts beside their labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.containers import Lines
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from kimi_auth.cli.terminal import Row, Styled, shown

__all__ = ["MARGIN", "CleanConsole", "Prose", "grid_of", "sheet_of"]

MARGIN = 2


NEVER_FIRST, NEVER_LAST = frozenset("，。、；：？！）」』”’…"), frozenset("（「『“‘")
"""Characters that begin no line, and that end none (the rules of Chinese typesetting, JLREQ and CLREQ)."""


class Prose(Text):
    """A text that breaks between Chinese characters, which have no blanks; rich alone breaks at blanks only."""

    def wrap(self, console: Console, width: int, **options: Any) -> Lines:
        if self.plain.isascii():
            return super().wrap(console, width, **options)
        lines = Lines()
        for line in self.split(allow_blank=True):
            lines.extend(line.divide(breaks(line.plain, width)))
        for line in lines:
            line.rstrip()
        return lines


def breaks(text: str, width: int) -> list[int]:
    """Where lines of at most `width` cells begin, but for the first; a word that is wider than that is folded."""
    found: list[int] = []
    start, best = 0, 0
    for at in range(1, len(text)):
        if _may_break(text[at - 1], text[at]):
            best = at
        if cell_len(text[start : at + 1].rstrip()) > width:
            folded = at - 1 if text[at] in NEVER_FIRST and at - 1 > start else at
            start = best if best > start else folded
            found.append(start)
    return found


def _may_break(before: str, after: str) -> bool:
    if after == " " or after in NEVER_FIRST or before in NEVER_LAST:
        return False
    return before == " " or 2 in {cell_len(before), cell_len(after)}


def grid_of(rows: Iterable[Row]) -> RenderableType:
    """Facts beside their labels; a fact too long for its line is folded, never cut."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(shown(label), Prose.assemble(*value.pieces) if isinstance(value, Styled) else Prose(shown(value)))
    return Padding(grid, (0, MARGIN))


def sheet_of(rows: Iterable[Row], title: str = "") -> Iterator[RenderableType]:
    """What rich draws of facts beside their labels, under their title."""
    yield Text()
    if title:
        yield Padding(Text(title, style="bold"), (0, MARGIN))
        yield Text()
    yield grid_of(rows)
    yield Text()


class CleanConsole(Console):
    """A console whose escape sequences are its own: text printed on it has none, whatever its origin."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else _clean(segment)


def _clean(segment: Segment) -> Segment:
    style = segment.style
    if style is not None and style.link and shown(style.link) != style.link:
        style = style.update_link(shown(style.link))
    return Segment("\n".join(map(shown, segment.text.split("\n"))), style)
