"""The real hooks of token_refresh: every step between taking the credential's lock and releasing it.

`kimi_auth.credential.contracts` states what each hook promises, `docs/protocol.md` why the steps are in this order.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from kimi_auth.credential import backoff as backoffs
from kimi_auth.credential.classify import still_works
from kimi_auth.credential.context import CredentialContext
from kimi_auth.credential.contracts import (
    ClaimOutcome,
    CommitOutcome,
    LookAgainOutcome,
    PostponeOutcome,
    RecordRevokedOutcome,
    RecordUnrecognizedOutcome,
    RenewClaimOutcome,
    RereadOutcome,
    StageOutcome,
    WithdrawOutcome,
)
from kimi_auth.credential.ports import CONNECT_S, Ports, token_from
from kimi_auth.errors import KimiAuthError, Revoked, StorageError, Unreachable, WrongIssuer
from kimi_auth.store import Backoff, Claim, RevokedMark, Snapshot, View
from kimi_auth.support.language import tr
from kimi_auth.support.logs import logger
from kimi_auth.token import left_s
from kimi_auth.wire.outcomes import ExchangeOutcome, RevokeOutcome

if TYPE_CHECKING:
    from kimi_auth.wire import Answer, Grant

__all__ = ["TokenRefreshHooks"]

log: logging.Logger = logger("credential")

Done = TypeVar("Done")

UNSAVED_RETRY_S = 1.0
RECOVERY_PAUSE_S = 1.0
"""Seconds before this process sends a token again whose answer was lost: servers with a reuse grace period accept
that."""


class TokenRefreshHooks:
    """Implements `TokenRefreshContract`."""

    def __init__(self, effects: Ports) -> None:
        self._ports = effects
        self._store = effects.store
        self._server = effects.server
        self._clock = effects.clock
        self._issuer = effects.issuer

    def reread(self, ctx: CredentialContext, /) -> tuple[RereadOutcome, CredentialContext]:
        view, state, error = self._ports.look()
        snapshot, token, now = view.snapshot, view.snapshot.token, self._ports.now()
        # Results of an earlier try of this walk must not steer this one.
        ctx = ctx._replace(view=view, claim=Claim("none"), retry_after_s=None, retry_at_s=0.0)
        if snapshot.state in {"corrupt", "unreachable"}:
            return self._unread(ctx._replace(error=error))
        if isinstance(error, WrongIssuer):
            return "foreign", ctx._replace(error=error)
        if state == "absent" or token is None:
            return "gone", ctx
        # Noted on disk before anything else: with a note in memory only, processes rotate in turn for one rejected
        # bearer.
        if token.access_token == ctx.need.not_bearer and snapshot.fp != view.backoff.rejected_fp:
            ctx = self._backing_off(ctx, backoffs.after_rejection(view.backoff, snapshot.fp, now.wall_s))
        backoff = ctx.view.backoff
        if token.is_empty and error is None:
            return "renewable", ctx  # another program's tombstone: a staged answer of ours is installed over it
        if isinstance(error, Revoked) or not token.refresh_token:
            return "revoked", ctx._replace(error=error)
        if backoffs.attainable(ctx.need, backoff).met_by(snapshot, now.age_s):
            return "satisfied", ctx
        forced_until_s = backoffs.forced_until_s(backoff, now.wall_s)
        if backoffs.is_forced(snapshot, ctx.need, now.age_s) and forced_until_s:
            # No `retry_at_s`: the token may work at other URLs, so its holders do not wait.
            return "backing_off", ctx._replace(error=backoffs.rejected_again(forced_until_s - now.wall_s))
        until_s = backoffs.retry_at_s(
            backoff,
            now.wall_s,
            is_blocked_now=state == "blocked",
            insist=ctx.need.insist,
            own_retry_at_s=ctx.backoff_until_s,
        )
        if until_s:
            return "backing_off", ctx._replace(error=backoffs.transient_error(backoff)).retrying_at(until_s)
        return "renewable", ctx

    def _unread(self, ctx: CredentialContext) -> tuple[RereadOutcome, CredentialContext]:
        if ctx.snapshot.state == "corrupt":
            return "corrupt", ctx
        if ctx.error is not None and not ctx.error.is_transient:
            return "backing_off", ctx  # waiting brings no key and no table: the caller hears at once why
        return "backing_off", ctx._replace(retry_at_s=self._clock.wall_s() + UNSAVED_RETRY_S)

    def claim(self, ctx: CredentialContext, /) -> tuple[ClaimOutcome, CredentialContext]:
        try:
            claim = self._store.claim(ctx.snapshot.fp)
        except StorageError as error:
            return "unwritable", ctx._replace(error=_kept(error))
        ctx = ctx._replace(claim=claim)
        match claim.state:
            case "staged":
                return "staged", ctx._replace(pair=claim.staged)
            case "interrupted":
                return "interrupted", ctx
            case "in_flight" if claim.wait_s > 0 or self._can_wait(ctx):
                return "in_flight", self._met_in_flight(ctx, claim)
            case "in_flight":  # its owner has been silent for longer than a request takes, and this need cannot wait
                return "interrupted", ctx
            case _:
                return "claimed", ctx

    def renew_claim(self, ctx: CredentialContext, /) -> tuple[RenewClaimOutcome, CredentialContext]:
        try:
            claim = self._store.renew_claim(ctx.claim)
        except StorageError as error:
            return "unwritable", ctx._replace(error=_kept(error))
        return "claimed", ctx._replace(claim=claim)

    def _can_wait(self, ctx: CredentialContext) -> bool:
        """True while the stored token serves this caller: a disconnected owner may still receive the answer."""
        state, _ = self._ports.classify(ctx.view)
        return ctx.need.waits(state, ctx.snapshot, self._ports.now().age_s)

    def _met_in_flight(self, ctx: CredentialContext, claim: Claim) -> CredentialContext:
        owner = claim.owner or tr("another process")
        until = (
            tr("recovered in {seconds:.0f} s", seconds=claim.wait_s)
            if claim.wait_s
            else tr("recovered when this token has ended")
        )
        return ctx._replace(
            error=Unreachable(
                tr("{owner} may still be renewing; {until}", owner=owner, until=until),
                retry_after_s=claim.wait_s or None,
            ),
            retry_at_s=self._clock.wall_s() + claim.wait_s if claim.wait_s else 0.0,
        )

    def look_again(self, ctx: CredentialContext, /) -> tuple[LookAgainOutcome, CredentialContext]:
        # A lock that does not exclude (a shared folder, a removed lock file) lets another process rotate or sign in
        # between `reread` and `claim`. Sending the pair then would be a reuse, for which servers revoke the login (RFC
        # 9700 §4.14.2).
        again = self._store.read()
        if again.fp == ctx.snapshot.fp and again.problem is None and self._store.revoked_mark(again.fp) is None:
            return "unchanged", ctx
        return "changed", ctx

    def withdraw_claim(self, ctx: CredentialContext, /) -> tuple[WithdrawOutcome, CredentialContext]:
        # A renewed claim stays: "not sent" is true of this walk only, an earlier one may have spent the token.
        if ctx.claim.state == "made":
            self._drop_claim(ctx.claim)
        return "withdrawn", ctx

    def exchange(self, ctx: CredentialContext, /) -> tuple[ExchangeOutcome, CredentialContext]:
        try:
            if ctx.hold is not None:
                ctx.hold.check()  # again: since the claim this process may have been stopped, and its lock taken over
        except StorageError as error:
            return "not_processed", ctx._replace(error=_kept(error))
        sent_at_s = self._clock.wall_s()  # before the request: a slow answer must not make the token look younger
        ctx = ctx._replace(sent_at_s=self._clock.monotonic_s())
        connect_s = self._ports.advisory_connect_s if ctx.patience_s == 0 else CONNECT_S
        answer = self._server.exchange(ctx.stored.refresh_token, connect_timeout_s=connect_s)
        return self.answered(ctx, answer, sent_at_s)

    def answered(
        self, ctx: CredentialContext, answer: Answer[ExchangeOutcome, Grant], sent_at_s: float
    ) -> tuple[ExchangeOutcome, CredentialContext]:
        """What the answer to the request of `sent_at_s` (unix seconds) means to the walk of token_refresh. Touches nothing."""
        ctx = ctx._replace(error=answer.error, retry_after_s=answer.retry_after_s)
        # Nothing that can fail stands between the answer and `stage`: until then the pair exists in this frame only.
        if answer.outcome == "tokens" and answer.value is not None:
            before = ctx.stored
            pair = token_from(answer.value, sent_at_s=sent_at_s, issuer=self._issuer, before=before)
            return "tokens", ctx._replace(pair=pair, error=None)
        return answer.outcome, ctx._replace(in_doubt=answer.outcome == "in_doubt")

    def stage(self, ctx: CredentialContext, /) -> tuple[StageOutcome, CredentialContext]:
        pair = ctx.pair
        assert pair is not None
        error = self._insist(lambda: self._store.stage(ctx.claim, pair))
        return ("unwritable", ctx._replace(error=error)) if error else ("staged", ctx)

    def commit(self, ctx: CredentialContext, /) -> tuple[CommitOutcome, CredentialContext]:
        new = ctx.pair or ctx.claim.staged
        assert new is not None
        # Each try compares again: while the disk fails, a program that takes no lock may sign in or out.
        there = self._insist(lambda: self._store.commit(ctx.claim, new))
        if isinstance(there, KimiAuthError):
            return "unwritable", ctx._replace(error=there)
        if not isinstance(there, Snapshot):
            # A login or logout is newer than the answer; a live pair must not stay on disk unused.
            self._drop_claim(ctx.claim)
            return there, ctx
        now = self._ports.now()
        life_s = left_s(new, now.age_s)  # a staged pair from an earlier process may be old
        renewed = backoffs.after_renewal(
            ctx.view.backoff,
            now.wall_s,
            forced=backoffs.is_forced(ctx.snapshot, ctx.need, now.age_s),
            life_s=life_s,
            too_short=0 < life_s < ctx.need.min_ttl_s,
        )
        ctx = self._backing_off(ctx._replace(view=View(there, binding=self._ports.bound(ctx.view.binding))), renewed)
        took = f"{(self._clock.monotonic_s() - ctx.sent_at_s) * 1000:.0f} ms" if ctx.sent_at_s else "staged before"
        log.info("renewed: pair %s, %.0f s of life, %s", there.fp, life_s, took)
        return "committed", ctx._replace(error=None)

    def revoke(self, ctx: CredentialContext, /) -> tuple[RevokeOutcome, CredentialContext]:
        pair = ctx.pair
        if pair is None or not (pair.refresh_token or pair.access_token):
            return "unsupported", ctx._replace(revocation="unread")
        # Revoking a refresh token should end its access tokens too (RFC 7009 §2.1), so one request suffices.
        if pair.refresh_token:
            answer = self._server.revoke(pair.refresh_token, "refresh_token")
        else:
            answer = self._server.revoke(pair.access_token, "access_token")
        return answer.outcome, ctx._replace(revocation=answer.outcome, error=ctx.error or answer.error)

    def record_revoked(self, ctx: CredentialContext, /) -> tuple[RecordRevokedOutcome, CredentialContext]:
        mark = RevokedMark(self._clock.wall_s(), ctx.error.message if ctx.error else "")
        try:
            self._store.mark_revoked(ctx.snapshot.fp, mark)
        except StorageError as error:
            log.warning("the server's refusal could not be recorded: %s", error.line)
            return "unrecorded", ctx
        return "recorded", ctx._replace(view=ctx.view._replace(mark=mark))

    def record_unrecognized(self, ctx: CredentialContext, /) -> tuple[RecordUnrecognizedOutcome, CredentialContext]:
        words = ctx.error.message if ctx.error else tr("an answer that is no OAuth answer")
        error = Unreachable(words, hint=ctx.error.hint if ctx.error else "")
        fp, now = ctx.snapshot.fp, self._ports.now()
        works = still_works(ctx.snapshot, now.age_s)
        backoff = backoffs.after_unrecognized(ctx.view.backoff, fp, error, now.wall_s, self._ports.luck(), works=works)
        until_s = backoffs.retry_at_s(
            backoff, now.wall_s, is_blocked_now=not works and backoffs.is_blocked(backoff, fp)
        )
        ctx = self._backing_off(ctx._replace(error=error), backoff)
        return "recorded", ctx.retrying_at(until_s)

    def postpone(self, ctx: CredentialContext, /) -> tuple[PostponeOutcome, CredentialContext]:
        backoff = backoffs.after_failure(
            ctx.view.backoff, ctx.error, ctx.retry_after_s, self._clock.wall_s(), self._ports.luck()
        )
        ctx = self._backing_off(ctx, backoff).retrying_at(backoff.retry_at_s)
        return "postponed", self._recovering(ctx) if ctx.in_doubt else ctx

    def _recovering(self, ctx: CredentialContext) -> CredentialContext:
        """Under the lock, after the first lost answer, this process alone tries again after a second, whatever its
        patience is: a reuse grace period of a server is short."""
        asked_s = ctx.retry_after_s or 0.0
        if ctx.recoveries or asked_s > RECOVERY_PAUSE_S or not self._ports.recovers(ctx.patience_s):
            return ctx
        retry_at_s = min(ctx.retry_at_s or math.inf, self._clock.wall_s() + RECOVERY_PAUSE_S)
        # The deadline grows too: an advisory walk has none left, and would give up before its recovery.
        deadline_s = max(ctx.deadline_s, self._clock.monotonic_s() + 2 * RECOVERY_PAUSE_S)
        return ctx._replace(retry_at_s=retry_at_s, deadline_s=deadline_s, recoveries=1)

    def _insist(self, write: Callable[[], Done]) -> Done | KimiAuthError:
        """Retries `write` every second with the lock held: releasing it would let another process send the spent
        token."""
        began_s = self._clock.monotonic_s()
        while True:
            try:
                return write()
            except StorageError as error:
                if not self._ports.keeps_trying(self._clock.monotonic_s() - began_s):
                    return error
                log.warning("a renewed login cannot be saved yet, trying on: %s", error)
                self._clock.sleep(UNSAVED_RETRY_S)

    def _backing_off(self, ctx: CredentialContext, backoff: Backoff) -> CredentialContext:
        """Writes the shared backoff under the lock; this renewal goes by it, too."""
        # Best effort: without it processes only retry sooner, and raising would hide the walk's own outcome.
        try:
            self._store.set_backoff(backoff)
        except StorageError as error:
            log.warning("the shared backoff could not be written: %s", error.line)
        return ctx._replace(view=ctx.view._replace(backoff=backoff))

    def _drop_claim(self, claim: Claim) -> None:
        try:
            self._store.withdraw_claim(claim)
        except StorageError as error:
            log.warning("a claim could not be taken back, the next renewal recovers: %s", error)


def _kept(error: StorageError) -> StorageError:
    return error.reworded(tr("not renewed, nothing was sent: {error}", error=error.message))
