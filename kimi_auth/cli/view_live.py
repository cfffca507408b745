"""The sign-in as a picture that redraws itself, on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.text import Text

from kimi_auth.cli.keys import Keys
from kimi_auth.cli.view_picture import render
from kimi_auth.cli.view_state import ViewState, finish, fold, interrupt
from kimi_auth.credential.status import LoginReport
from kimi_auth.login.view import Notice

__all__ = ["LiveView"]

FRAMES_PER_S = 5


class LiveView:
    """A `LoginView` on `console` for the length of a `with` block; q and Esc leave it.

    `draw_qr` makes the drawing of a link, None for none. `now_s` is any clock that never goes back, in seconds.
    """

    def __init__(
        self,
        console: Console,
        platform: str,
        *,
        draw_qr: Callable[[str], Text | None] | None = None,
        keys: Keys | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = ViewState(platform)
        self._console = console
        self._draw_qr = draw_qr
        self._qr: Text | None = None
        self._keys = keys or Keys()
        self._now_s = now_s
        self._size: ConsoleDimensions | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._keys.listening())
        live = Live(
            console=self._console,
            get_renderable=self.picture,
            refresh_per_second=FRAMES_PER_S,
            vertical_overflow="crop",
        )
        self._open.enter_context(live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.state.is_over:
            self.state = interrupt(self.state)
        self._open.close()

    def picture(self) -> RenderableType:
        """What the terminal shows now."""
        size, before = self._console.size, self._size
        self._size = size
        picture = render(self.state, self._now_s(), size.width, size.height, qr=self._qr, has_keys=self._keys.are_heard)
        # The terminal has folded the old lines anew, so their number is unknown: drawing begins afresh.
        return picture if before in {None, size} else Group(Control.clear(), Control.home(), picture)

    def tell(self, notice: Notice) -> None:
        self.state = fold(self.state, notice, self._now_s())
        if notice.kind == "code" and self._draw_qr is not None:
            self._qr = self._draw_qr(self.state.url)

    def finish(self, report: LoginReport) -> None:
        """The last picture, which stays."""
        self.state = finish(self.state, report)

    async def left(self) -> None:
        await self._keys.left()
