"""Clocks as a port: the flows read them instead of the `time` module, so that a test can freeze time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from kimi_auth.support.system import BOOTTIME, boot_id

if TYPE_CHECKING:
    import asyncio

__all__ = ["Clock", "SystemClock", "VirtualClock"]


class Clock(Protocol):
    """Four clocks and two ways to sleep. Every number is in seconds."""

    def wall_s(self) -> float:
        """Unix time, for values that are stored and compared between machines; may be set back or forward."""

    def monotonic_s(self) -> float:
        """Never goes back; stops while the machine is suspended."""

    def boottime_s(self) -> float:
        """Never goes back and counts suspension; comparable between processes of one boot only."""

    def boot_id(self) -> str:
        """Identifies this boot of this machine, "" if the system has no such id."""

    def sleep(self, seconds: float) -> None:
        """Blocks the calling thread."""

    async def sleep_async(self, seconds: float) -> None:
        """Suspends the calling task."""


class SystemClock:
    """The machine's own clocks."""

    def wall_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def boottime_s(self) -> float:
        return time.clock_gettime(BOOTTIME)

    def boot_id(self) -> str:
        return boot_id()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        import asyncio  # loaded already where a loop runs; most commands have none

        await asyncio.sleep(seconds)


class VirtualClock:
    """Time for tests: it is frozen until a task or thread sleeps, so a simulated day takes only as long as its work.

    `sleep` advances it at once. `sleep_async` advances it to the earliest deadline when no other callback of the event
    loop can run (trio's MockClock calls this autojump). It cannot see work outside the loop: if a task waits for a
    worker thread or a socket, the loop must be idle for `quiet_s` real seconds before time jumps. One event loop at a
    time; the other methods may be called from any thread.
    """

    def __init__(
        self,
        *,
        wall_s: float = 1_700_000_000.0,
        monotonic_s: float = 1_000.0,
        boottime_s: float = 1_000.0,
        boot_id: str = "virtual-boot",
        quiet_s: float = 0.0,
    ) -> None:
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._boottime_s = boottime_s
        self._boot_id = boot_id
        self._quiet_s = quiet_s
        self._sleepers: dict[asyncio.Future[None], float] = {}
        self._watched: asyncio.AbstractEventLoop | None = None
        self._lock = threading.RLock()

    def wall_s(self) -> float:
        return self._wall_s

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def boottime_s(self) -> float:
        return self._boottime_s

    def boot_id(self) -> str:
        return self._boot_id

    def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))

    async def sleep_async(self, seconds: float) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        wake: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._sleepers[wake] = self._monotonic_s + max(0.0, seconds)
        if self._watched is not loop:
            self._watched = loop
            loop.call_soon(self._watch, loop, None)
        try:
            await wake
        finally:
            with self._lock:
                self._sleepers.pop(wake, None)

    def advance(self, seconds: float) -> None:
        """Lets `seconds` of frozen time pass, and wakes every sleeper whose deadline has come. Raises ValueError below zero."""
        with self._lock:
            due = self._reach(self._monotonic_s + _forward(seconds))
        _rouse(due)

    def suspend(self, seconds: float) -> None:
        """Simulates sleep: wall and boot time go on; monotonic time, and with it every sleeper, does not."""
        with self._lock:
            self._wall_s += _forward(seconds)
            self._boottime_s += seconds

    def set_wall(self, wall_s: float) -> None:
        """Sets the wall clock, forward or back; the other clocks do not change."""
        with self._lock:
            self._wall_s = wall_s

    def reboot(self, boot_id: str) -> None:
        """Simulates a restart under another boot id: monotonic and boot time begin at zero.

        Raises RuntimeError while a task sleeps: no task survives a reboot.
        """
        with self._lock:
            if self._sleepers:
                raise RuntimeError("a task is sleeping on this clock: end it before the reboot")
            self._boot_id, self._monotonic_s, self._boottime_s = boot_id, 0.0, 0.0

    def _reach(self, monotonic_s: float) -> list[asyncio.Future[None]]:
        """Advances time to `monotonic_s`; returns the sleepers whose deadline has come, the earliest first."""
        passed = monotonic_s - self._monotonic_s
        self._wall_s += passed
        self._boottime_s += passed
        self._monotonic_s = monotonic_s
        due = [wake for wake, deadline_s in self._sleepers.items() if deadline_s <= monotonic_s]
        return sorted(due, key=self._sleepers.__getitem__)

    def _watch(self, loop: asyncio.AbstractEventLoop, quiet_since_s: float | None) -> None:
        """Runs once in every round of the loop while a task sleeps in frozen time, and advances time after a round with
        no other callback.

        Polled events and calls from threads are queued behind this callback, so it misses none of them.
        """
        with self._lock:
            asleep = [at_s for wake, at_s in self._sleepers.items() if wake.get_loop() is loop]
            if not asleep:
                self._watched = None
                return
            now_s = loop.time()
            if loop._ready or quiet_since_s is None:  # type: ignore[attr-defined]  # noqa: SLF001  # no public way
                quiet_since_s = now_s
            elif now_s - quiet_since_s >= self._quiet_s:
                _rouse(self._reach(max(self._monotonic_s, min(asleep))))
                quiet_since_s = None
        loop.call_soon(self._watch, loop, quiet_since_s)


def _forward(seconds: float) -> float:
    if not seconds >= 0:
        raise ValueError(f"time cannot pass backwards: {seconds} s")
    return seconds


def _rouse(sleepers: Iterable[asyncio.Future[None]]) -> None:
    for wake in sleepers:
        with contextlib.suppress(RuntimeError):  # its loop is closed, so no task sleeps there
            wake.get_loop().call_soon_threadsafe(_finish, wake)


def _finish(wake: asyncio.Future[None]) -> None:
    if not wake.done():
        wake.set_result(None)
