"""The `CredentialStore` in PostgreSQL. `sql` has the statements, `line` the connection, `lease` the lock.

Reads are of memory, kept up to date by notifications; under the lock `view` and `read` ask. Times are the database's.
Whether a claim may be recovered is decided by the database's clock too: at once where its owner closed it or this host's
kernel knows that the owner has ended, else after 75 s of one incarnation of the database, and not while the owner's session
still stands. An answer that the database cannot take is kept on this host's disk (`spill`) and committed later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

from kimi_auth.clock import Clock, SystemClock
from kimi_auth.errors import ConfigError, NotSignedIn, StorageError, StoreUnwritable
from kimi_auth.store import formats
from kimi_auth.store.contract import Backoff, Binding, Claim, Committed, CredentialStore, RevokedMark
from kimi_auth.support.language import tr
from kimi_auth.support.loops import is_in_loop
from kimi_auth.support.text import clean
from kimi_auth.token import Token, fingerprint

from . import sql
from .address import Address
from .lease import PostgresHold, take, take_here
from .reading import LOGINS_MAX, PostgresReading
from .row import encode_owner, encode_staged, encode_token

__all__ = ["PostgresStore"]

log: logging.Logger = logging.getLogger("kimi_auth.store")

RENAME_PATIENCE_S = 31.0


class PostgresStore(PostgresReading):
    """One credential in a database. `url`: `postgresql://…`, checked as `Address` says; `key`: `oauth/<platform>`, or with an
    account `oauth/<platform>@<account>`; `folder`: where this host keeps answers that the database cannot take yet, None for
    a host without a disk.

    All stores of a process for one `url` share one connection and one thread. Safe for any number of threads, processes and
    hosts, and across forks. Raises ConfigError.
    """

    def __init__(self, url: str, key: str, *, folder: Path | None = None, clock: Clock | None = None) -> None:
        super().__init__(Address(url), key, folder, clock or SystemClock())

    # --- taking the lock ----------------------------------------------------------------------------------------------

    @contextmanager
    def locked(
        self, patience_s: float | None, *, give_up: Callable[[], bool] | None = None
    ) -> Iterator[PostgresHold | None]:
        if is_in_loop() or not take_here(self._place, patience_s, give_up):  # no event loop waits for a database
            yield None
            return
        hold: PostgresHold | None = None
        try:
            hold = self._hold = take(self._place, self._me(), patience_s, give_up)
            yield hold
        finally:
            if hold is not None:
                self._release(hold)
            self._hold, self._place.thread = None, 0
            self._place.lock.release()

    def _release(self, hold: PostgresHold) -> None:
        """Gives the lease back and tells the waiters; if that fails, they wait until it is over."""
        hold.is_released = True
        try:
            self._line.ask(sql.RELEASE, {"key": self.key, "fence": hold.fence, "nonces": hold.nonces})
        except StorageError as error:
            log.warning("a lease was not given back, the next renewal waits for its end: %s", error.line)

    # --- under the lock -----------------------------------------------------------------------------------------------

    def claim(self, fp: str) -> Claim:
        hold = self._need()
        hold.check()
        if fp == formats.EMPTY_FP:
            return self._staged_or_refuse()
        if (kept := self._claim(self._row(), fp)).state == "staged":
            return kept
        found = self._shown_snapshot(self._row())
        if found.state in {"present", "unreachable"} and found.problem is not None:
            raise found.problem
        mine = self._new_claim(hold, fp)
        if self._write(sql.CLAIM, mine):
            return self._own("made", mine)
        row = self._now()
        if row.fence != hold.fence:
            raise hold.lost()
        claim = self._claim(row, fp)
        if claim.nonce == mine["nonce"]:
            return self._own("made", mine)  # the statement ran twice
        if claim.state == "none":
            said = tr("{location}: the row has another pair than the one to be sent", location=self.location)
            raise StorageError(said, hint=tr("another process has renewed or signed in; try again"))
        if claim.state == "in_flight" and not row.is_dated:
            self._write(sql.REDATE, {"nonce": claim.nonce})
        return self._claim(self._row(), fp) if claim.state == "in_flight" else claim

    def renew_claim(self, claim: Claim) -> Claim:
        hold = self._need()
        hold.check()
        mine = self._new_claim(hold, claim.fp)
        if not self._write(sql.RENEW, {**mine, "old": claim.nonce}):
            row = self._now()
            if row.claim_nonce != mine["nonce"]:
                said = tr("{location}: the claim was taken over by another process", location=self.location)
                raise StorageError(said, hint=tr("it is renewing; try again"))
        return self._own("renewed", mine)

    def withdraw_claim(self, claim: Claim) -> None:
        self._need()
        self._write(sql.WITHDRAW, {"fp": claim.fp, "nonce": claim.nonce})
        self._spill.drop(claim.fp)

    def stage(self, claim: Claim, token: Token) -> None:
        hold = self._need()
        formats.encode_record(token)  # raises for a pair that no reader would accept
        owner = encode_owner(self._me())
        nonce = claim.nonce or token_hex(8)
        params = {
            "fp": claim.fp,
            "nonce": nonce,
            "owner": owner,
            "staged": encode_staged(token, self.key, claim.fp, self._cipher),
        }
        try:
            self._write(sql.STAGE, params)
        except StorageError as error:
            if not self._spill.keep(claim.fp, token):
                raise
            log.warning("the database could not take a renewed login, it is kept on this host: %s", error.message)
        if nonce in hold.nonces:
            hold.nonces.remove(nonce)

    def commit(self, claim: Claim, token: Token) -> Committed:
        self._need()
        new = fingerprint(token)
        params = self._encoded(token) | {"fp": claim.fp, "empty": formats.EMPTY_FP}
        if not self._write(sql.COMMIT, params):
            found = self._shown_snapshot(self._now())
            if formats.is_over(found):
                return "gone"
            # A database that has gone back shows an older pair, which is spent: the answer is newer than that one too.
            is_older = 0 < self._row().seen.generation < self._newest().generation
            if found.fp != new and not (is_older and self._write(sql.COMMIT, params | {"fp": found.fp})):
                return "superseded"
            self._write(sql.SWEEP, {"fp": new, "keeps_claim": False})
        self._spill.drop(claim.fp)
        self._spill.see(self._row().seen)
        return self._shown_snapshot(self._row())

    def put(self, token: Token) -> None:
        self._install(token, keeps_claim=formats.is_tombstone(token))

    def sign_out(self, now_s: float) -> None:
        self._install(Token("", "", 0.0, 0.0, signed_out_at_s=max(now_s, 1.0)), keeps_claim=True)

    def _install(self, token: Token, *, keeps_claim: bool) -> None:
        hold = self._need()
        params = self._encoded(token)
        found = self.read()
        if found.problem is not None and (found.state == "unreachable" or isinstance(found.problem, StoreUnwritable)):
            raise found.problem
        if found.state == "corrupt":
            self._line.ask(sql.ASIDE, {"key": self.key})
        if not self._write(sql.PUT, params | {"fp": params["new"], "keeps_claim": keeps_claim}):
            raise hold.lost()
        row = self._row()
        self._place.newest = row.seen  # a login is newer than all that was seen, also with the same pair
        self._spill.note(row.seen)
        self._spill.drop_others({row.fp or "", row.claim_fp or ""})  # as PUT does with claims

    def tidy(self, now_s: float) -> None:
        hold = self._need()
        found = self.read()
        if found.state == "unreachable" and found.problem is not None:
            raise found.problem
        if found.state == "corrupt":
            return  # its pair is unknown, and its claim may still count
        if formats.has_served(found.token, now_s):
            self._write(sql.FORGET, {})
        keeps = formats.is_tombstone(found.token)
        if not self._write(sql.SWEEP, {"fp": found.fp, "keeps_claim": keeps}):
            raise hold.lost()
        if formats.is_over(found):
            self.bind(None)

    def mark_revoked(self, fp: str, refusal: RevokedMark) -> None:
        self._mine(sql.MARK, {"fp": fp, "at": refusal.at_s, "message": clean(refusal.message)})

    def set_backoff(self, backoff: Backoff) -> None:
        self._mine(sql.BACKOFF, {"backoff": formats.encode_backoff(backoff).decode()})

    def bind(self, binding: Binding | None) -> None:
        self._mine(sql.BIND, {"binding": None if binding is None else formats.encode_binding(binding).decode()})

    # --- beside other logins ------------------------------------------------------------------------------------------

    def logins(self) -> list[str]:
        return [row["login"] for row in self._line.ask(sql.LOGINS, {"count": LOGINS_MAX})]

    def rename(self, target: CredentialStore) -> str:
        if not isinstance(target, PostgresStore) or target.address.name != self.address.name:
            raise ConfigError(tr("{location} is another store", location=target.location))
        from kimi_auth.store.all_locked import all_locked  # a renewal does without

        in_order = sorted((self, target), key=lambda one: one.key)
        with all_locked(in_order, RENAME_PATIENCE_S):
            return self._rename(target)

    def _rename(self, target: PostgresStore) -> str:
        view, there = self.view(), target.view().snapshot
        if problem := view.snapshot.problem or there.problem:
            raise problem
        token = view.snapshot.token
        if token is None or token.is_empty:
            raise NotSignedIn(tr("there is no login in {location}", location=self.location))
        if there.token is not None and not there.token.is_empty:
            words = tr("{location} holds another login of that name", location=target.location)
            raise ConfigError(words, hint=tr("give it another name"))
        params = target._encoded(token) | {"empty": formats.EMPTY_FP, "old": self.key, "old_fence": self._need().fence}
        (done,) = self._line.ask(sql.RENAME, params | {"key": target.key, "fence": target._need().fence})
        if not done["renamed"]:
            raise StorageError(
                tr("{location}: a renewal was begun and is not finished", location=self.location),
                hint=tr("finish it with kimi-auth token, then try again"),
            )
        self._now()
        target._now()
        target._spill.see(target._row().seen)
        return view.snapshot.fp

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _encoded(self, token: Token) -> dict[str, Any]:
        """The columns of a pair that is installed now."""
        return encode_token(token, self._line.clock.wall_s(), self.key, self._cipher)

    def _mine(self, statement: str, params: Mapping[str, object]) -> None:
        """A write that only the holder of the lease may do. Raises LockLost."""
        hold = self._need()
        if not self._write(statement, params):
            raise hold.lost()

    def _write(self, statement: str, params: Mapping[str, object]) -> bool:
        """Whether the store's statement changed the row. What it changed is in memory then."""
        hold, since_s = self._need(), self._line.clock.boottime_s()
        changed = bool(self._line.ask(statement, {"key": self.key, "fence": hold.fence, **params}))
        if changed:
            hold.is_unread = False
            hold.lasts(self._row().lease_left_s or 0.0, since_s)
        return changed

    def _new_claim(self, hold: PostgresHold, fp: str) -> dict[str, Any]:
        nonce = token_hex(8)
        hold.nonces.append(nonce)  # before it is sent: an answer may get lost, and then it is closed all the same
        return {"fp": fp, "nonce": nonce, "owner": encode_owner(self._me()), "witness": self._line.witness}

    def _own(self, state: Literal["made", "renewed"], mine: dict[str, Any]) -> Claim:
        return Claim(state, mine["fp"], owner=self._me().text, nonce=mine["nonce"])

    def _staged_or_refuse(self) -> Claim:
        """The answer that this store installs over a tombstone, whose pair cannot be sent. Raises StorageError if none is staged."""
        claim = self._claim(self._now(), None)
        if claim.state != "staged":
            raise StorageError(
                tr("no answer is staged in {location}", location=self.location),
                hint=tr("sign in again: kimi-auth login"),
            )
        return claim
