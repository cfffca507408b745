"""The store in memory: for tests, and for programs that supply their own login and store nothing."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from kimi_auth.clock import Clock
from kimi_auth.errors import CorruptCredential, LockLost, StorageError, StoreUnwritable
from kimi_auth.support.text import clean
from kimi_auth.token import Token, fingerprint

from . import claims, owners
from .contract import Backoff, Binding, Claim, Committed, Finding, RevokedMark, Snapshot, Stamp, View
from .formats import EMPTY_FP, has_served, is_over, is_tombstone

__all__ = ["MemoryStore"]

POLL_S = 0.01
FIXED = "memory cannot be replaced: a test wants it so"


@dataclass(slots=True)
class MemoryHold:
    """The held lock of a `MemoryStore`."""

    is_released: bool = False

    def check(self) -> None:
        if self.is_released:
            raise LockLost("memory: the lock is not held any more")


class MemoryStore:
    """The `CredentialStore` of one process, shared by its threads; nothing survives it.

    `fail_writes`: every write raises StoreUnwritable, as on a full disk. `fixed`: the record cannot be replaced, like a
    file that is a mount of its own. `spoil()` makes the record corrupt, a login or a logout then sets it aside.
    """

    def __init__(self, clock: Clock) -> None:
        self.fail_writes = False
        self.fixed = False
        self._clock = clock
        self._lock = threading.Lock()
        self._thread = 0
        self._installed = 0
        self._found = Snapshot("absent")
        self._claims: dict[str, claims.Found] = {}
        self._meetings: dict[str, claims.Meetings] = {}
        self._mine: list[str] = []  # nonces of the claims made or renewed under this hold
        self._revoked: dict[str, RevokedMark] = {}
        self._backoff = Backoff()
        self._binding: Binding | None = None
        self._aside: list[Snapshot] = []

    @property
    def location(self) -> str:
        return "memory"

    @property
    def file(self) -> None:
        return None

    def clock(self) -> Clock:
        return self._clock

    def is_current(self) -> bool:
        return True

    def look(self, patience_s: float) -> None:
        """Nothing to do: memory is always up to date."""

    def examine(self) -> Iterator[Finding]:
        """Nothing to say."""
        return iter(())

    def spoil(self, words: str = "it is not JSON, or not all of it") -> None:
        """Makes the record in memory corrupt, as if another program had overwritten it."""
        self._installed += 1
        self._found = Snapshot("corrupt", (self._installed,), problem=CorruptCredential(f"memory: {words}"))

    # --- reading -----------------------------------------------------------------------------------------------------

    def view(self) -> View:
        snapshot = self.read()
        fp = snapshot.fp
        claim, mark = (self.peek_claim(fp), self.revoked_mark(fp)) if fp else (Claim("none"), None)
        if is_tombstone(snapshot.token):
            claim = self._staged() or claim
        return View(snapshot, claim, mark, self.backoff(), self.binding())

    def read(self) -> Snapshot:
        found = self._found
        if found.problem is not None:  # a new error for each reader: a traceback stays with its error
            return found._replace(problem=found.problem.reworded())
        if self.fixed and found.state == "present":
            return found._replace(problem=StoreUnwritable(FIXED))
        return found

    def stamp(self) -> Stamp:
        return self._found.stamp

    def still(self, stamp: Stamp) -> bool:
        return stamp == self.stamp()

    def revoked_mark(self, fp: str) -> RevokedMark | None:
        return self._revoked.get(fp)

    def peek_claim(self, fp: str) -> Claim:
        if fp not in self._claims:
            return Claim("none", fp)
        return claims.classify(self._claims[fp], self._met(fp), self._me(), self._clock.boottime_s())

    def backoff(self) -> Backoff:
        return self._backoff

    def binding(self) -> Binding | None:
        return self._binding

    def leftovers(self) -> tuple[str, ...]:
        return tuple(f"{self.location}: {one.problem}" for one in self._aside)

    def holder(self) -> str:
        return f"pid {os.getpid()}" if self._lock.locked() else ""

    # --- taking the lock ---------------------------------------------------------------------------------------------

    def check_writable(self) -> None:
        if self.fail_writes:
            raise StoreUnwritable("memory takes no writes: a test wants it so")
        if self.fixed:
            raise StoreUnwritable(FIXED)

    @contextmanager
    def locked(
        self, patience_s: float | None, *, give_up: Callable[[], bool] | None = None
    ) -> Iterator[MemoryHold | None]:
        if not self._take(patience_s, give_up):
            yield None
            return
        self._thread, self._mine = threading.get_ident(), []
        hold = MemoryHold()
        try:
            yield hold
        finally:
            hold.is_released = True
            self._claims = {
                fp: found._replace(is_closed=True) if found.header.nonce in self._mine else found
                for fp, found in self._claims.items()
            }
            self._thread = 0
            self._lock.release()

    def _take(self, patience_s: float | None, give_up: Callable[[], bool] | None) -> bool:
        if patience_s is None and self._thread == threading.get_ident():
            raise RuntimeError("this thread would wait for itself: it holds the lock already")
        if self._lock.acquire(blocking=False):
            return True
        # Counts slices instead of reading a clock, so that a frozen test clock cannot block it for ever.
        slices = math.inf if patience_s is None else patience_s / POLL_S
        while slices > 0 and not (give_up and give_up()):
            if self._lock.acquire(timeout=POLL_S * min(slices, 1.0)):
                return True
            slices -= 1
        return False

    # --- under the lock ----------------------------------------------------------------------------------------------

    def claim(self, fp: str) -> Claim:
        self._need()
        self.check_writable()
        if fp == EMPTY_FP:
            if (staged := self._staged()) is None:
                raise StorageError("memory: no answer is staged", hint="sign in again: kimi-auth login")
            return staged
        self._sweep(fp)
        if fp not in self._claims:
            return self._own("made", fp)
        claim = self.peek_claim(fp)
        boot, boottime_s = self._me().boot, self._clock.boottime_s()
        if claim.state == "in_flight" and self._met(fp).met_at_s(claim.nonce, boot, boottime_s) is None:
            self._meetings[fp] = self._met(fp).now_met(claim.nonce, boot, boottime_s)
        return claim

    def renew_claim(self, claim: Claim) -> Claim:
        self._need()
        found = self._claims.get(claim.fp)
        if found is None or found.answer or found.header.nonce != claim.nonce:
            raise StorageError("memory: the claim was taken over", hint="another thread is renewing; try again")
        return self._own("renewed", claim.fp)

    def withdraw_claim(self, claim: Claim) -> None:
        self._need()
        found = self._claims.get(claim.fp)
        if found is not None and found.header.nonce == claim.nonce:
            del self._claims[claim.fp]

    def stage(self, claim: Claim, token: Token) -> None:
        self._need()
        found = self._claims.get(claim.fp)
        if found is None or found.header.nonce != claim.nonce:
            found = claims.Found(claims.new(claim.fp, self._me()))
        self._claims[claim.fp] = found._replace(answer=token)

    def commit(self, claim: Claim, token: Token) -> Committed:
        self._need()
        found, new = self.read(), fingerprint(token)
        if is_over(found):
            return "gone"
        if found.state == "present" and found.fp not in (claim.fp, new) and not is_tombstone(found.token):
            return "superseded"
        if found.fp != new:
            self._install(token)
        self._sweep(new)
        return self._found

    def put(self, token: Token) -> None:
        self._need()
        self.check_writable()
        self._install(token)
        self._sweep(fingerprint(token))

    def sign_out(self, now_s: float) -> None:
        self._need()
        self.check_writable()
        self._install(Token("", "", 0.0, 0.0, signed_out_at_s=max(now_s, 1.0)))

    def tidy(self, now_s: float) -> None:
        self._need()
        found = self._found
        if has_served(found.token, now_s):
            self._found = Snapshot("absent")
        if found.state != "corrupt":
            self._sweep(found.fp)
        if is_over(found):
            self._binding = None

    def mark_revoked(self, fp: str, refusal: RevokedMark) -> None:
        self._need()
        self._revoked[fp] = RevokedMark(refusal.at_s, clean(refusal.message))

    def set_backoff(self, backoff: Backoff) -> None:
        self._need()
        self._backoff = backoff

    def bind(self, binding: Binding | None) -> None:
        self._need()
        self._binding = binding

    def close(self) -> None:
        """Keeps everything: nothing but memory is held."""

    def _need(self) -> None:
        if not self._thread:
            raise RuntimeError("a credential is written with its lock held, and with it only")
        if self.fail_writes:
            self.check_writable()

    def _me(self) -> owners.Owner:
        return owners.this_process(self._clock.boot_id())

    def _met(self, fp: str) -> claims.Meetings:
        return self._meetings.get(fp, claims.Meetings())

    def _own(self, state: Literal["made", "renewed"], fp: str) -> Claim:
        header = claims.new(fp, self._me())
        self._claims[fp] = claims.Found(header)
        self._mine.append(header.nonce)
        return Claim(state, fp, owner=header.owner.text, nonce=header.nonce)

    def _install(self, token: Token) -> None:
        if self._found.state == "corrupt":
            self._aside.append(self._found)
        self._installed += 1
        self._found = Snapshot("present", (self._installed,), token, fingerprint(token))

    def _staged(self) -> Claim | None:
        staged = [self.peek_claim(fp) for fp, found in self._claims.items() if found.answer]
        return staged[-1] if staged else None

    def _sweep(self, fp: str) -> None:
        keeps = is_tombstone(self._found.token)
        self._claims = {key: value for key, value in self._claims.items() if keeps or key == fp}
        self._revoked = {key: value for key, value in self._revoked.items() if key == fp}
