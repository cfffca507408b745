"""Ctrl-Z, `fg`, `bg` and Ctrl-\\ for a command that has changed its terminal: it is put back before the command stops.

Only the system's own dispositions are replaced: what the parent set to be ignored stays ignored.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["JobControl", "in_foreground"]

SETTLE_S = 1.0
"""A main thread that is in a long call of the system's does not come back sooner."""


def in_foreground(fd: int) -> bool:
    """False where the terminal `fd` belongs to another job now; True for a terminal that controls no job."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return True


class JobControl:
    """`leave` puts the terminal back, before the command stops or dies; `come_back` is called when it goes on.

    Both run in the main thread, wherever that is, and must neither raise nor wait for it.
    """

    def __init__(self, leave: Callable[[], None], come_back: Callable[[], None]) -> None:
        self._leave = leave
        self._come_back = come_back
        self._is_stopping = False
        self._is_settled = threading.Event()

    @contextmanager
    def taken(self) -> Generator[None, None, None]:
        """Installs the handlers of Ctrl-Z for the length of the block. Elsewhere than in the main thread it does nothing."""
        known: dict[int, Any] = {
            signal.SIGTSTP: self._stop,
            signal.SIGCONT: self._go_on,
            signal.SIGQUIT: self._quit,
            signal.SIGWINCH: lambda *_: self._is_settled.set(),
        }
        taken: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            taken = {number: handler for number, handler in known.items() if signal.getsignal(number) == signal.SIG_DFL}
        try:
            for number, handler in taken.items():
                signal.signal(number, handler)
            yield
        finally:
            for number in taken:
                signal.signal(number, signal.SIG_DFL)

    def settle(self) -> None:
        """For another thread: returns when the main thread has run the handlers of all signals that came before.

        Python runs them between two steps of the main thread, in the order of their numbers: a SIGWINCH that has been met says
        that a SIGCONT has. Without this, a thread that wakes first after a stop draws where the shell has written since.
        """
        self._is_settled.clear()
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, signal.SIGWINCH)
            self._is_settled.wait(SETTLE_S)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._leave()
        self._is_stopping = True
        signal.signal(number, signal.SIG_DFL)
        # To this thread: another one might meet the signal later, when the handler is back.
        signal.pthread_kill(threading.get_ident(), number)
        signal.signal(number, self._stop)
        self._come_back()

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        """After SIGSTOP, which no program hears; after Ctrl-Z, `_stop` goes on by itself."""
        if self._is_stopping:
            self._is_stopping = False
        else:
            self._come_back()

    def _quit(self, number: int, _frame: FrameType | None) -> None:
        self._leave()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
