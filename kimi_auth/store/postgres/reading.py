"""The reading half of `PostgresStore`: from memory, and under the lock from the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from kimi_auth.clock import Clock
from kimi_auth.errors import ConfigError, StorageError, StoreUnwritable
from kimi_auth.store import owners
from kimi_auth.store.contract import Backoff, Binding, Claim, Finding, RevokedMark, Snapshot, Stamp, View
from kimi_auth.store.formats import is_tombstone
from kimi_auth.support.language import tr

from . import sql
from .address import Address
from .encryption import Cipher
from .examine import examine
from .lease import PostgresHold
from .line import line_of
from .row import WITNESSED_S, Row
from .spill import Seen, Spill
from .told import not_asked, not_writable

__all__ = ["LOGINS_MAX", "PostgresReading"]

ELSEWHERE = " (according to its claim)"
KEY_MAX = 200
LOGINS_MAX = 10_000
"""More rows than this are not listed."""


class PostgresReading:
    """The row `key`, as this process knows it."""

    def __init__(
        self,
        address: Address,
        key: str,
        folder: Path | None,
        clock: Clock,
        *,
        look: str = sql.LOOK,
        keys_used: str = sql.KEYS_USED,
    ) -> None:
        if not key or len(key) > KEY_MAX or not key.isascii() or not key.isprintable():
            raise ConfigError(tr("the credential's key {key!r} is not of the form oauth/<a-z, 0-9, ->", key=key))
        self.key = key
        self.address = address
        self._line = line_of(address, clock, look=look)
        self._place = self._line.place(key)
        self._hold: PostgresHold | None = None
        self._keys_used = keys_used
        self._cipher = Cipher(address, reads_only=look != sql.LOOK)
        self._spill = Spill(folder, address, key, self._cipher)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key!r}, {self.address!r})"

    @property
    def location(self) -> str:
        return str(self.address)

    @property
    def file(self) -> None:
        return None

    def clock(self) -> Clock:
        return self._line.clock

    def examine(self) -> Iterator[Finding]:
        yield from examine(self._line, self.key, self._spill, self._cipher, self._keys_used)

    def is_current(self) -> bool:
        return self._place.is_current()

    def look(self, patience_s: float) -> None:
        try:
            self._line.look(self.key, patience_s)
        except StorageError:
            return  # the line remembers why

    # --- reading ------------------------------------------------------------------------------------------------------

    def view(self) -> View:
        row = self._latest()
        if row is None:
            return View(self._unreachable(None))
        snapshot = self._shown_snapshot(row)
        claim = self._claim(row, snapshot.fp) if snapshot.fp else Claim("none")
        if is_tombstone(snapshot.token) and (any_claim := self._claim(row, None)).state == "staged":
            claim = any_claim
        return View(snapshot, claim, self._mark(row, snapshot.fp), row.shared_backoff(), row.host())

    def read(self) -> Snapshot:
        row = self._latest()
        return self._unreachable(None) if row is None else self._shown_snapshot(row)

    def stamp(self) -> Stamp:
        self._place.nudge()
        return self._place.stamp

    def still(self, stamp: Stamp) -> bool:
        return self._place.still(stamp)

    def revoked_mark(self, fp: str) -> RevokedMark | None:
        return self._mark(row, fp) if (row := self._place.row) else None

    def _mark(self, row: Row, fp: str) -> RevokedMark | None:
        return row.mark(fp)

    def peek_claim(self, fp: str) -> Claim:
        self._place.nudge()
        return self._claim(row, fp) if (row := self._place.row) else Claim("none", fp)

    def backoff(self) -> Backoff:
        return row.shared_backoff() if (row := self._place.row) else Backoff()

    def binding(self) -> Binding | None:
        return row.host() if (row := self._place.row) else None

    def leftovers(self) -> tuple[str, ...]:
        row = self._place.row
        aside = tr("{location}: {number} in kimi_auth.aside", location=self.location, number=row.asides if row else 0)
        return (*((str(aside),) if row and row.asides else ()), *self._spill.kept())

    def holder(self) -> str:
        row = self._place.row
        owner = row.holding(self._place.passed_s) if row else None
        if owner is None:
            return ""
        return owner.text if owner.host == owners.host_name() else f"{owner.text}{ELSEWHERE}"

    def check_writable(self) -> None:
        """Reads in the database whether a login could be stored there, and for good. Raises StorageError if not; writes nothing."""
        self._line.look(self.key)
        if not self._row().is_writable:
            raise self._not_writable()
        (found,) = self._line.ask(sql.PROMISES, {})
        if not found["fsync"]:
            raise StoreUnwritable(
                tr("{location} runs with fsync=off, so a crash loses logins", location=self.location),
                hint=tr("set fsync=on and restart it"),
            )

    def close(self) -> None:
        """Closes this half of `PostgresStore`: ends the process's connection, if no thread holds a lock over it."""
        if self._hold is None:
            self._line.close()

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _latest(self) -> Row | None:
        """The row to read: under the lock as it is now, else as it was seen last. None if the database cannot be asked."""
        hold = self._hold
        if hold is None or self._place.thread != threading.get_ident():
            self._place.nudge()
            return None if self._line.problem is not None else self._place.row
        if hold.is_unread:
            hold.is_unread = False
            return self._place.row
        try:
            return self._now()
        except StorageError:
            return None

    def _now(self) -> Row:
        """The row, asked for. Raises StorageError."""
        self._line.look(self.key)
        return self._row()

    def _row(self) -> Row:
        row = self._place.row
        assert row is not None
        return row

    def _shown_snapshot(self, row: Row) -> Snapshot:
        snapshot = row.snapshot(self.location, self._cipher)
        if snapshot.state != "present":
            return snapshot
        if self._hold is not None:
            try:
                self._spill.answer(snapshot.fp)
            except StorageError as problem:  # the answer to this pair: without its key the pair must not be sent
                return Snapshot("unreachable", snapshot.stamp, snapshot.token, snapshot.fp, problem)
        if not row.is_writable:
            return snapshot._replace(problem=self._not_writable())
        if self._newest().forbids(row.seen):
            return snapshot._replace(problem=self._gone_back())
        return snapshot

    def _newest(self) -> Seen:
        """The newest generation that this process has seen; under the lock, that this host has."""
        own = self._place.newest
        return own.then(self._spill.newest()) if self._hold is not None else own

    def _unreachable(self, row: Row | None) -> Snapshot:
        row = row or self._place.row
        problem = self._line.problem
        problem = problem.reworded() if problem else not_asked(self.location)
        last = row.snapshot(self.location, self._cipher) if row is not None else Snapshot("absent")
        return Snapshot("unreachable", last.stamp, last.token, last.fp, problem)

    def _claim(self, row: Row, fp: str | None) -> Claim:
        claim = row.claim(fp, self._me, self._place.passed_s, self._cipher)
        if claim.state != "staged" and self._hold is not None and (pair := claim.fp or fp or ""):
            try:
                answer = self._spill.answer(pair)
            except StorageError:
                return claim._replace(state="in_flight", fp=pair, wait_s=WITNESSED_S)
            if answer is not None:
                return claim._replace(state="staged", fp=pair, staged=answer, wait_s=0.0)
        return claim

    def _me(self) -> owners.Owner:
        return owners.this_process(self._line.clock.boot_id())

    def _need(self) -> PostgresHold:
        if self._hold is None or self._place.thread != threading.get_ident() or self._hold.is_released:
            raise RuntimeError("a credential is written with its lock held, and with it only")
        return self._hold

    def _not_writable(self) -> StoreUnwritable:
        return not_writable(
            tr("{location} takes no writes: it is a replica, or the role may only read", location=self.location)
        )

    def _gone_back(self) -> StorageError:
        return StorageError(
            tr(
                "{location} has gone back: this host has seen a newer pair, so this one is not sent",
                location=self.location,
            ),
            hint=tr("ask who restored it; then sign in again: kimi-auth login --force"),
        )
