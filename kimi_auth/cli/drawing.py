"""How rich draws on a terminal: a console whose text is clean, and facts beside their labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.containers import Lines
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from kimi_auth.cli.terminal import PROGRAM, Row, Styled, shown

__all__ = ["MARGIN", "CleanConsole", "Prose", "grid_of", "sheet_of", "table_of"]

MARGIN = 2
APART = 2
"""Columns between two columns of a table."""

CROWDED = 1.25
"""A table that wants so many times the room that there is is broken in most of its cells."""


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
    """Where the lines of prose that rich draws begin, each of at most `width` cells, but for the first. A wider word is
    folded, and a command of ours keeps its name beside it where both fit."""
    found: list[int] = []
    start, best, apart = 0, 0, 0
    for at in range(1, len(text)):
        if text.endswith(f"{PROGRAM} ", 0, at):
            apart = at
        elif _may_break(text[at - 1], text[at]):
            best = at
        if cell_len(text[start : at + 1].rstrip()) > width:
            folded = at - 1 if text[at] in NEVER_FIRST and at - 1 > start else at
            start = next((place for place in (best, apart) if place > start), folded)
            found.append(start)
    return found


def _may_break(before: str, after: str) -> bool:
    if after == " " or after in NEVER_FIRST or before in NEVER_LAST:
        return False
    return before == " " or 2 in {cell_len(before), cell_len(after)}


def grid_of(rows: Iterable[Row]) -> RenderableType:
    """Draws facts beside their labels; a fact too long for its line is folded, never cut."""
    spelt = (
        (label, Prose.assemble(*value.pieces) if isinstance(value, Styled) else Prose(shown(value)))
        for label, value in rows
    )
    return Padding(_facts(spelt), (0, MARGIN))


def _facts(rows: Iterable[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, APART, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(shown(label), text)
    return grid


def table_of(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> RenderableType:
    """Draws rows below their titles; on a terminal too narrow for it, each row as a sheet of its own, without empty facts."""
    wanted = sum(
        max(map(cell_len, (str(column.header), *(row[at].plain for row in rows)))) + APART
        for at, column in enumerate(columns)
    )
    if wanted <= CROWDED * (width - 2 * MARGIN):
        table = Table(*columns, box=None, padding=(0, APART, 0, 0), header_style="dim")
        for row in rows:
            table.add_row(*row)
        return Padding(table, (1, MARGIN))
    titles = [str(column.header) for column in columns]
    sheets = [Padding(_facts(_marked(titles, row)), (0, MARGIN, 1, MARGIN)) for row in rows]
    return Group(Text(), *sheets)


def _marked(titles: Sequence[str], row: Sequence[Text]) -> Iterator[tuple[str, Text]]:
    """The facts of a table's row that are there; a mark, which has no title, stands before the next fact."""
    mark = Text()
    for title, text in zip(titles, row, strict=True):
        if not title:
            mark = text
        elif text:
            yield title, Text.assemble(mark, " ", text) if mark else text
            mark = Text()


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
