"""The line to a database: one connection of a process, and the one thread that uses it.

A thread, and not psycopg's async side: a walk is synchronous code, a session serves asyncio, trio and plain threads alike,
and a caller must be able to leave an answer that does not come. So callers put a statement into a queue and wait for it as
long as they like; no event loop waits at all, since reads are of memory. The thread listens while it is idle, and
a notification has the row looked at once for all of the process.

A statement may run twice, when the connection dies with its answer: each is written for that. One that takes longer than
`STATEMENT_S` is broken off from outside. Where a session cannot listen, the rows in use are looked at once a second.
"""

from __future__ import annotations

import atexit
import os
import random
import select
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from kimi_auth.clock import Clock, SystemClock
from kimi_auth.errors import StorageError
from kimi_auth.support.language import tr

from . import sql
from .address import Address
from .database_session import DatabaseSession
from .place import DatabaseClock, Place
from .told import explain, no_answer

__all__ = ["ASK_S", "Line", "line_of"]

STATEMENT_S = 10.0
ASK_S = 16.0
"""How long a caller under the lock waits for an answer: a connection and a statement."""

HEARTBEAT_S = 20.0
IDLE_WHEN_CROWDED_S = 0.5
AGAIN_S = 0.2
"""Between two tries to connect, in seconds."""

Params = Mapping[str, object]
_lines: dict[tuple[str, ...], Line] = {}
_lines_lock = threading.Lock()
_inherited: list[object] = []
"""Connections of the parent: a forked child neither uses nor ends them."""


class _Job:
    __slots__ = ("done", "error", "is_void", "params", "rows", "statement")

    def __init__(self, statement: str, params: Params) -> None:
        self.statement, self.params = statement, params
        self.done = threading.Event()
        self.rows: list[dict[str, Any]] = []
        self.error: StorageError | None = None
        self.is_void = False


class Line:
    """The connection to `address`, made when it is first needed. Thread-safe."""

    def __init__(self, address: Address, local: Clock | None = None, *, look: str = sql.LOOK) -> None:
        self.address, self._look = address, look
        self.clock: DatabaseClock = DatabaseClock(local or SystemClock())
        self.witness: int = random.SystemRandom().getrandbits(62) + 1
        self.number = self.live = 0
        """Connections so far; the one that listens now, 0 for none."""
        self.newest: DatabaseSession | None = None
        """The newest one, which may have ended."""
        self.problem: StorageError | None = None
        """Why the last try to reach the database failed; None since it answered."""
        self._places: WeakValueDictionary[str, Place] = WeakValueDictionary()  # of the stores that are in use
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._stale: set[str] = set()
        self._thread: threading.Thread | None = None
        self._session: DatabaseSession | None = None
        self._wake = os.pipe()
        for end in self._wake:
            os.set_blocking(end, False)
        self._is_broken = self._is_closing = False
        self._busy_since_s: float | None = None
        self.is_busy, self.live, self._again_at_s = False, 0, 0.0

    def place(self, key: str) -> Place:
        """The row `key`, as far as this process knows it over this line."""
        with self._lock:
            if (place := self._places.get(key)) is None:
                place = self._places[key] = Place(key, self)
            return place

    def is_listening(self) -> bool:
        """Whether the line would hear now that a row changes."""
        busy_since_s = self._busy_since_s
        return self.live > 0 and (busy_since_s is None or time.monotonic() - busy_since_s < 1.0)

    def ask(self, statement: str, params: Params, patience_s: float = ASK_S) -> list[dict[str, Any]]:
        """The rows of a statement of `sql`, asked for over the line. Raises StorageError, transient where the database
        cannot be reached within `patience_s` seconds; the statement may still be carried out then."""
        job = _Job(statement, params)
        self._put(job)
        until_s = time.monotonic() + patience_s
        while not job.done.wait(min(0.25, max(0.0, until_s - time.monotonic()))):
            self._break_if_stuck()
            if time.monotonic() >= until_s:
                job.is_void = True
                if patience_s >= 1.0:  # a shorter one says nothing of the database
                    self.problem = no_answer(self.address)
                raise no_answer(self.address)
        if job.error is not None:
            raise job.error
        return job.rows

    def look(self, key: str, patience_s: float = ASK_S) -> None:
        """Asks the database over this line, which brings the known row up to date. Raises as `ask`."""
        self.ask(self._look, {"key": key}, patience_s)

    def look_soon(self, key: str) -> None:
        """Has a row looked at over the line. Never waits, never raises."""
        with self._lock:
            self._stale.add(key)
        with suppress(StorageError):
            self._put(None)

    def close(self) -> None:
        """Ends the connection and the thread, unless a statement is under way; the next one makes new ones."""
        with self._lock:
            thread, self._is_closing = self._thread, True
        self._ring()
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def forked(self) -> None:
        """Drops the parent's line in a forked child: nothing of it or of its thread is used or ended."""
        if self._session is not None:
            _inherited.append(self._session)
        for end in self._wake:
            os.close(end)
        self._forget()
        self.number += 1
        for place in list(self._places.values()):
            place.forget_threads()

    # --- callers' side ------------------------------------------------------------------------------------------------

    def _put(self, job: _Job | None) -> None:
        with self._lock:
            if job is not None:
                self._jobs.append(job)
            if self._thread is None:
                self._is_closing = False
                thread = threading.Thread(target=self._run, name="kimi-auth database", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    raise StorageError(tr("no thread can be started for the database"), is_transient=True) from None
                self._thread = thread
        self._ring()

    def _ring(self) -> None:
        with suppress(OSError):  # full: it will wake up anyway
            os.write(self._wake[1], b"\0")

    def _break_if_stuck(self) -> None:
        since_s, session = self._busy_since_s, self._session
        if since_s is not None and session is not None and time.monotonic() - since_s >= STATEMENT_S:
            self._is_broken = True
            session.break_off()

    # --- the thread's side --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            while (job := self._next()) is not None:
                self._do(job)
            self._drop()  # before another thread may begin: it would use this connection
            with self._lock:
                if not self._jobs:
                    self._thread = None
                    return
                self._is_closing = False

    def _next(self) -> _Job | None:
        """The next statement for the line's thread; None at the end. Meanwhile it listens."""
        while True:
            with self._lock:
                while self._jobs:
                    if not (job := self._jobs.popleft()).is_void:
                        return job
                if self._is_closing:
                    self._stale.clear()
                    return None
                if self._stale:
                    return _Job(self._look, {"key": self._stale.pop()})
            self._rest()

    def _rest(self) -> None:
        poll, idle_ms = select.poll(), None
        poll.register(self._wake[0], select.POLLIN)
        if (session := self._session) is not None:
            poll.register(session.connection.fileno(), select.POLLIN)
            idle_ms = 1000 * (IDLE_WHEN_CROWDED_S if session.is_crowded else HEARTBEAT_S)
        ready = {end for end, _ in poll.poll(idle_ms)}
        with suppress(OSError):
            while os.read(self._wake[0], 4096):
                pass
        if session is not None and ready - {self._wake[0]}:
            if not session.hear():
                self._drop()
        elif self.live and not ready:  # does it still stand, and hold the witness?
            self._do(_Job(sql.WITNESS, {"witness": self.witness}))
        elif not ready:
            self._drop()

    def _changed(self, key: str) -> None:
        if (place := self._places.get(key)) is not None:
            place.is_stale = True
            self._stale.add(key)

    def _do(self, job: _Job) -> None:
        from psycopg import Error

        self._busy_since_s, self._is_broken, self.is_busy = time.monotonic(), False, True
        try:
            for is_last in (self._session is None, True):
                try:
                    self._send(job)
                except StorageError as error:
                    job.error = self.problem = error
                    return
                except Error as error:
                    job.error = explain(error, self.address)
                    if self._session is not None and not self._session.connection.closed:
                        return
                    self._drop()
                    self.problem = job.error
                    if is_last or self._is_broken:
                        return
                else:
                    job.error = self.problem = None
                    return
        finally:
            self._busy_since_s, self.is_busy = None, False
            job.done.set()

    def _send(self, job: _Job) -> None:
        session = self._session or self._connect()
        sent_s = self.clock.boottime_s()
        job.rows = session.rows(job.statement, job.params)
        place = self._places.get(str(job.params.get("key", "")))
        if place is not None and job.rows and "lease_left_s" in job.rows[0]:
            place.keep(job.rows[0], sent_s, self.clock.boottime_s(), self.number)

    def _connect(self) -> DatabaseSession:
        if self.problem is not None and time.monotonic() < self._again_at_s:
            raise self.problem.reworded()
        self._again_at_s = time.monotonic() + AGAIN_S * (1 + random.random())  # noqa: S311 - no secret
        session = self._session = self.newest = DatabaseSession(self.address, self.witness, self._changed)
        self.number += 1
        self.live = self.number if session.listens else 0
        return session

    def _drop(self) -> None:
        session, self._session, self.live = self._session, None, 0
        if session is not None:
            session.close()


def line_of(address: Address, local: Clock | None = None, *, look: str = sql.LOOK) -> Line:
    """The process's line to `address`, on which rows are looked at by the statement `look`."""
    key = (look, *sorted(f"{name}={value}" for name, value in address.parameters.items()))
    with _lines_lock:
        if not _lines:
            atexit.register(_close_all)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_forked)
        if key not in _lines:
            _lines[key] = Line(address, local, look=look)
        return _lines[key]


def _close_all() -> None:
    for line in list(_lines.values()):
        line.close()


def _forked() -> None:
    global _lines_lock  # noqa: PLW0603 - the parent's may be held
    _lines_lock = threading.Lock()
    for line in _lines.values():
        line.forked()
