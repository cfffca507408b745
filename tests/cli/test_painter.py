"""What a terminal shows after each frame of a picture, and which of its lines were written."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from kimi_auth.cli.painter import Painter
from kimi_auth.cli.view_live import LiveView
from kimi_auth.cli.view_state import ViewState, fold
from kimi_auth.login.view import Notice
from kimi_auth.wire import DeviceCode

CODE = DeviceCode(
    device_code="the-device-code",
    user_code="BCDF-GHJK",
    verification_uri="https://auth.example/device",
    verification_uri_complete="https://auth.example/device?user_code=BCDF-GHJK",
    expires_in_s=600.0,
    interval_s=5.0,
)


class Window(io.StringIO):
    """Text is shown as soon as it is written; `written` are the lines of the window that the last write touched."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__()
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self.screen)
        self.written: set[int] = set()

    def write(self, text: str) -> int:
        self.screen.dirty.clear()
        self._stream.feed(text)
        self.written = set(self.screen.dirty)
        return super().write(text)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    def console(self, **more: Any) -> Console:
        size = {"width": self.screen.columns, "height": self.screen.lines}
        return Console(file=self, force_terminal=True, legacy_windows=False, _environ={}, **size, **more)


FRAMES = st.lists(st.lists(st.text("ab ", max_size=10), max_size=6), min_size=1, max_size=6)


@given(frames=FRAMES, above=st.integers(0, 5))
def test_the_window_shows_the_last_frame(frames: list[list[str]], above: int) -> None:
    """Whatever frames follow each other, the last one is whole, the text above has only moved up, and below is nothing."""
    window = Window(10, 8)
    painter = Painter(window.console())
    window.write("".join(f"shell {number}\r\n" for number in range(above)))
    for frame in frames:
        painter.draw(Text("\n".join(frame)))
        shown = [line.rstrip() for line in "\n".join(frame).split("\n")]
        end = window.screen.cursor.y
        assert window.lines[end - len(shown) : end] == shown
        assert not any(window.lines[end:])
        kept = [line for line in window.lines[: end - len(shown)] if line]
        assert kept == [f"shell {number}" for number in range(above)][above - len(kept) :]


def test_a_frame_that_is_too_high() -> None:
    """It loses its end, and the last line stays free for the cursor."""
    window = Window(10, 4)
    painter = Painter(window.console())
    for letter in "ab":
        painter.draw(Text("\n".join(f"{letter}{number}" for number in range(9))))
        assert window.lines == [f"{letter}0", f"{letter}1", f"{letter}2", ""]


def test_a_full_line_keeps_its_last_letter() -> None:
    """An erasure after a line as wide as the window would take its last character."""
    window = Window(10, 4)
    painter = Painter(window.console())
    painter.draw(Text("0123456789"))
    painter.draw(Text("abcdefghij"))
    assert window.lines[:2] == ["abcdefghij", ""]


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 15)])
def test_only_what_changes_is_written(columns: int, lines: int) -> None:
    """While a person waits, the spinner's and the clock's line are written and nothing else: a selected link stays so."""
    window, now_s = Window(columns, lines), [100.0]
    state = fold(ViewState("Kimi Code"), Notice("code", "", code=CODE, left_s=600.0), now_s[0])
    view = LiveView(window.console(), "Kimi Code", now_s=lambda: now_s[0])
    view.state = fold(state, Notice("waiting", "Waiting for your approval.", wait_s=6.0), now_s[0])
    view.tick()
    drawn = window.lines
    touched: set[int] = set()
    for _ in range(20):
        now_s[0] += 0.2
        view.tick()
        touched |= window.written - {window.screen.cursor.y}
    words = [drawn[number] for number in sorted(touched)]
    assert [any(mark in line for mark in (" left", "Waiting", "next try")) for line in words] == [True] * len(words)
    assert 2 <= len(words) <= 3
    link = next(number for number, line in enumerate(drawn) if "https://" in line)
    assert link not in touched


def test_a_frame_is_one_write() -> None:
    """Between the marks of synchronized output; a frame without changes is none."""
    window = Window(20, 8)
    painter = Painter(window.console())
    painter.draw(Text("a\nb"))
    first = window.getvalue()
    assert first.startswith("\x1b[?2026h")
    assert first.endswith("\x1b[?2026l")
    painter.draw(Text("a\nb"))
    assert window.getvalue() == first
    painter.draw(Text("a\nc"))
    assert window.getvalue().removeprefix(first).count("\x1b[?2026h") == 1


def test_a_link_is_the_same_in_every_frame() -> None:
    """rich gives a clickable link another id each time: its line would be written anew for ever."""
    window = Window(80, 24)
    view = LiveView(window.console(), "Kimi Code", now_s=lambda: 100.0)
    view.state = fold(ViewState("Kimi Code"), Notice("code", "", code=CODE, left_s=600.0), 100.0)
    view.tick()
    shown = window.getvalue()
    assert f";{CODE.verification_uri_complete}\x1b\\" in shown
    view.tick()
    assert window.getvalue() == shown


@pytest.mark.parametrize("text", ["kimi-auth: careful\n", "one\ntwo\n"])
def test_diagnostics_stand_above_the_picture(text: str) -> None:
    """What standard error is told meanwhile goes where the picture began, and the picture stays whole below it."""
    window = Window(80, 24)
    view = LiveView(window.console(), "Kimi Code", now_s=lambda: 100.0)
    view.state = replace(view.state, message="Asking.")
    view.tick()
    view.above(text, lambda line: window.write(line.replace("\n", "\r\n")))
    lines = text.splitlines()
    assert window.lines[: len(lines)] == lines
    assert [line for line in window.lines if "Asking." in line] == ["  ⠋ Asking."]
