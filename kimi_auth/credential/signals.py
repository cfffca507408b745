"""The signal handlers below `single_flight`: a signal that would end the process is noted, and acts after the calls in
flight.

SIGTERM and SIGHUP end a process whatever its threads do, and lose a renewal whose answer is under way. While a call is
in flight, our handler notes such a signal; it takes effect when the last call has finished. At any other time the
handler acts as the default does. It replaces only the system's default action: handlers of a program, of its event loop
or of its server stay in charge.

Ctrl-C is not deferred: Python's own handler raises KeyboardInterrupt in the main thread, the call goes on in its
thread, and the interpreter waits for it at exit. So `asyncio.run` finds the handler that it requires before it installs
its own. Ctrl-C is deferred only while the main thread itself does the work (`block`).

Python sets handlers in the main thread only. A call that finishes in another thread therefore leaves ours installed,
and wakes the main thread if a signal was noted.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from kimi_auth.support.language import tr

__all__ = ["HELD", "SAY_AFTER_S", "Announcement", "Deferral", "is_main_thread", "say"]

HELD = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""The deferred signals: a service manager, a closed window and a terminal send them. SIGINT comes last, because
restoring its handler may raise KeyboardInterrupt."""

SAY_AFTER_S = 1.0
"""After this many seconds a deferred end is announced, once."""

AGAIN_S = 0.05


def say(text: str) -> None:
    """Says on stderr, if the process has one, that a deferred signal waits."""
    with suppress(AttributeError, OSError, RuntimeError, ValueError):
        sys.stderr.write(f"kimi-auth: {text}\n")
        sys.stderr.flush()


class Announcement:
    """Tells, once and after `SAY_AFTER_S` seconds, why an end waits."""

    def __init__(self, tell: Callable[[str], object], text: str) -> None:
        self._timer = threading.Timer(SAY_AFTER_S, tell, [text])
        self._timer.daemon = True
        with suppress(RuntimeError):  # no thread can start while the interpreter exits
            self._timer.start()

    def cancel(self) -> None:
        """The end waits no longer."""
        self._timer.cancel()


class Deferral:
    """The signals of this process. `is_busy` returns whether a call is in flight; a signal handler calls it, so it must
    take no lock."""

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self._handler = self._met  # one object: a bound method is a new one each time
        self._before: dict[int, Any] = {}
        self._noted: deque[int] = deque()
        self._guards = 0
        self._blocks = 0
        self._soon: Announcement | None = None
        self._has_met = False
        self._is_announced = False

    @property
    def is_noted(self) -> bool:
        """True while a signal is deferred: the process ends as soon as the calls in flight have finished."""
        return bool(self._noted)

    def take(self) -> None:
        """Installs the handlers before the main thread starts or joins a call; does nothing in other threads."""
        self._take((signal.SIG_DFL,))

    def settle(self) -> None:
        """Restores handlers and delivers a noted signal after a call has finished, in any thread."""
        self._give_back()
        if not (self._blocks or self._is_busy()):
            self._deliver()

    @contextmanager
    def guard(self) -> Generator[None, None, None]:
        """Defers signals to protect the calls of every thread while the block runs. Does nothing outside of the main thread."""
        if not is_main_thread():
            yield
            return
        self._guards += 1
        try:
            self.take()
            yield
        finally:
            self._guards -= 1
            self.settle()

    @contextmanager
    def block(self, *, is_announced: bool = False) -> Generator[None, None, None]:
        """Defers all three signals while the main thread does the work itself; they take effect after the block.
        `is_announced`: the caller has announced the wait already."""
        if not is_main_thread():
            yield
            return
        self._blocks += 1
        was_announced, self._is_announced = self._is_announced, is_announced
        try:
            self._take((signal.SIG_DFL, signal.default_int_handler))
            yield
        finally:
            self._blocks -= 1
            self._is_announced = was_announced
            self.settle()

    def forget(self) -> None:
        """Resets the deferring of signals in a forked child, where an inherited handler acts as the default."""
        self._noted.clear()
        self._guards = self._blocks = 0

    def _take(self, usual: tuple[Any, ...]) -> None:
        if not is_main_thread():
            return
        for number in HELD:
            if (handler := signal.getsignal(number)) in usual:
                self._before[number] = handler
                with suppress(ValueError):  # the main thread of a subinterpreter sets no handlers
                    signal.signal(number, self._handler)

    def _give_back(self) -> None:
        if not is_main_thread():
            return
        try:
            self._restore()
        finally:
            self._restore()  # the rest, if a handler of the host program raised in the middle

    def _restore(self) -> None:
        for number in HELD:
            if signal.getsignal(number) is self._handler and not self._is_needed(number):
                signal.signal(number, self._before[number])

    def _is_needed(self, number: int) -> bool:
        """Python's SIGINT handler is restored when the block exits, so that `asyncio.run` finds it."""
        if callable(self._before[number]):
            return self._blocks > 0
        return self._blocks > 0 or self._guards > 0 or self._is_busy()

    def _met(self, number: int, frame: FrameType | None) -> None:
        self._has_met = True
        if not (self._blocks or self._is_busy()):
            self._act(number, frame)
            return
        self._note(number)
        # If the last call finished before the note, its `settle` found nothing to deliver.
        if not (self._blocks or self._is_busy()):
            self._deliver()

    def _note(self, number: int) -> None:
        if not (self._noted or self._is_announced):
            self._soon = Announcement(say, tr("stopping as soon as the renewal in progress is stored"))
        self._noted.append(number)

    def _act(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if callable(before):
            before(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _deliver(self) -> None:
        """Sends the first noted signal to the main thread: only it runs handlers, and it may be blocked in another
        wait."""
        try:
            number = self._noted.popleft()  # atomic, so exactly one thread delivers it
        except IndexError:
            return
        self._noted.clear()
        if self._soon is not None:
            self._soon.cancel()
        self._has_met = False
        _send_to_main(number)
        wait_s = AGAIN_S
        # A signal that arrives just before the main thread starts to wait for a lock does not end that wait (CPython
        # checks for signals before it, not in it). So it is sent again until our handler has run.
        while not (is_main_thread() or self._has_met) and signal.getsignal(number) is self._handler:
            threading.Event().wait(wait_s)
            wait_s = min(2 * wait_s, SAY_AFTER_S)
            if not self._has_met:
                _send_to_main(number)


def _send_to_main(number: int) -> None:
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        with suppress(ProcessLookupError):  # the main thread has ended
            signal.pthread_kill(main, number)
    else:
        os.kill(os.getpid(), number)


def is_main_thread() -> bool:
    """True in the thread that may set handlers."""
    return threading.current_thread() is threading.main_thread()
