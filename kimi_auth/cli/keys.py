"""Listens for single keys on a terminal, unseen, and leaves the terminal as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import termios
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["Keys", "leaves"]

LEAVING = re.compile(rb"[qQ]")
_SEQUENCE = re.compile(rb"\x1b[\[O][ -?]*[@-~]|\x1b[^\x1b]")
"""What arrow and function keys send, and keys pressed with Alt."""

LOOK_S = 0.25
"""How soon a job that has come to the foreground listens."""

ESCAPE_S = 0.05
"""An Esc that nothing follows for so long is the key; sooner, it is the beginning of a sequence."""


class Keys:
    """The keyboard behind descriptor `fd`. Does nothing where that is no terminal, or one of another job.

    `on`: what keys other than q and Esc do, by letter; called in the event loop of `left`.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.on: Mapping[str, Callable[[], object]] = {}
        self._fd = _stdin() if fd is None else fd
        self._saved: list[Any] | None = None

    def take(self) -> None:
        """From now on keys come one by one and unseen."""
        if self._is_ours():
            with contextlib.suppress(termios.error):
                self._saved = termios.tcgetattr(self._fd)
        self._go_raw()

    def give_back(self) -> None:
        """Stops listening for keys: puts the terminal's modes back as they were, unless another job has it now."""
        saved, self._saved = self._saved, None
        if saved is not None and self._is_ours():
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, saved)

    @contextmanager
    def listening(self) -> Generator[Keys, None, None]:
        """Keys come one by one and unseen while the block runs."""
        try:
            self.take()
            yield self
        finally:
            self.give_back()

    @property
    def are_heard(self) -> bool:
        """Whether a key that is pressed now reaches us."""
        return self._saved is not None and self._is_ours()

    async def left(self) -> None:
        """Returns when q or Esc is pressed; never, where no key can be. The job may come and go meanwhile."""
        pressed = asyncio.Event()
        if not _is_terminal(self._fd):
            await pressed.wait()
        loop = asyncio.get_running_loop()
        lone_escape: asyncio.TimerHandle | None = None
        is_reading = has_ended = False

        def read() -> None:
            nonlocal lone_escape, is_reading, has_ended
            if lone_escape is not None:
                lone_escape.cancel()
            data = _read(self._fd) if self.are_heard else None  # reading another job's keys would stop us
            if not data:
                loop.remove_reader(self._fd)
                is_reading, has_ended = False, data is not None
            elif data == b"\x1b":
                lone_escape = loop.call_later(ESCAPE_S, pressed.set)
            elif leaves(data):
                pressed.set()
            else:
                self._act(data)

        try:
            while not pressed.is_set():
                if self.are_heard and not is_reading and not has_ended:
                    self._go_raw()  # a shell may have set its own modes since
                    loop.add_reader(self._fd, read)
                    is_reading = True
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(pressed.wait(), LOOK_S)
        finally:
            loop.remove_reader(self._fd)
            if lone_escape is not None:
                lone_escape.cancel()

    def _act(self, data: bytes) -> None:
        for letter in _SEQUENCE.sub(b"", data).decode("ascii", "replace").lower():
            if (act := self.on.get(letter)) is not None:
                act()

    def _is_ours(self) -> bool:
        """A job in the background must not touch the terminal: it would be stopped."""
        try:
            return _is_terminal(self._fd) and os.getpgrp() == os.tcgetpgrp(self._fd)
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


def _is_terminal(fd: int) -> bool:
    return fd >= 0 and os.isatty(fd)


def _stdin() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return -1
