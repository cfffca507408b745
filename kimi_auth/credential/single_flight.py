"""Single-flight calls that survive cancellation, one run for any number of waiters; and the blocks that defer signals for
the calls in flight.

A renewal is synchronous code in a non-daemon thread. A caller may be cancelled, time out or lose its event loop: the
call goes on until the answer is on disk. Callers with the same key join the call in flight; each has its own waiter, so
a cancelled caller cancels no other.

At exit the interpreter waits for calls: it announces that after a second, Ctrl-C does not end the wait, no walk tries
again and no advisory renewal starts. A mandatory call from an `atexit` handler runs inline. A fork waits for calls
first, and the child starts with none. Signals that would end the process are deferred (`kimi_auth.credential.signals`).
The claim covers the rest: SIGKILL, power loss and `os._exit`.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, suppress
from functools import cache, partial
from typing import Any, Generic, TypeVar

from kimi_auth.credential.calls import Call, CallThread, Waiter
from kimi_auth.credential.signals import SAY_AFTER_S, Deferral, is_main_thread, say
from kimi_auth.support.language import tr

__all__ = [
    "DRAIN_MAX_S",
    "SingleFlight",
    "Waiter",
    "ask_for_the_end",
    "drain",
    "guarded",
    "has_main_ended",
    "in_flight",
    "is_ending",
    "signals_deferred",
    "untorn",
]

Result = TypeVar("Result")

DRAIN_MAX_S = 70.0
"""Longest wait for calls at exit or fork: the request deadline (60 s) and some time to write."""


_is_ending = False
_is_asked = False
_has_main_ended = False
_all_lock = threading.Lock()
_all: set[Call[Any]] = set()
_owners: weakref.WeakSet[SingleFlight[Any]] = weakref.WeakSet()


def _is_any_running() -> bool:
    """Tells a signal handler if a call runs, without a lock, which its own thread may hold; `tuple` copies a set in one
    step."""
    return any(call.has_started and not call.is_done for call in tuple(_all))


_signals = Deferral(_is_any_running)


def signals_deferred() -> AbstractContextManager[None]:
    """While the block runs, SIGTERM and SIGHUP wait until no renewal of this process is in flight, whichever thread
    started it; without a renewal they act at once. For the main thread of a program whose renewals run in other
    threads:

        with kimi_auth.signals_deferred():
            main()

    Only signals with the system's default action are deferred: a program's own handlers stay in charge. SIGINT needs no
    block, because its KeyboardInterrupt interrupts no renewal. Raises RuntimeError outside of the main thread.
    """
    if not is_main_thread():
        raise RuntimeError("signals are deferred by the main thread only: enter the block there")
    return guarded()


def guarded() -> AbstractContextManager[None]:
    """Defers signals while calls are in flight, as `signals_deferred` does; does nothing in other threads."""
    return _signals.guard()


def untorn() -> AbstractContextManager[None]:
    """Defers SIGINT, SIGTERM and SIGHUP until the block exits, for work that the main thread does itself,
    not in the thread of a call."""
    return _signals.block()


class SingleFlight(Generic[Result]):
    """The calls of one owner, one at a time for each key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_key: dict[Hashable, Call[Result]] = {}
        _owners.add(self)
        _watch_the_end()

    def join(self, key: Hashable, work: Callable[[], Result]) -> Waiter[Result]:
        """A waiter for the call under `key` that is in flight, else for a new one that runs `work`."""
        # Before the thread starts: a signal between the two would end the process with a token sent and no answer kept.
        _signals.take()
        _watch_forks()
        with self._lock:  # held while the thread starts, so a call without a live thread is known to be lost
            call = self._by_key.get(key)
            if call is not None and not call.never_started and (waiter := call.join()) is not None:
                return waiter
            call, waiter = Call.with_first_waiter(work, _signals.settle)
            self._by_key[key] = call
            with _all_lock:
                _all.add(call)
            run = partial(self._run, key, call)
            has_started = self._start(call, run)
        if not has_started:
            with untorn():
                run()
        return waiter

    def in_flight(self) -> bool:
        """True while any single-flight call of this owner is in flight."""
        with self._lock:
            return any(not call.is_done for call in self._by_key.values())

    def _start(self, call: Call[Result], run: Callable[[], None]) -> bool:
        return call.start(run, is_ending=_is_ending)

    def _run(self, key: Hashable, call: Call[Result]) -> None:
        try:
            call.run()
        finally:
            # Only now: a caller who finds no call under the key starts one, and it must read what this one wrote.
            with self._lock:
                if self._by_key.get(key) is call:
                    del self._by_key[key]
            with _all_lock:
                _all.discard(call)
            _signals.settle()

    def forget(self) -> None:
        """Forgets the single-flight calls in flight in a forked child, where the parent's threads do not exist."""
        self._lock = threading.Lock()
        self._by_key = {}


def is_ending() -> bool:
    """True once the interpreter is ending, or its end was requested: a single-flight call that starts now would delay
    the end, or be cut off by it."""
    return _is_ending or _is_asked or _signals.is_noted or (has_main_ended() and _only_flights_are_left())


def has_main_ended() -> bool:
    """True once the main thread has ended, whatever calls are in flight. Other threads may go on; if none does, the
    program ends with these calls."""
    return _has_main_ended or not threading.main_thread().is_alive()


def _only_flights_are_left() -> bool:
    # Another thread that is no daemon keeps the program alive after its main thread, and may need many renewals yet, also
    # while it runs a call itself, because no thread could start.
    main = threading.main_thread()
    return all(thread.daemon or thread is main or isinstance(thread, CallThread) for thread in threading.enumerate())


def ask_for_the_end(*, is_asked: bool = True) -> None:
    """Tells single-flight calls that a handler defers a signal until they have finished: from
    now on no walk tries again and no advisory renewal starts."""
    global _is_asked  # noqa: PLW0603 - the end is the process's
    _is_asked = is_asked


def in_flight() -> bool:
    """True while any single-flight call of this process is in flight."""
    with _all_lock:
        return any(not call.is_done for call in _all)


def drain(timeout_s: float = DRAIN_MAX_S, *, on_wait: Callable[[], None] | None = None) -> bool:
    """Waits until every single-flight call has finished, at most `timeout_s` seconds; a KeyboardInterrupt meanwhile is swallowed.

    `on_wait` is called once if it takes longer than a second. True when nothing is left in flight.
    """
    began_s = time.monotonic()
    said = False
    while True:
        with _all_lock:
            calls = [call for call in _all if call.thread is not threading.current_thread()]
        if not calls:
            return True
        waited_s = time.monotonic() - began_s
        if waited_s >= timeout_s:
            return False
        if waited_s >= SAY_AFTER_S and not said and on_wait is not None:
            said = True
            on_wait()
        # In slices: a Ctrl-C costs one of them, and the message comes in time.
        with suppress(KeyboardInterrupt, TimeoutError):
            calls[0].wait(min(1.0, timeout_s - waited_s))
        # A call that never got a thread has nothing that would discard it.
        if calls[0].is_done or calls[0].never_started:
            with _all_lock:
                _all.discard(calls[0])


def _fresh_start() -> None:
    global _all_lock, _all, _is_ending, _is_asked, _has_main_ended  # noqa: PLW0603 - a forked child has no calls
    _is_ending = _is_asked = _has_main_ended = False
    # New ones: at the fork a thread that the child does not have may have held the old lock.
    _all_lock = threading.Lock()
    _all = set()
    _signals.forget()
    for owner in list(_owners):
        owner.forget()


def _wait_at_the_end() -> None:
    """The program is done, so a Ctrl-C now means impatience, and would print a traceback."""
    with suppress(KeyboardInterrupt), _signals.block(is_announced=True):
        drain(on_wait=lambda: say(tr("a renewal is in progress; exiting as soon as its result is stored")))


def _main_thread_ends() -> None:
    """Runs before the interpreter joins threads: a Ctrl-C would interrupt that join, with a traceback."""
    global _has_main_ended  # noqa: PLW0603 - the end is the process's
    _has_main_ended = True
    _wait_at_the_end()


def _interpreter_ends() -> None:
    """`atexit` handlers registered earlier run after this one: calls that they start run inline."""
    global _is_ending  # noqa: PLW0603 - the end is the process's
    _is_ending = True
    _wait_at_the_end()


@cache
def _watch_the_end() -> None:
    """Registers for the interpreter's end with the first owner of single-flight calls, so that it is known before any call."""
    atexit.register(_interpreter_ends)
    # `concurrent.futures` uses it, too. Without it Ctrl-C at exit prints a traceback, but no renewal is lost.
    before_threads_are_joined = getattr(threading, "_register_atexit", None)
    if before_threads_are_joined is not None:
        with suppress(RuntimeError):  # the main thread has ended already
            before_threads_are_joined(_main_thread_ends)


@cache
def _watch_forks() -> None:
    """Registered with the first call and not before: hooks before a fork run last in, first out, and the lock's own hook,
    which stops all lock work, must come after our waiting for a call that needs the lock."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=drain, after_in_child=_fresh_start)
