"""What rich draws on a terminal: a console whose text is clean, and facts beside their labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from kimi_auth.cli.terminal import Row, Styled, shown

__all__ = ["MARGIN", "CleanConsole", "grid_of", "sheet_of"]

MARGIN = 2


def grid_of(rows: Iterable[Row]) -> RenderableType:
    """Facts beside their labels; a fact too long for its line is folded, never cut."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(shown(label), Text.assemble(*value.pieces) if isinstance(value, Styled) else shown(value))
    return Padding(grid, (0, MARGIN))


def sheet_of(rows: Iterable[Row], title: str = "") -> Iterator[RenderableType]:
    """The facts under their title, one part after the other."""
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
