"""What SIGINT, SIGTERM and SIGHUP do to a command: end it at once, unless a renewal must not be torn.

Only dispositions that are the system's or Python's default are taken: what the shell set to be ignored (SIGINT of a
background job, SIGHUP under nohup) stays ignored.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, TypeVar

from kimi_auth.credential.signals import HELD, Announcement, is_main_thread
from kimi_auth.credential.single_flight import ask_for_the_end
from kimi_auth.support.language import tr

__all__ = ["Signals", "Stopped"]

T = TypeVar("T")

AGAIN_S = 0.01
WORDS = tr("stopping as soon as the renewal in progress is stored")


class Stopped(BaseException):
    """A signal ended the command; `number` is which. The exit status is 128 and that, as shells count."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_status(self) -> int:
        return 128 + self.number


class Signals:
    """The signals of one command. `say` is told one line when an end has to wait for more than a second."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._taken: dict[int, Any] = {}
        self._is_held = False
        self._noted = 0
        self._soon: Announcement | None = None

    @contextmanager
    def taken(self) -> Generator[Signals, None, None]:
        """While the block runs, the first of the signals raises `Stopped` in the main thread."""
        if is_main_thread():
            usual = (signal.SIG_DFL, signal.default_int_handler)
            self._taken = {number: old for number in HELD if (old := signal.getsignal(number)) in usual}
        hook = sys.unraisablehook
        try:
            sys.unraisablehook = partial(_send_again, hook)
            self._install()
            yield self
        finally:
            sys.unraisablehook = hook
            for number, old in self._taken.items():
                signal.signal(number, old)
            self._taken = {}

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """While the block of a command runs, a signal is noted; it takes effect after the block, however that ends."""
        try:
            with self._holding():
                yield
        finally:
            self._stop_if_noted()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a command's `work` in an event loop of its own. The first signal cancels it, so that it can put things
        down in order; then `Stopped` is raised, unless it has come to its result all the same."""
        with self._holding():
            import asyncio  # most commands do without, and it is what would take longest to load

            try:
                return asyncio.run(self._watched(work))
            except asyncio.CancelledError:
                self._stop_if_noted()
                raise
            finally:
                self._install()

    # --- below: how it is done ---------------------------------------------------------------------------------------

    def _install(self) -> None:
        for number in self._taken:
            signal.signal(number, self._met)

    def _met(self, number: int, _frame: FrameType | None = None) -> None:
        if not self._is_held:
            raise Stopped(number)
        self._note(number)

    def _note(self, number: int) -> bool:
        """True for the first signal to a command: what it sets off is not done twice."""
        if self._noted:
            return False
        self._noted = number
        ask_for_the_end()
        self._soon = Announcement(self._say, WORDS)
        return True

    def _stop_if_noted(self) -> None:
        if self._noted:
            raise Stopped(self._noted)

    @contextmanager
    def _holding(self) -> Generator[None, None, None]:
        self._is_held, self._noted = True, 0
        try:
            yield
        finally:
            self._is_held = False
            ask_for_the_end(is_asked=False)
            if self._soon is not None:
                self._soon.cancel()

    async def _watched(self, work: Coroutine[Any, Any, T]) -> T:
        import asyncio

        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel(number: int) -> None:
            if self._note(number):
                task.cancel()

        for number in self._taken:
            loop.add_signal_handler(number, cancel, number)
        if self._noted:  # it came while the loop was being made
            task.cancel()
        return await work


def _send_again(usual: Callable[[sys.UnraisableHookArgs], object], found: sys.UnraisableHookArgs) -> None:
    """Python code that C code has called back can raise nothing: `Stopped` is lost there, so its signal comes again."""
    if isinstance(found.exc_value, Stopped):
        threading.Thread(target=_raise_later, args=[found.exc_value.number], daemon=True).start()
    else:
        usual(found)


def _raise_later(number: int) -> None:
    """Ends the command after all: sends the signal `number` once the main thread has left the hook, where it would be lost
    again."""
    is_in_hook = True
    while is_in_hook:
        threading.Event().wait(AGAIN_S)
        frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001 - the documented name
        while frame is not None and frame.f_code is not _send_again.__code__:
            frame = frame.f_back
        is_in_hook = frame is not None
    os.kill(os.getpid(), number)
