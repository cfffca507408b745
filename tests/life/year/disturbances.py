"""What happens to a laptop in a year: nights and naps, networks, clocks that are set, kills, reboots, 401s for no reason."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx

from kimi_auth.wire import Answer, ExchangeOutcome, Grant, RawResponse, exchange_answer
from life.year.book import Book
from life.year.laptop import Laptop

__all__ = ["ALL", "NONE", "TIMER_S", "Disturbances", "Faults"]

HOUR_S: Final = 3600.0
TIMER_S: Final = 90.0
"""How late a keeper's timer may be: a year of seconds is too long, and a busy laptop is not punctual."""

KEEPER_S: Final = TIMER_S + 35.0
"""A keeper's timer, and the longest that it waits for a token."""


@dataclass(frozen=True)
class Faults:
    """How often each thing happens: every so many awake hours on average (`*_h`), to one of so many requests or exchanges
    (`one_*_in`); 0 is never. Nights and naps are no faults. `reuse`: what the server does with a spent refresh token."""

    outage_h: float = 0.0
    step_h: float = 0.0
    kill_h: float = 0.0
    restart_h: float = 0.0
    reboot_h: float = 0.0
    one_401_in: int = 0
    one_ban_in: int = 0
    one_mishap_in: int = 0
    network_after_nap_s: float = 0.0
    reuse: str = "grace:60"


NONE: Final = Faults()
ALL: Final = Faults(
    outage_h=9.0,
    step_h=60.0,
    kill_h=10.0,
    restart_h=10.0,
    reboot_h=60.0,
    one_401_in=2500,
    one_ban_in=8000,
    one_mishap_in=80,
    network_after_nap_s=15.0,
)


@dataclass(frozen=True)
class _Outage:
    """`seen`: what an exchange gets; `after_s`: how long after it a request may still be refused: the longest pause that
    the server or the failures have asked for, and one exchange that is timing out."""

    seen: RawResponse
    after_s: float

    @property
    def answer(self) -> Answer[ExchangeOutcome, Grant]:
        return exchange_answer(self.seen)


HOST: Final = "auth.kimi.com"
OUTAGES: Final = {
    "offline": _Outage(RawResponse(HOST, failure=httpx.ConnectError, message="no route"), 125.0),
    "busy": _Outage(RawResponse(HOST, 429, retry_after_s=120.0), 245.0),
    "down": _Outage(RawResponse(HOST, 503, "text/plain", b"try later"), 125.0),
    "portal": _Outage(RawResponse(HOST, 200, "text/html", b"<html>Welcome to the hotel</html>"), 1030.0),
}
LONGEST_S: Final = {900.0: 70, 2 * HOUR_S: 22, 8 * HOUR_S: 7, 60 * HOUR_S: 1}
"""Most outages last minutes, some hours, a few of them days; by weight."""


class Disturbances:
    """Runs as tasks of the laptop's loop. `kill_all` and `kill_one` end processes; `pause_s` says how far ahead, in
    seconds, the pause lies that the processes have written down for each other."""

    def __init__(
        self,
        faults: Faults,
        laptop: Laptop,
        book: Book,
        *,
        kill_all: Callable[[], None],
        kill_one: Callable[[random.Random], None],
        pause_s: Callable[[], float],
    ) -> None:
        self.down_s: list[tuple[float, float]] = []
        self.power_cuts = 0
        self._faults = faults
        self._laptop = laptop
        self._book = book
        self._kill_all = kill_all
        self._kill_one = kill_one
        self._pause_s = pause_s
        self._dice = book.dice("weather")
        self._outages: list[str] = []
        self._down_since_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def outage(self) -> str:
        """The fault on the way to the server, "" if there is none."""
        return self._outages[-1] if self._outages else ""

    def turned_away(self) -> Answer[ExchangeOutcome, Grant]:
        """What an exchange gets now that the server cannot be reached."""
        return OUTAGES[self.outage or "offline"].answer

    def reachable(self, at_s: list[float]) -> int:
        """How many of these moments, rising and in awake seconds, the server was reachable in."""
        return len(at_s) - sum(bisect(at_s, end) - bisect(at_s, begin) for begin, end in self.down_s)

    # --- its course ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        for task in self._all():
            self.spawn(task)

    def _all(self) -> Iterator[Coroutine[Any, Any, None]]:
        faults = self._faults
        yield self._nights()
        yield self._naps()
        if faults.outage_h:
            yield self._now_and_then("outages", faults.outage_h, self._suffer_outage)
        if faults.step_h:
            yield self._now_and_then("clock steps", faults.step_h, self._suffer_step)
        if faults.kill_h:
            yield self._now_and_then("kills", faults.kill_h, self._suffer_kill)
        if faults.reboot_h:
            yield self._now_and_then("reboots", faults.reboot_h, lambda _: self.reboot())

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` as a task until the end; what it raises is a bug."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def soon(self, act: Callable[[], object]) -> None:
        """From any thread: `act` in the loop, which is next to run."""
        self._loop.call_soon_threadsafe(act)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._book.violate(f"a bug: {error!r}")

    async def _nights(self) -> None:
        dice = self._book.dice("nights")
        while True:
            await asyncio.sleep(dice.uniform(14.0, 17.0) * HOUR_S)
            self.nap(dice.uniform(6.0, 9.0) * HOUR_S)

    async def _naps(self) -> None:
        dice = self._book.dice("naps")
        while True:
            await asyncio.sleep(dice.uniform(2.0, 8.0) * HOUR_S)
            self.nap(dice.choice([dice.uniform(5.0, 120.0), dice.uniform(120.0, 2 * HOUR_S)]))

    async def _now_and_then(self, name: str, hours: float, suffer: Callable[[random.Random], None]) -> None:
        dice = self._book.dice(name)
        while True:
            await asyncio.sleep(dice.expovariate(1 / (hours * HOUR_S)))
            suffer(dice)

    # --- what it brings --------------------------------------------------------------------------------------------------

    def nap(self, seconds: float) -> None:
        """The lid closes; when it opens, keepers have a timer to wait for, and the network needs a moment."""
        self._laptop.suspend(seconds)
        self._book.count("nap", f"slept for {seconds / 60:.1f} min")
        self._book.excuse(0.0, kept_s=KEEPER_S)
        if self._faults.network_after_nap_s:
            away_s = self._dice.uniform(0.0, self._faults.network_after_nap_s)
            self.soon(lambda: self.spawn(self._offline("offline", away_s)))

    def _suffer_outage(self, dice: random.Random) -> None:
        kind = dice.choice(list(OUTAGES))
        (longest_s,) = dice.choices(list(LONGEST_S), list(LONGEST_S.values()))
        seconds = dice.uniform(30.0, longest_s)
        self._book.count(kind, f"{kind} for {seconds / 60:.0f} min")
        self._book.happened["outages longer than a token lives"] += seconds > 900.0
        self.spawn(self._offline(kind, seconds))

    async def _offline(self, kind: str, awake_s: float) -> None:
        if not self._outages:
            self._down_since_s = self._laptop.awake_s
        self._outages.append(kind)
        await asyncio.sleep(awake_s)
        self._outages.remove(kind)
        self._book.note(f"no longer {kind}")
        self._book.excuse(OUTAGES[kind].after_s, kept_s=2 * TIMER_S + 60.0)  # a keeper's longest wait, twice rounded up
        if not self._outages:
            self.down_s.append((self._down_since_s, self._laptop.awake_s))

    def _suffer_step(self, dice: random.Random) -> None:
        seconds = dice.choice([-1, 1]) * dice.choice([dice.uniform(1.0, 60.0), dice.uniform(60.0, 2 * HOUR_S)])
        self._book.count("clock set back" if seconds < 0 else "clock set forward")
        self.spawn(self._wrong(seconds, dice.uniform(60.0, 3 * HOUR_S)))

    async def _wrong(self, by_s: float, awake_s: float) -> None:
        self._step(by_s)
        await asyncio.sleep(awake_s)
        self._step(-by_s)

    def _step(self, by_s: float) -> None:
        self._laptop.wrong_by_s += by_s
        self._book.note(f"the clock is set by {by_s:+.0f} s and is wrong by {self._laptop.wrong_by_s:+.0f} s now")
        if by_s < 0 and 0 < (pause_s := self._pause_s()) <= 901:
            self._book.excuse(pause_s + 1, kept_s=TIMER_S)  # until a time of day that now comes later

    def _suffer_kill(self, dice: random.Random) -> None:
        self._book.count("kill")
        self._kill_one(dice)

    def reboot(self) -> None:
        """Every process dies; when it is up again, the network needs a moment and the clock is an hour wrong for
        minutes."""
        self._book.count("reboot")
        self._kill_all()
        self._laptop.reboot(self._dice.uniform(30.0, 600.0))
        self.power_cuts += 1
        self.spawn(self._offline("offline", self._dice.uniform(0.0, 20.0)))
        self.spawn(self._wrong(self._dice.choice([-HOUR_S, HOUR_S]), self._dice.uniform(60.0, 900.0)))
