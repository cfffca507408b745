"""One machine in virtual time: its clocks, its event loop and its threads.

Everything that waits, in the loop or in a thread, waits here; time jumps to the next deadline when nothing can run. Of the
threads that carry renewals one runs at a time, in an order that does not depend on the scheduler of the real machine: the
same seed lives the same year.

    true time    never stops: what the servers live by
    wall         true time, and how wrong the clock is set
    boot time    goes on in suspension, begins again with each boot
    monotonic    stops in suspension, begins again with each boot
    awake        monotonic without boots: the time of the event loop
"""

from __future__ import annotations

import asyncio
import heapq
import math
import selectors
import threading
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from kimi_auth.credential.single_flight import SingleFlight, Waiter

__all__ = ["Killed", "Laptop", "TurnFlights"]

Result = TypeVar("Result")

EPOCH_S = 1_700_000_000.0
SINCE_BOOT_S = 10.0


class Killed(BaseException):
    """The process of this thread is gone: no code of its own runs any more."""


@dataclass(order=True)
class _Parked:
    """A thread that waits until `until_s` (awake), or until its process is killed."""

    until_s: float
    process: int
    number: int
    wake: threading.Event = field(default_factory=threading.Event, compare=False)


class Laptop:
    """A `Clock` that every process on it shares. `timer_s`: how coarse the timers of tasks are, in seconds."""

    def __init__(self, *, timer_s: float = 0.0) -> None:
        self.timer_s = timer_s
        self.awake_s = 0.0
        self.asleep_s = 0.0
        self.wrong_by_s = 0.0
        self.boots = 1
        self._booted_at_s = (0.0, 0.0)
        self._parked: list[_Parked] = []
        self._numbers = count()
        self._killed: set[int] = set()
        self._state = threading.Condition()
        self._running = 0
        self._ended: list[threading.Thread] = []
        self._who = threading.local()
        self._timer_s = -math.inf  # the loop waits until then, so a thread may take time there by itself
        self._loop: Any = None

    # --- its clocks ------------------------------------------------------------------------------------------------------

    @property
    def true_s(self) -> float:
        return EPOCH_S + self.awake_s + self.asleep_s

    def wall_s(self) -> float:
        return self.true_s + self.wrong_by_s

    def monotonic_s(self) -> float:
        return self.awake_s - self._booted_at_s[0] + SINCE_BOOT_S

    def boottime_s(self) -> float:
        return self.awake_s - self._booted_at_s[0] + self.asleep_s - self._booted_at_s[1] + SINCE_BOOT_S

    def boot_id(self) -> str:
        return f"boot-{self.boots}"

    def sleep(self, seconds: float) -> None:
        """Parks the calling thread, which must belong to a process (`aboard`). Raises Killed when that process is."""
        with self._state:
            process: int = self._who.process
            if process in self._killed:
                raise Killed
            parked = _Parked(self.awake_s + max(0.0, seconds), process, next(self._numbers))
            heapq.heappush(self._parked, parked)
            turn = self._next_turn()
            if turn is parked:
                return
            if turn is None:
                self._running -= 1
                self._state.notify()
            else:
                turn.wake.set()
        parked.wake.wait()
        if process in self._killed:
            raise Killed

    def _next_turn(self) -> _Parked | None:
        """Whose turn it is, where the calling thread can say so without the loop: that spares one of two thread switches."""
        if self._running > 1 or self._ended or self._loop is None or self._loop._ready:
            return None
        return self._due()

    def _due(self) -> _Parked | None:
        """The parked thread whose turn comes before the loop's timer, taken off the heap, with time gone on to it."""
        if not self._parked or self._parked[0].until_s > self._timer_s:
            return None
        turn = heapq.heappop(self._parked)
        self.awake_s = max(self.awake_s, turn.until_s)
        return turn

    async def sleep_async(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, self.timer_s))

    # --- what happens to it ----------------------------------------------------------------------------------------------

    def suspend(self, seconds: float) -> None:
        """The lid is closed for so long: boot time and wall clock go on, nothing else does."""
        self.asleep_s += seconds

    def reboot(self, off_s: float) -> None:
        """Another boot id; the caller has killed every process."""
        self.asleep_s += off_s
        self.boots += 1
        self._booted_at_s = (self.awake_s, self.asleep_s)

    def kill(self, process: int) -> None:
        """SIGKILL: the threads of `process` end where they stand; the kernel frees the lock that they hold."""
        self._killed.add(process)
        while parked := next((parked for parked in self._parked if parked.process == process), None):
            self._parked.remove(parked)
            heapq.heapify(self._parked)
            self._wake(parked)

    # --- its threads -----------------------------------------------------------------------------------------------------

    def aboard(self, process: int, work: Callable[[], Result]) -> Result:
        """`work` in the calling thread, as a thread of `process`: it begins when it is its turn."""
        self._who.process = process
        try:
            self.sleep(0.0)
            return work()
        finally:
            with self._state:
                self._running -= 1
                self._ended.append(threading.current_thread())
                self._state.notify()

    def starting(self) -> None:
        """A thread that goes `aboard` is about to be started; said by the thread of the loop."""
        with self._state:
            self._running += 1

    def call(self, process: int, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """Runs `work` in a thread of its own of `process`."""
        done: Future[Result] = Future()

        def run() -> None:
            try:
                done.set_result(self.aboard(process, work))
            except BaseException as error:  # noqa: BLE001  (Killed too: no task waits for it then)
                done.set_exception(error)

        self.starting()
        threading.Thread(target=run, daemon=True).start()
        return asyncio.wrap_future(done)

    def settle(self) -> bool:
        """Waits until every thread is parked or has ended; whether any has run since the last time."""
        if not (self._running or self._ended):
            return False  # only a thread that runs could change that
        with self._state:
            self._state.wait_for(lambda: self._running == 0)
            ended, self._ended = self._ended, []
        for thread in ended:
            thread.join()  # by then those who wait for its result know
        return bool(ended)

    def jump(self, timer_in_s: float | None) -> None:
        """Nothing can run: time goes on to the next timer of the loop or the next thread, whichever is due first."""
        self._timer_s = math.inf if timer_in_s is None else self.awake_s + timer_in_s
        try:
            if (turn := self._due()) is not None:
                self._wake(turn)
            elif timer_in_s is not None:
                self.awake_s = self._timer_s
            else:
                raise RuntimeError("everything waits for ever")
        finally:
            self._timer_s = -math.inf

    def _wake(self, parked: _Parked) -> None:
        with self._state:
            self._running += 1
        parked.wake.set()
        with self._state:
            self._state.wait_for(lambda: self._running == 0)

    def run(self, main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Runs `main` in an event loop that lives by this machine's time."""

        async def whole() -> Result:
            try:
                return await main()
            finally:
                while self._parked:  # the interpreter would wait for them
                    self.kill(self._parked[0].process)
                self.settle()

        def own_loop() -> _Loop:
            self._loop = _Loop(self)
            return self._loop

        with asyncio.Runner(loop_factory=own_loop) as runner:
            return runner.run(whole())


class TurnFlights(SingleFlight[Any]):
    """The single-flight calls of one process: real ones, whose threads take turns."""

    def __init__(self, laptop: Laptop, process: int) -> None:
        super().__init__()
        self._laptop = laptop
        self._process = process

    def join(self, key: Hashable, work: Callable[[], Any]) -> Waiter[Any]:
        return super().join(key, lambda: self._laptop.aboard(self._process, work))

    def _start(self, flight: Any, fly: Callable[[], None]) -> bool:
        self._laptop.starting()
        return super()._start(flight, fly)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, laptop: Laptop) -> None:
        self._laptop = laptop
        super().__init__(_Selector(laptop))
        self._clock_resolution = 1e-6  # at thirty million seconds a float has no finer steps

    def time(self) -> float:
        return self._laptop.awake_s


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type, unused-ignore]
    """Where the loop would wait, time jumps instead."""

    def __init__(self, laptop: Laptop) -> None:
        super().__init__()
        self._laptop = laptop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._laptop.settle():
            return super().select(0)
        if timeout == 0:
            return []
        self._laptop.jump(timeout)
        return super().select(0) if self._laptop.settle() else []
