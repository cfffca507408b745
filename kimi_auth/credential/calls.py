"""One run of a function in its own thread, and the handles of the callers that wait for its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from kimi_auth.errors import Unreachable
from kimi_auth.support.language import tr
from kimi_auth.support.loops import signal_here, within

__all__ = ["Call", "CallThread", "Waiter"]

Result = TypeVar("Result")


class Waiter(Generic[Result]):
    """One caller's handle on a call. A second Ctrl-C may interrupt the caller anywhere. A lock in Python, as a `Future`
    has, could then stay locked and block the call for ever; `SimpleQueue` does its locking in C.

    `settle` is called in the caller's thread when its wait ends: signals that waited with it may act now.
    """

    def __init__(self, settle: Callable[[], None] = lambda: None) -> None:
        self._outcome: SimpleQueue[tuple[Result | None, BaseException | None]] = SimpleQueue()
        self._settle = settle
        self._wake: Callable[[], object] | None = None

    def set_result(self, result: Result | None, failure: BaseException | None) -> None:
        """The call passes its function's result or exception, once. Never blocks."""
        self._outcome.put((result, failure))
        if self._wake is not None:
            with suppress(RuntimeError):  # the loop is closed, so its waiter is gone
                self._wake()

    def wait(self, timeout_s: float | None = None) -> None:
        """Returns when the call has finished, also if it failed. Raises TimeoutError."""
        try:
            self._outcome.put(self._outcome.get(timeout=timeout_s))  # put back for `result` and later waits
        except Empty:
            raise TimeoutError("the call has not finished yet") from None

    def result(self, timeout_s: float | None = None) -> Result:
        """Waits for the call in this thread and returns its result. Raises TimeoutError, and the function's
        exception."""
        try:
            self.wait(timeout_s)
        finally:
            self._settle()
        return self._result()

    async def wait_async(self, timeout_s: float | None = None) -> Result:
        """Waits for the call in this event loop and returns its result. Raises TimeoutError, and the function's
        exception."""
        woken = signal_here()
        self._wake = woken.set
        try:
            if self._outcome.empty():  # checked after `_wake` is set, so no result is missed in between
                await within(timeout_s, woken.wait)
        finally:
            self._settle()
        return self._result()

    def _result(self) -> Result:
        outcome = self._outcome.get()
        self._outcome.put(outcome)
        result, failure = outcome
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]


class CallThread(threading.Thread):
    """Runs one call and nothing else. It outlives its call by a moment, in which it needs no other call."""


class Call(Generic[Result]):
    """One run of a function, and its waiters."""

    def __init__(self, work: Callable[[], Result], settle: Callable[[], None] = lambda: None) -> None:
        self._work = work
        self._settle = settle
        self._gate = threading.Lock()
        self._waiters: list[Waiter[Result]] = []
        self.has_started: bool = False
        self.is_done: bool = False
        self.thread: threading.Thread | None = None

    @classmethod
    def with_first_waiter(
        cls, work: Callable[[], Result], settle: Callable[[], None]
    ) -> tuple[Call[Result], Waiter[Result]]:
        """A call that has not started, and its first caller's waiter."""
        call, waiter = cls(work, settle), Waiter[Result](settle)
        call._waiters.append(waiter)
        return call, waiter

    def join(self) -> Waiter[Result] | None:
        """A new waiter, or None if the call has finished."""
        with self._gate:
            if self.is_done:
                return None
            waiter = Waiter[Result](self._settle)
            self._waiters.append(waiter)
            return waiter

    def wait(self, patience_s: float) -> None:
        """Returns when the call has finished, also if it failed. Raises TimeoutError."""
        waiter = self.join()
        if waiter is not None:
            waiter.wait(patience_s)

    @property
    def never_started(self) -> bool:
        """True if the call can never finish: a signal handler's exception came between creating it and starting its
        thread."""
        return not self.is_done and not (self.thread is not None and self.thread.is_alive())

    def start(self, run: Callable[[], None], *, is_ending: bool) -> bool:
        """Starts `run` in its own thread; False if the caller must run it: the interpreter `is_ending` and waits for no
        new thread, or none can be had."""
        if not is_ending:
            self.thread = CallThread(target=run, name="kimi-auth renewal", daemon=False)
            try:
                self.thread.start()
            except RuntimeError:  # no thread can start while the interpreter exits, or the system gives none
                pass
            else:
                return True
        self.thread = threading.current_thread()
        if self.thread.daemon:
            self._work = _refuse  # the interpreter stops daemon threads anywhere, and an answer under way would be lost
        return False

    def run(self) -> None:
        failure: BaseException | None = None
        result: Result | None = None
        self.has_started = True
        try:
            result = self._work()
        except BaseException as raised:  # noqa: BLE001 - not swallowed: every caller gets it
            failure = raised
        # Done and its list of waiters change together: `join` after it would add a waiter that is never told.
        with self._gate:
            self.is_done = True
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.set_result(result, failure)


def _refuse() -> Any:
    raise Unreachable(tr("the program is ending: nothing is renewed any more"), hint=tr("the next one renews"))
