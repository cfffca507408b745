"""The hooks of `token_refresh` for a row that a worker has taken: the same machine, walked by an event loop.

The rules are those of every other renewal: each hook asks `TokenRefreshHooks` over a `RowStore`. Four steps are this
module's own, and why:

    claim     was made in the commit that took the lease, with those of the other rows of that take
    exchange  waits in an event loop: at 12 s an answer and 27 rotations a second, threads would be 324
    stage     writes nothing: a row takes the answer in one statement, `commit`, and a database that is away takes neither
    commit    goes on each second while the database is away, with the answer on this host's disk, as sessions keep it

What the other hooks write (backoff, revoked mark, binding, a claim that is withdrawn) is written when the row is given
back. A worker that dies before has a claim without an answer in the row, which is found as any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from kimi_auth.credential.contracts import (
    ClaimOutcome,
    CommitOutcome,
    CredentialContext,
    LookAgainOutcome,
    PostponeOutcome,
    RecordRevokedOutcome,
    RecordUnrecognizedOutcome,
    RenewClaimOutcome,
    RereadOutcome,
    StageOutcome,
    WithdrawOutcome,
)
from kimi_auth.credential.ports import CONNECT_S
from kimi_auth.credential.token_refresh import TokenRefreshHooks
from kimi_auth.errors import StorageError, Unreachable
from kimi_auth.store.formats import is_over
from kimi_auth.store.postgres.due import DueRows, Taken
from kimi_auth.support.language import tr
from kimi_auth.support.logs import logger
from kimi_auth.token import Token, fingerprint
from kimi_auth.wire.outcomes import ExchangeOutcome, RevokeOutcome

from .row_store import RowHold, RowStore

if TYPE_CHECKING:
    from kimi_auth.wire import Answer, Grant

__all__ = ["Asking", "FleetHooks", "SendsTokens"]

log: logging.Logger = logger("credential")

AGAIN_S = 1.0
Found = TypeVar("Found")


class SendsTokens(Protocol):
    """The server of one login."""

    async def __call__(self, refresh_token: str, /, *, connect_timeout_s: float) -> Answer[ExchangeOutcome, Grant]:
        """Spends a refresh token."""


class Asking(Protocol):
    """Calls a function that blocks, in a thread."""

    def __call__(self, call: Callable[[], Found], /) -> Awaitable[Found]:
        """Its result."""


class FleetHooks:
    """The hooks of one walk. `keeps_trying(seconds)`: whether to go on with a write that has failed for so long."""

    def __init__(
        self,
        taken: Taken,
        rows: DueRows,
        store: RowStore,
        rules: TokenRefreshHooks,
        send: SendsTokens,
        ask: Asking,
        keeps_trying: Callable[[float], bool],
    ) -> None:
        self._taken = taken
        self._rows = rows
        self._store = store
        self._rules = rules
        self._send = send
        self._ask = ask
        self._keeps_trying = keeps_trying
        self._clock = rows.clock
        self._hold = RowHold(taken.key, taken.until_s, 0.0)
        self.is_sent: bool = False

    async def reread(self, ctx: CredentialContext, /) -> tuple[RereadOutcome, CredentialContext]:
        outcome, ctx = self._rules.reread(ctx)
        # The row was due by the time that came with its pair, which is up to a tenth before the window begins.
        return ("renewable" if outcome == "satisfied" else outcome), ctx

    async def claim(self, ctx: CredentialContext, /) -> tuple[ClaimOutcome, CredentialContext]:
        return self._rules.claim(ctx)

    async def renew_claim(self, ctx: CredentialContext, /) -> tuple[RenewClaimOutcome, CredentialContext]:
        try:
            claim = await self._ask(lambda: self._rows.renew_claim(self._taken, ctx.claim))
        except StorageError as error:
            return "unwritable", ctx._replace(error=error)
        if claim is None:
            return "unwritable", ctx._replace(error=Unreachable(tr("another process took the claim over")))
        self._store.nonce = claim.nonce
        return "claimed", ctx._replace(claim=claim)

    async def look_again(self, ctx: CredentialContext, /) -> tuple[LookAgainOutcome, CredentialContext]:
        return self._rules.look_again(ctx)

    async def withdraw_claim(self, ctx: CredentialContext, /) -> tuple[WithdrawOutcome, CredentialContext]:
        return self._rules.withdraw_claim(ctx)

    async def exchange(self, ctx: CredentialContext, /) -> tuple[ExchangeOutcome, CredentialContext]:
        try:
            self._hold.at(self._clock.boottime_s()).check()
        except StorageError as error:
            return "not_processed", ctx._replace(error=error)
        sent_at_s = self._clock.wall_s()
        ctx = ctx._replace(sent_at_s=self._clock.monotonic_s())
        self.is_sent = True
        answer = await self._send(ctx.stored.refresh_token, connect_timeout_s=CONNECT_S)
        return self._rules.answered(ctx, answer, sent_at_s)

    async def stage(self, ctx: CredentialContext, /) -> tuple[StageOutcome, CredentialContext]:
        return "staged", ctx

    async def commit(self, ctx: CredentialContext, /) -> tuple[CommitOutcome, CredentialContext]:
        new = ctx.pair or ctx.claim.staged
        assert new is not None
        if (error := await self._insist(ctx.claim.fp, new)) is not None:
            return "unwritable", ctx._replace(error=error)
        return self._rules.commit(ctx)

    async def revoke(self, ctx: CredentialContext, /) -> tuple[RevokeOutcome, CredentialContext]:
        return await self._ask(lambda: self._rules.revoke(ctx))

    async def record_revoked(self, ctx: CredentialContext, /) -> tuple[RecordRevokedOutcome, CredentialContext]:
        return self._rules.record_revoked(ctx)

    async def record_unrecognized(
        self, ctx: CredentialContext, /
    ) -> tuple[RecordUnrecognizedOutcome, CredentialContext]:
        return self._rules.record_unrecognized(ctx)

    async def postpone(self, ctx: CredentialContext, /) -> tuple[PostponeOutcome, CredentialContext]:
        return self._rules.postpone(ctx)

    async def _insist(self, fp: str, new: Token) -> StorageError | None:
        """Has the hook's database take the answer; its reply is the store's `result`. An error: the answer is on this
        host's disk."""
        began_s, is_kept = self._clock.monotonic_s(), False
        while True:
            try:
                await self._ask(lambda: self._try(fp, new))
            except StorageError as error:
                if not is_kept:
                    log.warning(
                        "the database could not take a renewed login, it is kept on this host: %s", error.message
                    )
                    is_kept = True
                    await self._keep(fp, new)
                if not self._keeps_trying(self._clock.monotonic_s() - began_s):
                    return error
                await asyncio.sleep(AGAIN_S)
            else:
                return None

    def _try(self, fp: str, new: Token) -> None:
        location = str(self._rows.address)
        row = self._rows.commit(self._taken, fp, new)
        if row is not None:
            self._store.result = row.snapshot(location, self._rows.cipher)
            return
        found = self._rows.look(self._taken.key).snapshot(location, self._rows.cipher)
        if found.fp == fingerprint(new):
            self._store.result = found  # an earlier try's answer got lost
        else:
            self._store.result = "gone" if is_over(found) else "superseded"

    async def _keep(self, fp: str, new: Token) -> None:
        try:
            await asyncio.to_thread(self._rows.spill(self._taken.key).keep, fp, new)
        except StorageError as error:
            log.warning("a renewed login is in memory only: %s", error.message)
