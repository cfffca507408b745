"""Listens for q and Esc on a terminal, one key at a time, and leaves the terminal as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import termios
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

__all__ = ["Keys", "leaves"]

LEAVING = re.compile(rb"[qQ]")
_SEQUENCE = re.compile(rb"\x1b[\[O][ -?]*[@-~]|\x1b[^\x1b]")
"""What arrow and function keys send, and keys pressed with Alt."""

ESCAPE_S = 0.05
"""An Esc that nothing follows for so long is the key; sooner, it is the beginning of a sequence."""


class Keys:
    """The keyboard behind descriptor `fd`. Does nothing where that is no terminal, or where another job owns it."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = _stdin() if fd is None else fd
        self._saved: list[Any] | None = None

    @contextmanager
    def listening(self) -> Generator[Keys, None, None]:
        """Keys come one by one and unseen while the block runs."""
        if self._is_ours():
            with contextlib.suppress(termios.error):
                self._saved = termios.tcgetattr(self._fd)
        try:
            self._go_raw()
            yield self
        finally:
            if self._saved is not None and self._is_ours():
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)
            self._saved = None

    @property
    def are_heard(self) -> bool:
        """Whether a key that is pressed now reaches us."""
        return self._saved is not None and self._is_ours()

    async def left(self) -> None:
        """Returns when q or Esc is pressed; never without a keyboard."""
        pressed = asyncio.Event()
        if self._saved is None or not self._is_ours():
            await pressed.wait()
        self._go_raw()  # again, should the job have been stopped and continued meanwhile
        loop = asyncio.get_running_loop()
        lone_escape: asyncio.TimerHandle | None = None

        def read() -> None:
            nonlocal lone_escape
            if lone_escape is not None:
                lone_escape.cancel()
            data = _read(self._fd)
            if not data:
                loop.remove_reader(self._fd)
            elif data == b"\x1b":
                lone_escape = loop.call_later(ESCAPE_S, pressed.set)
            elif leaves(data):
                pressed.set()

        loop.add_reader(self._fd, read)
        try:
            await pressed.wait()
        finally:
            loop.remove_reader(self._fd)
            if lone_escape is not None:
                lone_escape.cancel()

    def _is_ours(self) -> bool:
        """A job in the background must not touch the terminal: it would be stopped."""
        try:
            return os.isatty(self._fd) and os.getpgrp() == os.tcgetpgrp(self._fd)
        except OSError:
            return False

    def _go_raw(self) -> None:
        if self._saved is None:
            return
        attributes = [*self._saved]
        attributes[3] &= ~(termios.ECHO | termios.ICANON)  # Ctrl-C keeps its meaning
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSANOW, attributes)


def leaves(data: bytes) -> bool:
    """True if q was pressed among these bytes, whatever other keys were."""
    return bool(LEAVING.search(_SEQUENCE.sub(b"", data))) or data.endswith(b"\x1b\x1b")


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 256)
    except OSError:
        return b""


def _stdin() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return -1
