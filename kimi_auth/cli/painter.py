"""A picture that stays in place on a terminal: of each frame only the lines that changed are written.

Lines that are not written again stay selected: a person can mark the link while the clock beside it runs. One frame is one
write, between the marks of synchronized output (DEC private mode 2026), which terminals without it ignore.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rich.color import ColorSystem
from rich.console import Console, RenderableType
from rich.segment import Segment

__all__ = ["Painter"]

BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
CLEAR = "\x1b[2J\x1b[H"
ERASE_LINE, ERASE_BELOW = "\x1b[K", "\x1b[J"

_LINK_ID = re.compile(r"\x1b\]8;id=[^;]*;")
"""rich draws the id of a link by lot for each frame; a line would differ from itself."""


class _Line(NamedTuple):
    """One line as it is written, and how many columns it takes."""

    text: str
    columns: int


class Painter:
    """Draws frames on `console`, one over the other. The cursor waits at the beginning of the line below the frame."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: list[_Line] = []
        self._size: tuple[int, int] | None = None

    def draw(self, picture: RenderableType, *, extra: str = "") -> None:
        """Draws the frame, without what does not fit above the last line. `extra` is written before it as it is.

        A terminal of another size has folded the old lines anew, and their number is not known: it is cleared.
        """
        size = (self._console.size.width, self._console.size.height)
        lines = list(self._rendered(picture, size[0]))[: max(1, size[1] - 1)]
        is_resized = self._size not in {None, size}
        before = [] if is_resized else self._lines
        self._size, self._lines = size, lines
        changes = "".join(_changes(before, lines, size[0]))
        if is_resized or changes or extra:
            self.write(f"{BEGIN}{extra}{CLEAR if is_resized else ''}{changes}{END}")

    def forget(self) -> None:
        """Leaves the picture on the screen as it is: the next frame begins where the cursor is."""
        self._lines, self._size = [], None

    def lift(self) -> None:
        """Takes the picture off the screen, so that something else can be written there."""
        if self._lines:
            self.write(f"\x1b[{len(self._lines)}A\r{ERASE_BELOW}")
        self.forget()

    def write(self, text: str) -> None:
        """Straight to the terminal."""
        self._console.file.write(text)
        self._console.file.flush()

    def _rendered(self, picture: RenderableType, width: int) -> Iterator[_Line]:
        """The lines without blank ends. Colours are the palette's, but for those of a QR code: its fixed ones need 256, which
        every terminal that moves its cursor has had for decades, also under a TERM that does not say so."""
        console = self._console
        names = {None: None, "truecolor": ColorSystem.TRUECOLOR}
        colours = names.get(console.color_system, ColorSystem.EIGHT_BIT)
        options = console.options.update(width=width, height=None)
        for segments in console.render_lines(picture, options, pad=False):
            kept = list(Segment.remove_color(segments)) if console.no_color else list(segments)
            while kept and _is_blank(kept[-1]):
                kept.pop()
            text = "".join(
                segment.style.render(segment.text, color_system=colours) if segment.style else segment.text
                for segment in kept
            )
            yield _Line(_LINK_ID.sub("\x1b]8;id=kimi-auth;", text), Segment.get_line_length(kept))


def _changes(before: list[_Line], lines: list[_Line], width: int) -> Iterator[str]:
    """The lines that changed, as the text that turns the one frame into the other. A line that fills its width is not
    followed by an erasure: the cursor still waits on its last character."""
    at = len(before)
    for number, line in enumerate(lines):
        if number < len(before) and line == before[number]:
            continue
        yield f"{_move(at, number)}\r{line.text}{ERASE_LINE if line.columns < width else ''}"
        at = number
        if number >= len(before):
            yield "\r\n"
            at = number + 1
    if at != len(lines) or len(lines) < len(before):
        yield f"{_move(at, len(lines))}\r"
    if len(lines) < len(before):
        yield ERASE_BELOW


def _move(start: int, end: int) -> str:
    """From one line of the frame to another."""
    return "" if start == end else f"\x1b[{start - end}A" if end < start else f"\x1b[{end - start}B"


def _is_blank(segment: Segment) -> bool:
    style = segment.style
    return not segment.text.strip(" ") and (style is None or not (style.bgcolor or style.underline or style.reverse))
