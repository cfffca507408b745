"""What this process knows of one row: the last answer, when it came, and who waits for the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from kimi_auth.clock import Clock
from kimi_auth.store.contract import Stamp

from .row import Row
from .spill import Seen

__all__ = ["DatabaseClock", "Place"]

FRESH_S = 1.0
"""How long an answer counts as current where no notification comes, in seconds."""


class DatabaseClock:
    """The database's wall clock, as its answers show it; the other clocks are this host's. Before the first answer this
    host's wall clock must do."""

    def __init__(self, local: Clock) -> None:
        self._local = local
        self._ahead_s: float | None = None  # of the local boot time
        self.boottime_s: Callable[[], float] = local.boottime_s  # asked before each use of a token: no call in between

    def wall_s(self) -> float:
        return self._local.wall_s() if self._ahead_s is None else self.boottime_s() + self._ahead_s

    def monotonic_s(self) -> float:
        return self._local.monotonic_s()

    def boot_id(self) -> str:
        return self._local.boot_id()

    def sleep(self, seconds: float) -> None:
        self._local.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        await self._local.sleep_async(seconds)

    def learn(self, now_s: float, sent_s: float, came_s: float) -> None:
        """An answer says `now_s`; it was asked and came at these boot times. A slow one tells less than an older quick one."""
        if self._ahead_s is None or came_s - sent_s < FRESH_S:
            self._ahead_s = now_s - (sent_s + came_s) / 2


class Way(Protocol):
    """The line to the database, as the rows of this process need it."""

    clock: DatabaseClock
    number: int
    live: int
    is_busy: bool
    witness: int

    def is_listening(self) -> bool: ...
    def ask(self, statement: str, params: Mapping[str, object], patience_s: float = ...) -> list[dict[str, Any]]: ...
    def look(self, key: str, patience_s: float = ...) -> None: ...
    def look_soon(self, key: str) -> None: ...


class Place:
    """One key's row in this process, shared by every store for it. `lock` keeps its threads apart: the lease is the
    process's."""

    def __init__(self, key: str, line: Way) -> None:
        self.key = key
        self.line = line
        self.row: Row | None = None
        self.stamp: Stamp = ()
        self.newest = Seen()
        self.at_s = 0.0
        self.over = 0
        """The number of the connection over which `row` came."""
        self.is_stale = False
        self.wanted_at_s = -FRESH_S
        self.forget_threads()

    def forget_threads(self) -> None:
        """Gives a known row new locks after a fork: a thread that the child does not have may hold the old ones."""
        self.lock = threading.Lock()
        self.thread = 0
        self.changed: threading.Condition = threading.Condition()

    def keep(self, answer: dict[str, Any], sent_s: float, came_s: float, over: int) -> None:
        """An answer that shows the row."""
        row = Row(**{name: answer[name] for name in Row._fields})
        self.line.clock.learn(row.now_s, sent_s, came_s)
        with self.changed:
            self.row, self.stamp, self.at_s, self.over, self.is_stale = row, row.stamp, came_s, over, False
            self.newest = self.newest.then(row.seen)
            self.changed.notify_all()

    @property
    def passed_s(self) -> float:
        """Seconds since `row` came."""
        return max(0.0, self.line.clock.boottime_s() - self.at_s)

    def is_current(self) -> bool:
        """Whether the known `row` is what the database has, or was a second ago."""
        if self.row is None or self.is_stale:
            return False
        return (self.over == self.line.number and self.line.is_listening()) or self.passed_s < FRESH_S

    def still(self, stamp: Stamp) -> bool:
        """Whether no other install of the row is known. Has one that may be old looked at soon; never waits."""
        line = self.line
        if self.is_stale or self.over != line.live or line.is_busy:
            self.nudge()
        return stamp == self.stamp

    def nudge(self) -> None:
        """Has the known row looked at soon, unless it is current. Never waits."""
        now_s = self.line.clock.boottime_s()
        if not self.is_current() and now_s - self.wanted_at_s >= FRESH_S:
            self.wanted_at_s = now_s
            self.line.look_soon(self.key)
