"""The sign-in as a picture that redraws itself, on a terminal; as lines, while the terminal belongs to another job."""

from __future__ import annotations

import base64
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, suppress
from typing import Self, TextIO, cast

from rich.console import Console, RenderableType
from rich.text import Text

from kimi_auth.cli.job_control import JobControl, in_foreground
from kimi_auth.cli.keys import Keys
from kimi_auth.cli.painter import HIDE_CURSOR, SHOW_CURSOR, Painter
from kimi_auth.cli.terminal import is_tty, one_line
from kimi_auth.cli.view_picture import render
from kimi_auth.cli.view_plain import PlainView
from kimi_auth.cli.view_state import ViewState, finish, fold, interrupt
from kimi_auth.credential.status import LoginReport
from kimi_auth.login.view import Notice
from kimi_auth.support.language import tr

__all__ = ["LiveView"]

FRAME_S = 0.2
REMARK_S = 4.0
"""How long the answer to a key is shown."""

STUCK_S = 1.0
"""A terminal that takes nothing (Ctrl-S) holds a stop up for so long, and no longer."""


class LiveView:
    """A `LoginView` on `console` for the length of a `with` block; q and Esc leave it, o opens the page, c copies the link.

    `line` writes one line of text, for the time in which the terminal belongs to another job. `draw_qr` makes the drawing of
    a link, None for none. `open_page` opens a link in a browser, None where there is none. `text` gives a sentence its language.
    `now_s` is any clock that never goes back, in seconds.
    """

    def __init__(
        self,
        console: Console,
        platform: str,
        *,
        line: Callable[[str], None] = print,
        draw_qr: Callable[[str], Text | None] | None = None,
        open_page: Callable[[str], object] | None = None,
        keys: Keys | None = None,
        text: Callable[[str], str] = str,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state: ViewState = ViewState(platform)
        self._console = console
        self._painter = Painter(console)
        self._lines = PlainView(lambda text: None if self._has_terminal() else line(text), platform)
        self._draw_qr = draw_qr
        self._qr: Text | None = None
        self._open_page = open_page
        self._keys = keys or Keys()
        self._keys.on = {"o": self._open, "c": self._copy}
        self._text = text
        self._now_s = now_s
        self._remark = ("", 0.0)
        self._extra = ""
        self._lock = threading.RLock()
        self._is_shown = self._is_away = False
        self._jobs = JobControl(self._leave, self._come_back)
        self._end = threading.Event()
        self._frames = threading.Thread(target=self._redraw, name="kimi-auth frames", daemon=True)
        self._open_things = ExitStack()

    def __enter__(self) -> Self:
        if is_tty(sys.stderr):
            self._open_things.enter_context(redirect_stderr(cast("TextIO", _Above(self, sys.stderr))))
        self._open_things.enter_context(self._jobs.taken())
        self.tick()
        self._frames.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.state.is_over:
            self.state = interrupt(self.state)
        self._end.set()
        try:
            self._frames.join()
        finally:  # a second Ctrl-C may come meanwhile
            self._open_things.close()
            self.tick()  # the last picture, which stays
            self._leave()

    def picture(self) -> RenderableType:
        """What the terminal shows now."""
        size, now_s = self._console.size, self._now_s()
        remark, until_s = self._remark
        return render(
            self.state,
            now_s,
            size.width,
            size.height,
            qr=self._qr,
            has_keys=self._keys.are_heard,
            remark=remark if now_s < until_s else "",
            text=self._text,
        )

    def tell(self, notice: Notice) -> None:
        if notice.kind == "code" and notice.code is not None and self._draw_qr is not None:
            self._qr = self._draw_qr(notice.code.verification_uri_complete or notice.code.verification_uri)
        self.state = fold(self.state, notice, self._now_s())
        self._lines.tell(notice)

    def finish(self, report: LoginReport) -> None:
        """Draws the last picture of the sign-in, which stays."""
        self.state = finish(self.state, report)
        self._lines.finish(report)

    async def left(self) -> None:
        await self._keys.left()

    def tick(self) -> None:
        """One frame of the live picture, where the terminal is ours; the keyboard and the cursor are taken with the first one."""
        with self._lock, suppress(OSError, ValueError):  # the terminal has gone: the sign-in goes on without it
            if self._is_away or not self._has_terminal():
                return
            if not self._is_shown:
                self._is_shown = True
                self._keys.take()
                self._painter.write(HIDE_CURSOR)
            extra, self._extra = self._extra, ""
            self._painter.draw(self.picture(), extra=extra)

    def above(self, text: str, write: Callable[[str], object]) -> None:
        """Has `write` put `text` above the live picture of the sign-in, which is drawn again below it."""
        with self._lock:
            if self._is_shown and self._has_terminal():
                self._painter.lift()
            write(text)
            self.tick()

    # --- keys ----------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Without the code, as at the beginning of a sign-in: every user of the machine can read a browser's command line."""
        if self.state.is_asking:
            self._say(tr("opening the page") if self._open_page else tr("no browser to open here"))
            if self._open_page is not None:
                self._open_page(self.state.typed_url)

    def _copy(self) -> None:
        """By OSC 52, which reaches the clipboard of the person's own terminal, through SSH too. Terminals may refuse it, and
        none says so."""
        if self.state.is_asking:
            text = base64.b64encode(one_line(self.state.url).encode()).decode()
            self._extra = f"\x1b]52;c;{text}\x07"
            self._say(tr("sent to the clipboard"))

    def _say(self, remark: str) -> None:
        self._remark = (remark, self._now_s() + REMARK_S)

    # --- jobs ----------------------------------------------------------------------------------------------------------

    def _redraw(self) -> None:
        due_s = time.monotonic() + FRAME_S
        while not self._end.wait(FRAME_S):
            if time.monotonic() > due_s + FRAME_S:  # the machine is busy, or the program was stopped
                self._jobs.settle()
            self.tick()
            due_s = time.monotonic() + FRAME_S

    def _has_terminal(self) -> bool:
        try:
            return in_foreground(self._console.file.fileno())
        except (OSError, ValueError):  # it is no file
            return True

    def _leave(self) -> None:
        """The live view leaves the terminal: cursor and keyboard are put back; it draws no frame until `_come_back`."""
        is_free = self._lock.acquire(timeout=STUCK_S)
        try:
            self._is_away = True
            if self._is_shown:
                self._is_shown = False
                self._keys.give_back()
                if is_free and self._has_terminal():
                    with suppress(OSError, ValueError):
                        self._painter.write(SHOW_CURSOR)
            self._painter.forget()
        finally:
            if is_free:
                self._lock.release()

    def _come_back(self) -> None:
        """The next frame begins below what a shell has printed meanwhile."""
        self._painter.forget()
        self._is_shown = self._is_away = False


class _Above:
    """Standard error while a picture is shown: whole lines are written above it."""

    def __init__(self, view: LiveView, stream: TextIO) -> None:
        self._view = view
        self._stream = stream

    def write(self, text: str) -> int:
        self._view.above(text, self._stream.write)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
