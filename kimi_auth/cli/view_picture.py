"""A sign-in as a picture for a terminal: a pure function of its state, the time and the size.

A server's text is laid out as plain `Text`, never as markup. The link stands on lines of its own, from the first column
when it is long, so that it can be selected and copied whole; nothing is ever cut short.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from kimi_auth.cli.block_letters import block_letters, can_draw
from kimi_auth.cli.drawing import Prose
from kimi_auth.cli.view_state import STEPS, ViewState
from kimi_auth.login.view import CAUTION, SENT
from kimi_auth.support.language import tr
from kimi_auth.support.text import cells

__all__ = ["render"]

KEYS = (tr("o opens it · c copies the link · q or Esc cancels"), tr("o opens · c copies · q cancels"))

MARGIN = 2
PICTURE_WIDTH = 80
"""Columns that the picture keeps for itself where something stands beside it."""

BAR_MAX = 54
CAUTION_LINES = tr("Approve only\nif you started\nthis sign-in.")
BESIDE = 3
"""Columns between the code and the caution."""

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPINS_PER_S = 5
FULL_HEIGHT = 21
"""Lines that the picture takes with block letters and blank lines, and one for the cursor; a lower terminal gets neither."""

ASKED_HEIGHT = FULL_HEIGHT + 2
"""A lower terminal does not show who asks."""

LINK_LINES_MAX = 4

BLANK = Text()

ACCENT, QUIET, GOOD, WARN, BAD = "bold cyan", "dim", "green", "yellow", "bold red"
_END_MARKS = {"good": ("✓", GOOD), "plain": ("•", WARN), "bad": ("✗", BAD)}


def render(
    state: ViewState,
    now_s: float,
    width: int = 80,
    height: int = 24,
    *,
    qr: Text | None = None,
    has_keys: bool = True,
    remark: str = "",
    text: Callable[[str], str] = str,
) -> RenderableType:
    """The picture of `state` at `now_s` (the clock of its times, seconds) for a terminal of `width` by `height`.

    `qr`: a drawing of the link; where there is no room for it, a line says how much it needs. `has_keys`: whether keys are
    read. `remark`: the answer to one. `text` gives a sentence its language. The last line is always free for the cursor.
    """
    foot = remark, has_keys
    picture = partial(_picture, state, now_s, text=text)
    if qr is None or not state.is_asking:
        return picture(width, height, foot)
    place = _room_for(qr, width, height)
    if not place:
        return Group(picture(width, height - 1, foot), _line(Prose(text(_no_room(qr, width)), style=QUIET)))
    if place == "below":
        return Group(picture(width, height, foot), BLANK, _line(qr))
    grid = Table.grid(padding=(0, BESIDE, 0, 0))
    grid.add_column(width=PICTURE_WIDTH)
    grid.add_row(picture(PICTURE_WIDTH, height, foot), qr)
    return grid


def _picture(
    state: ViewState,
    now_s: float,
    width: int,
    height: int,
    foot: tuple[str, bool],
    *,
    text: Callable[[str], str],
) -> RenderableType:
    title = tr("Sign in to {platform}", platform=state.platform)
    parts: list[RenderableType] = [BLANK, _line(Prose(text(title), style="bold"))]
    if state.is_asking and state.asker and height >= ASKED_HEIGHT:
        asks = tr("{program} asks for access to your account.", program=state.asker)
        parts += [_line(Prose(text(asks))), _line(Prose(text(SENT)))]
    parts.append(BLANK)
    if state.is_asking:
        parts += _question(state, width, height, text)
        parts += [_countdown(state, now_s, width, text), BLANK]
    if state.done or state.is_over:
        parts += _progress(state, text)
    parts += [_line(Prose.assemble(("! ", WARN), text(warning))) for warning in state.warnings]
    parts.append(_mark(state, now_s, text))
    room = width - 2 * MARGIN - 2
    if state.mood in {"waiting", "slowed", "offline"} and (said := _foot(state, now_s, room, *foot, text)):
        parts.append(_line(Text(f"  {said}", style=QUIET)))
    return Group(*(part for part in parts if part is not BLANK or height >= FULL_HEIGHT))


def _question(state: ViewState, width: int, height: int, text: Callable[[str], str]) -> list[RenderableType]:
    room = width - 2 * MARGIN
    is_large = height >= FULL_HEIGHT and can_draw(state.user_code, room)
    task = tr("and type the code ") if state.url == state.typed_url else tr("It must show or ask for the code ")
    page = [_line(Prose(text(tr("Open this page in a browser")))), BLANK, _link(state.url, width), BLANK]
    asked = [
        _line(Prose.assemble(text(task), (state.user_code, "bold" if is_large else ACCENT))),
        BLANK,
        *_code(state, room, is_large, text),
    ]
    # A terminal cuts off the end of a picture that is too high. The code comes first then: the sign-in needs it.
    return [*asked, *page] if len(state.url) > LINK_LINES_MAX * width else [*page, *asked]


def _code(state: ViewState, room: int, is_large: bool, text: Callable[[str], str]) -> list[RenderableType]:
    """The code in the picture, in block letters where they fit, and the caution, beside it where there is room."""
    if not is_large:
        return [_line(Prose(text(CAUTION), style=WARN)), BLANK]
    beside_it = text(CAUTION_LINES)
    code = Text("\n".join(block_letters(state.user_code)), style=ACCENT, no_wrap=True)
    if not can_draw(state.user_code, room - BESIDE - max(map(cells, beside_it.split("\n")))):
        return [_line(code), BLANK, _line(Prose(text(CAUTION), style=WARN)), BLANK]
    beside = Table.grid(padding=(0, BESIDE, 0, 0))
    beside.add_row(code, Text(beside_it, style=WARN))
    return [_line(beside), BLANK]


def _link(url: str, width: int) -> RenderableType:
    """The URL, clickable where the terminal can (OSC 8), folded at the edge where it is longer than a line."""
    text = Text(overflow="fold").append(url, Style(color="cyan", underline=True, link=url))
    return _line(text) if len(url) <= width - 2 * MARGIN else text


def _countdown(state: ViewState, now_s: float, width: int, text: Callable[[str], str]) -> RenderableType:
    left_s = max(0.0, state.ends_at_s - now_s)
    share = min(1.0, left_s / state.life_s) if state.life_s > 0 else 0.0
    words = "  " + text(tr("{clock} left", clock=_clock(left_s)))
    columns = max(0, min(BAR_MAX, width - 2 * MARGIN - cells(words)))
    full = round(columns * share)
    urgent = WARN if share < 0.1 else "cyan"
    return _line(Text.assemble(("━" * full, urgent), ("─" * (columns - full), QUIET), (words, QUIET), no_wrap=True))


def _progress(state: ViewState, text: Callable[[str], str]) -> list[RenderableType]:
    """The steps in the picture: those that are done, ticked off, and while there is still hope those to come."""
    done = dict(state.done)
    lines: list[RenderableType] = []
    for kind, label in STEPS.items():
        if kind in done:
            lines.append(_line(Prose.assemble(("✓ ", GOOD), text(done[kind]))))
        elif not state.is_over:
            lines.append(_line(Prose(f"· {text(label)}", style=QUIET)))
    return [*lines, BLANK] if lines else []


def _mark(state: ViewState, now_s: float, text: Callable[[str], str]) -> RenderableType:
    """A line of the picture of a sign-in: the current step, or how it ended."""
    if state.is_over:
        mark, style = _END_MARKS[state.mood]
        return _line(Prose.assemble((f"{mark} ", style), (text(state.message), "bold")))
    frame = SPINNER[int(now_s * SPINS_PER_S) % len(SPINNER)]
    style = WARN if state.mood in {"slowed", "offline"} else "cyan"
    return _line(Prose.assemble((f"{frame} ", style), text(state.message)))


def _foot(state: ViewState, now_s: float, room: int, remark: str, has_keys: bool, text: Callable[[str], str]) -> str:
    """What the keys do and when the next request goes out, as much as fits on one line; an answer to a key comes first."""
    lines = [text(keys) for keys in KEYS] if has_keys else [""]
    keys = next((keys for keys in lines if cells(keys) <= room), lines[-1])
    said = text(remark or _next_try(state, now_s))
    both = " · ".join(filter(None, (said, keys)))
    return both if cells(both) <= room else text(remark) or keys or said


def _next_try(state: ViewState, now_s: float) -> str:
    wait_s = math.ceil(state.next_at_s - now_s)
    return tr("next try in {seconds} s", seconds=wait_s) if wait_s > 0 else ""


def _room_for(qr: Text, width: int, height: int) -> Literal["beside", "below", ""]:
    columns, lines = _size_of(qr)
    if width >= PICTURE_WIDTH + BESIDE + columns and height > lines:
        return "beside"
    return "below" if width >= columns + 2 * MARGIN and height > FULL_HEIGHT + lines else ""


def _no_room(qr: Text, width: int) -> str:
    """How much room the QR code needs, in the direction that this window can grow in."""
    columns, lines = _size_of(qr)
    wide, high = PICTURE_WIDTH + BESIDE + columns, FULL_HEIGHT + lines + 1
    if width >= columns + 2 * MARGIN:
        return tr("No room for the QR code: it needs {columns} columns or {lines} lines.", columns=wide, lines=high)
    return tr("No room for the QR code: it needs {columns} columns.", columns=wide)


def _size_of(qr: Text) -> tuple[int, int]:
    lines = qr.plain.split("\n")
    return max(map(len, lines)), len(lines)


def _line(content: RenderableType) -> RenderableType:
    return Padding(content, (0, MARGIN))


def _clock(seconds: float) -> str:
    """Time left as m:ss, or h:mm:ss; a second that has begun counts, so that half an hour begins as 30:00."""
    minutes, second = divmod(math.ceil(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
