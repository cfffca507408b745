"""A store for a role that may read access tokens alone: no refresh token, no staged pair, no fingerprint of a pair, no lease.

It renews nothing. Where a renewal is due it says so on a channel of its own (`kimi_auth_wanted`), and a caller without a
working token waits for the one that a renewer installs, as it would wait for another process that holds the lock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from kimi_auth.clock import Clock, SystemClock
from kimi_auth.errors import StorageError, StoreUnwritable
from kimi_auth.store.contract import RevokedMark, Snapshot
from kimi_auth.support.language import tr
from kimi_auth.support.loops import is_in_loop
from kimi_auth.token import fingerprint, parse_record

from . import sql
from .address import Address
from .lease import slice_s
from .reading import LOGINS_MAX, PostgresReading
from .row import Row

__all__ = ["PostgresReader"]

ELSEWHERE = "renewed elsewhere"
"""Instead of the refresh token: a login that a renewer keeps is no login that cannot be renewed. It is sent nowhere, since
this store never grants its lock."""

ASK_AGAIN_S = 5.0


class PostgresReader(PostgresReading):
    """One credential in a database, for a member of `kimi_auth_reader`. Arguments as for `PostgresStore`."""

    def __init__(self, url: str, key: str, *, clock: Clock | None = None) -> None:
        super().__init__(
            Address(url), key, None, clock or SystemClock(), look=sql.READ_ACCESS, keys_used=sql.KEYS_OF_ACCESS
        )

    def holder(self) -> str:
        return str(tr("the process that renews"))

    @contextmanager
    def locked(self, patience_s: float | None, *, give_up: Callable[[], bool] | None = None) -> Iterator[None]:
        """Never grants a reader the lock: asks for a renewal, and waits for it as long as the lock would be waited for.
        Raises StorageError where the database could not be reached to the end."""
        if not is_in_loop():
            self._wait(patience_s, give_up)
        yield None

    def _wait(self, patience_s: float | None, give_up: Callable[[], bool] | None) -> None:
        began_s, asked_at_s, stamp = time.monotonic(), float("-inf"), self.stamp()
        while self.stamp() == stamp:
            now_s = time.monotonic()
            if now_s - asked_at_s >= ASK_AGAIN_S:
                asked_at_s = now_s
                with suppress(StorageError):  # away: the next try comes soon
                    self._line.ask(sql.ASK_FOR, {"key": self.key})
            is_over = patience_s is not None and now_s - began_s >= patience_s
            if give_up is not None and give_up():
                return
            if is_over:
                if self._line.problem is not None:
                    raise self._line.problem.reworded()
                return
            left_s = patience_s - (time.monotonic() - began_s) if patience_s is not None else math.inf
            with self._place.changed:
                if self.stamp() == stamp:
                    self._place.changed.wait(max(0.0, min(slice_s(time.monotonic() - began_s), left_s)))

    def _shown_snapshot(self, row: Row) -> Snapshot:
        snapshot = super()._shown_snapshot(row)
        token = snapshot.token
        if token is None or token.is_empty:
            return snapshot
        token = parse_record({**token.record(), "refresh_token": ELSEWHERE})
        return snapshot._replace(token=token, fp=fingerprint(token))

    def _mark(self, row: Row, fp: str) -> RevokedMark | None:
        return RevokedMark(row.revoked_at or 0.0, row.revoked_message or "") if row.revoked_fp else None

    # --- beside other logins ------------------------------------------------------------------------------------------

    def logins(self) -> list[str]:
        return [row["login"] for row in self._line.ask(sql.READ_LOGINS, {"count": LOGINS_MAX})]

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise StoreUnwritable(
            tr("{location}: this program may only read access tokens", location=self.location),
            hint=tr("sign in, out and renew with the address of a renewer"),
        )

    check_writable = claim = renew_claim = withdraw_claim = stage = commit = _refuse
    put = sign_out = tidy = mark_revoked = set_backoff = bind = rename = _refuse
    """What only a renewer may do."""
