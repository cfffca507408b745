"""The real hooks of token_refresh: every step between taking the credential's lock and releasing it.

`kimi_auth.credential.contracts` states what each hook promises, `docs/protocol.md` why the steps are in this order.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from kimi_auth.clock import Clock
from kimi_auth.credential import judge
from kimi_auth.credential.contracts import (
    ClaimOutcome,
    CommitOutcome,
    CredentialContext,
    InspectOutcome,
    LookAgainOutcome,
    PostponeOutcome,
    RecordRevokedOutcome,
    RecordUnrecognizedOutcome,
    RenewClaimOutcome,
    RereadOutcome,
    StageOutcome,
    WithdrawOutcome,
)
from kimi_auth.errors import KimiAuthError, Revoked, StorageError, Unreachable, WrongIssuer
from kimi_auth.store import Backoff, Binding, Claim, CredentialStore, RevokedMark, Snapshot
from kimi_auth.token import DEFAULT_LIFETIME_S, Token, fingerprint, left_s
from kimi_auth.wire.outcomes import ExchangeOutcome, RevokeOutcome

if TYPE_CHECKING:
    from kimi_auth.wire import Grant, OAuthServer

__all__ = ["Ports", "TokenRefreshHooks", "token_from"]

log = logging.getLogger("kimi_auth.credential")

Done = TypeVar("Done")

CONNECT_S = 5.0
UNSAVED_ONE_SHOT_S = 30.0
UNSAVED_RETRY_S = 1.0
RECOVERY_PAUSE_S = 1.0
"""Seconds before this process sends a token again whose answer was lost: servers with a reuse grace period accept
that."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the hooks: store, server, clock and policies. `issuer`: the OAuth host that requests go to.
    `built_in`: the platform's own host, which owns a record that names no issuer ("": the same as `issuer`).

    `keeps_trying(seconds)`: whether to retry a failing write of a new pair after so many seconds, with the lock held.
    `recovers(patience_s)`: whether a walk may wait and try once more in this process. `now_s`: unix time for computing
    ages, None for the wall clock. `luck`: a number in 0..1 for jitter. `advisory_connect_s`: the connect timeout of an
    advisory renewal. `is_ending`: the program is ending, so no walk waits for the lock any longer.
    """

    store: CredentialStore
    server: OAuthServer
    clock: Clock
    issuer: str
    keeps_trying: Callable[[float], bool] = lambda tried_s: tried_s < UNSAVED_ONE_SHOT_S
    recovers: Callable[[float | None], bool] = lambda patience_s: True
    now_s: Callable[[], float] | None = None
    luck: Callable[[], float] = field(default=random.random)
    advisory_connect_s: float = CONNECT_S
    built_in: str = ""
    is_ending: Callable[[], bool] = lambda: False

    def look(self) -> tuple[Snapshot, InspectOutcome, KimiAuthError | None]:
        """Reads the credential and classifies it by the clock. Sends nothing, writes nothing."""
        snapshot = self.store.read()
        fp = snapshot.fp
        state, trouble = judge.judge(
            snapshot,
            self.store.revoked_mark(fp) if fp else None,
            self.store.peek_claim(fp) if fp else Claim("none"),
            self.store.backoff(),
            self.not_ours(snapshot.token) if snapshot.token else None,
            self.judged_at_s(),
            self.clock.wall_s(),
        )
        return snapshot, state, trouble

    def not_ours(self, token: Token) -> WrongIssuer | None:
        """Why this stored pair must not be sent to `issuer`, None if it may be."""
        return judge.not_ours(token, self.store.binding(), self.issuer, self.built_in or self.issuer)

    def judged_at_s(self) -> float:
        """Unix time for computing an age, in seconds."""
        return self.now_s() if self.now_s else self.clock.wall_s()


def token_from(grant: Grant, *, sent_at_s: float, issuer: str, before: Token | None = None) -> Token:
    """The pair in a token answer (RFC 6749 §5.1, §6). Its lifetime runs from `sent_at_s`, before the request was sent.

    A refresh answer may omit the refresh token and the scope (RFC 6749 §5.1, §6): then those of `before` stay valid. An
    unsendable new refresh token arrives here as "", and the old one does not replace it, because it is spent.
    """
    lifetime_s = grant.expires_in_s or DEFAULT_LIFETIME_S
    return Token(
        grant.access_token,
        grant.refresh_token if grant.refresh_token is not None else before.refresh_token if before else "",
        sent_at_s + lifetime_s,
        lifetime_s,
        grant.scope or (before.scope if before else ""),
        grant.token_type,
        issuer,
    )


class TokenRefreshHooks:
    """Implements `TokenRefreshContract`."""

    def __init__(self, effects: Ports) -> None:
        self._ports = effects
        self._store = effects.store
        self._server = effects.server
        self._clock = effects.clock
        self._issuer = effects.issuer

    def reread(self, ctx: CredentialContext, /) -> tuple[RereadOutcome, CredentialContext]:
        snapshot, state, trouble = self._ports.look()
        token, backoff = snapshot.token, self._store.backoff()
        now_s, wall_s = self._ports.judged_at_s(), self._clock.wall_s()
        # Results of an earlier try of this walk must not steer this one.
        ctx = replace(ctx, snapshot=snapshot, claim=Claim("none"), retry_after_s=None, retry_at_s=0.0)
        if state == "corrupt":
            return "corrupt", replace(ctx, trouble=trouble)
        if isinstance(trouble, WrongIssuer):
            return "foreign", replace(ctx, trouble=trouble)
        if state == "absent" or token is None:
            return "gone", ctx
        # Noted on disk before anything else: with a note in memory only, processes rotate in turn for one rejected
        # bearer.
        if token.access_token == ctx.need.not_bearer and snapshot.fp != backoff.rejected_fp:
            backoff = judge.after_rejection(backoff, snapshot.fp, wall_s)
            self._set_backoff(backoff)
        if isinstance(trouble, Revoked) or not token.refresh_token:
            return "revoked", replace(ctx, trouble=trouble)
        if judge.attainable(ctx.need, backoff).met_by(snapshot, now_s):
            return "satisfied", ctx
        if judge.is_forced(snapshot, ctx.need, now_s) and judge.forced_until_s(backoff, wall_s):
            # No `retry_at_s`: the token may work at other URLs, so its holders do not wait.
            return "backing_off", replace(ctx, trouble=judge.rejected_again())
        until_s = judge.retry_at_s(
            backoff,
            wall_s,
            is_blocked_now=state == "blocked",
            insist=ctx.need.insist,
            own_retry_at_s=ctx.backoff_until_s,
        )
        if until_s:
            return "backing_off", self._retrying_at(until_s, replace(ctx, trouble=judge.transient_error(backoff)))
        return "renewable", ctx

    def claim(self, ctx: CredentialContext, /) -> tuple[ClaimOutcome, CredentialContext]:
        try:
            claim = self._store.claim(ctx.snapshot.fp)
        except StorageError as trouble:
            return "unwritable", replace(ctx, trouble=_kept(trouble))
        ctx = replace(ctx, claim=claim)
        match claim.state:
            case "staged":
                return "staged", replace(ctx, pair=claim.staged)
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
        except StorageError as trouble:
            return "unwritable", replace(ctx, trouble=_kept(trouble))
        return "claimed", replace(ctx, claim=claim)

    def _can_wait(self, ctx: CredentialContext) -> bool:
        """True while the stored token serves this caller: a disconnected owner may still receive the answer."""
        snapshot, state, _ = self._ports.look()
        return ctx.need.waits(state, snapshot, self._ports.judged_at_s())

    def _met_in_flight(self, ctx: CredentialContext, claim: Claim) -> CredentialContext:
        owner = claim.owner or "another process"
        until = f"recovered in {claim.wait_s:.0f} s" if claim.wait_s else "recovered when this token has ended"
        return replace(
            ctx,
            trouble=Unreachable(f"{owner} may still be renewing; {until}"),
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
        before = _pair_of(ctx.snapshot)
        sent_at_s = self._clock.wall_s()  # before the request: a slow answer must not make the token look younger
        connect_s = self._ports.advisory_connect_s if ctx.patience_s == 0 else CONNECT_S
        answer = self._server.exchange(before.refresh_token, connect_timeout_s=connect_s)
        ctx = replace(ctx, trouble=answer.error, retry_after_s=answer.retry_after_s)
        # Nothing that can fail stands between the answer and `stage`: until then the pair exists in this frame only.
        if answer.outcome == "tokens" and answer.value is not None:
            pair = token_from(answer.value, sent_at_s=sent_at_s, issuer=self._issuer, before=before)
            return "tokens", replace(ctx, pair=pair, trouble=None)
        return answer.outcome, replace(ctx, in_doubt=answer.outcome == "in_doubt")

    def stage(self, ctx: CredentialContext, /) -> tuple[StageOutcome, CredentialContext]:
        pair = ctx.pair
        assert pair is not None
        trouble = self._insist(lambda: self._store.stage(ctx.claim, pair))
        return ("unwritable", replace(ctx, trouble=trouble)) if trouble else ("staged", ctx)

    def commit(self, ctx: CredentialContext, /) -> tuple[CommitOutcome, CredentialContext]:
        # Each try compares again: while the disk fails, a program that takes no lock may sign in or out.
        there = self._insist(lambda: self._commit(ctx))
        if isinstance(there, KimiAuthError):
            return "unwritable", replace(ctx, trouble=there)
        if there != "committed":
            # A login or logout is newer than the answer; a live pair must not stay on disk unused.
            self._drop_claim(ctx.claim)
            return there, ctx
        now_s = self._ports.judged_at_s()
        life_s = left_s(ctx.pair, now_s) if ctx.pair else 0.0  # a staged pair from an earlier process may be old
        renewed = judge.after_renewal(
            self._store.backoff(),
            self._clock.wall_s(),
            forced=judge.is_forced(ctx.snapshot, ctx.need, now_s),
            life_s=life_s,
            too_short=0 < life_s < ctx.need.min_ttl_s,
        )
        self._set_backoff(renewed)
        self._bind_once()
        return "committed", replace(ctx, snapshot=self._store.read(), trouble=None)

    def _commit(self, ctx: CredentialContext) -> Literal["committed", "gone", "superseded"]:
        """One try. Raises StorageError."""
        fp, store = ctx.snapshot.fp, self._store
        if ctx.pair and store.peek_claim(fp).state != "staged" and store.read().fp == fp:
            store.stage(ctx.claim, ctx.pair)  # the staged file is gone, so the pair exists in this process only
        new = ctx.pair or ctx.claim.staged
        stored = store.read()
        if stored.state == "absent" or (stored.token is not None and stored.token.is_empty):
            return "gone"
        # If an earlier try failed after the rename, our own pair is the record already; this try makes it durable.
        if stored.state == "present" and stored.fp not in (fp, fingerprint(new) if new else fp):
            return "superseded"
        store.commit_staged(fp)
        return "committed"

    def revoke(self, ctx: CredentialContext, /) -> tuple[RevokeOutcome, CredentialContext]:
        pair = ctx.pair
        if pair is None or not (pair.refresh_token or pair.access_token):
            return "unsupported", replace(ctx, revocation="unread")
        # Revoking a refresh token should end its access tokens too (RFC 7009 §2.1), so one request suffices.
        if pair.refresh_token:
            answer = self._server.revoke(pair.refresh_token, "refresh_token")
        else:
            answer = self._server.revoke(pair.access_token, "access_token")
        return answer.outcome, replace(ctx, revocation=answer.outcome, trouble=ctx.trouble or answer.error)

    def record_revoked(self, ctx: CredentialContext, /) -> tuple[RecordRevokedOutcome, CredentialContext]:
        words = ctx.trouble.message if ctx.trouble else ""
        try:
            self._store.mark_revoked(ctx.snapshot.fp, RevokedMark(self._clock.wall_s(), words))
        except StorageError as trouble:
            log.warning("the server's refusal could not be recorded: %s", trouble.line)
            return "unrecorded", ctx
        return "recorded", ctx

    def record_unrecognized(self, ctx: CredentialContext, /) -> tuple[RecordUnrecognizedOutcome, CredentialContext]:
        words = ctx.trouble.message if ctx.trouble else "an answer that is no OAuth answer"
        error = Unreachable(words, hint=ctx.trouble.hint if ctx.trouble else "")
        fp, wall_s = ctx.snapshot.fp, self._clock.wall_s()
        works = judge.still_works(ctx.snapshot, self._ports.judged_at_s())
        backoff = judge.after_unrecognized(self._store.backoff(), fp, error, wall_s, self._ports.luck(), works=works)
        self._set_backoff(backoff)
        until_s = judge.retry_at_s(backoff, wall_s, is_blocked_now=not works and judge.is_blocked(backoff, fp))
        return "recorded", self._retrying_at(until_s, replace(ctx, trouble=error))

    def postpone(self, ctx: CredentialContext, /) -> tuple[PostponeOutcome, CredentialContext]:
        backoff = judge.after_failure(
            self._store.backoff(), ctx.trouble, ctx.retry_after_s, self._clock.wall_s(), self._ports.luck()
        )
        self._set_backoff(backoff)
        ctx = self._retrying_at(backoff.retry_at_s, ctx)
        return "postponed", self._recovering(ctx) if ctx.in_doubt else ctx

    def _retrying_at(self, until_s: float, ctx: CredentialContext) -> CredentialContext:
        """The walk waits for the backoff that ends at `until_s`, unless its error is not transient: then waiting cannot
        help."""
        is_transient = isinstance(ctx.trouble, Unreachable)
        return replace(ctx, retry_at_s=until_s if is_transient else 0.0, backoff_until_s=until_s)

    def _recovering(self, ctx: CredentialContext) -> CredentialContext:
        """After the first lost answer, this process alone tries again after a second, whatever its patience is: a reuse
        grace period of a server is short."""
        asked_s = ctx.retry_after_s or 0.0
        if ctx.recoveries or asked_s > RECOVERY_PAUSE_S or not self._ports.recovers(ctx.patience_s):
            return ctx
        retry_at_s = min(ctx.retry_at_s or math.inf, self._clock.wall_s() + RECOVERY_PAUSE_S)
        # The deadline grows too: an advisory walk has none left, and would give up before its recovery.
        deadline_s = max(ctx.deadline_s, self._clock.monotonic_s() + 2 * RECOVERY_PAUSE_S)
        return replace(ctx, retry_at_s=retry_at_s, deadline_s=deadline_s, recoveries=1)

    def retry_in_s(self) -> float:
        """Seconds until the shared backoff is over; 0.0 if a renewal may start now."""
        wall_s = self._clock.wall_s()
        return max(0.0, judge.retry_at_s(self._store.backoff(), wall_s) - wall_s)

    def _insist(self, write: Callable[[], Done]) -> Done | KimiAuthError:
        """Retries `write` every second with the lock held: releasing it would let another process send the spent
        token."""
        began_s = self._clock.monotonic_s()
        while True:
            try:
                return write()
            except StorageError as trouble:
                if not self._ports.keeps_trying(self._clock.monotonic_s() - began_s):
                    return trouble
                log.warning("a renewed login cannot be saved yet, trying on: %s", trouble)
                self._clock.sleep(UNSAVED_RETRY_S)

    def _set_backoff(self, backoff: Backoff) -> None:
        # Best effort: without it processes only retry sooner, and raising would hide the walk's own outcome.
        try:
            self._store.set_backoff(backoff)
        except StorageError as trouble:
            log.warning("the shared backoff could not be written: %s", trouble.line)

    def _bind_once(self) -> None:
        """The first successful renewal proves the issuer. It is kept beside the record, because other clients drop the
        record's own key."""
        try:
            if self._store.binding() is None:
                self._store.bind(Binding(self._issuer))
        except StorageError as error:
            log.warning("the credential could not be bound to its OAuth host: %s", error.line)

    def _drop_claim(self, claim: Claim) -> None:
        try:
            self._store.withdraw_claim(claim)
        except StorageError as trouble:
            log.warning("a claim could not be taken back, the next renewal recovers: %s", trouble)


def _pair_of(snapshot: Snapshot) -> Token:
    assert snapshot.token is not None
    return snapshot.token


def _kept(trouble: StorageError) -> StorageError:
    return type(trouble)(f"not renewed, nothing was sent: {trouble.message}", hint=trouble.hint)
