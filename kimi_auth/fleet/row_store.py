"""A row that a worker has taken, as the store of one walk: the rules of `token_refresh` read it and write into it.

It is memory. `Ending` says what its writes come to; the worker writes that when it gives the row back, in one statement.
"""

from __future__ import annotations

from collections.abc import Callable

from kimi_auth.errors import LockLost, StorageError
from kimi_auth.store import Backoff, Binding, Claim, Committed, RevokedMark, Snapshot, View
from kimi_auth.store.owners import Owner
from kimi_auth.store.postgres.due import Taken
from kimi_auth.store.postgres.encryption import Cipher
from kimi_auth.store.postgres.row import Row
from kimi_auth.store.postgres.spill import Seen
from kimi_auth.support.language import tr
from kimi_auth.token import Token

__all__ = ["RowHold", "RowStore"]


class RowHold:
    """The lease of a row that was taken, until `until_s` by boot time."""

    def __init__(self, key: str, until_s: float, now_s: float) -> None:
        self._key, self._until_s, self._now_s = key, until_s, now_s

    def at(self, now_s: float) -> RowHold:
        """The same at another moment."""
        return RowHold(self._key, self._until_s, now_s)

    def check(self) -> None:
        if self._now_s >= self._until_s:
            raise LockLost(tr("{key}: the lease is over, or another process has taken it", key=self._key))


class RowStore:
    """The parts of `CredentialStore` that the hooks of `token_refresh` use, on one row.

    `nonce`: of the claim that this worker owns, "" for none. `spilled`: the answer to this pair that this host keeps, None for
    none. `newest`: the newest generation that this host has seen of the row. `result`: what the database said to the commit.
    """

    def __init__(
        self, taken: Taken, location: str, me: Owner, cipher: Cipher, spilled: Token | None, newest: Seen
    ) -> None:
        self._row: Row = taken.row
        self._location = location
        self._me: Callable[[], Owner] = lambda: me
        self._cipher = cipher
        self._spilled = spilled
        self._newest = newest
        self.nonce: str = taken.nonce
        self.drops: bool = False
        self.backoff_set: Backoff | None = None
        self.bound: Binding | None = None
        self.mark: tuple[str, RevokedMark] | None = None
        self.result: Committed = "gone"

    def view(self) -> View:
        snapshot = self.read()
        claim = self._row.claim(snapshot.fp or None, self._me, 0.0, self._cipher)
        if self.nonce and claim.nonce == self.nonce:
            claim = Claim("none", snapshot.fp)  # made with the lease: to the rules it comes later
        return View(snapshot, claim, self._row.mark(snapshot.fp), self._row.shared_backoff(), self._row.host())

    def read(self) -> Snapshot:
        found = self._row.snapshot(self._location, self._cipher)
        if found.state == "present" and self._newest.forbids(self._row.seen):
            words = tr(
                "{location} has gone back: this host has seen a newer pair, so this one is not sent",
                location=self._location,
            )
            return found._replace(state="corrupt", problem=StorageError(words))
        return found

    def revoked_mark(self, fp: str) -> RevokedMark | None:
        return self._row.mark(fp)

    def claim(self, fp: str) -> Claim:
        """The claim of the row that was taken: made with the lease, in its commit; or the one that stood there."""
        found = self._row.claim(fp, self._me, 0.0, self._cipher)
        if self._spilled is not None and found.state != "staged":
            return found._replace(state="staged", fp=fp, staged=self._spilled)
        if self.nonce and found.nonce == self.nonce:
            return Claim("made", fp, owner=found.owner, nonce=self.nonce)
        return found

    def withdraw_claim(self, claim: Claim) -> None:
        self.drops = True

    def commit(self, claim: Claim, token: Token) -> Committed:
        return self.result

    def mark_revoked(self, fp: str, refusal: RevokedMark) -> None:
        self.mark = fp, refusal

    def set_backoff(self, backoff: Backoff) -> None:
        self.backoff_set = backoff

    def bind(self, binding: Binding | None) -> None:
        self.bound = binding
