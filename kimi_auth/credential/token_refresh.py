"""The real hooks of token_refresh: everything that happens between taking the credential's lock and giving it back."""

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
    CredentialContext,
    ExchangeOutcome,
    InspectOutcome,
    InstallOutcome,
    LookAgainOutcome,
    PostponeOutcome,
    RecordRefusalOutcome,
    RecordUnclearOutcome,
    RenewClaimOutcome,
    RereadOutcome,
    SaveHeirOutcome,
    WithdrawOutcome,
)
from kimi_auth.errors import KimiAuthError, Revoked, StorageError, Unreachable, WrongIssuer
from kimi_auth.store import Binding, Claim, CredentialStore, Pace, Refusal, Snapshot
from kimi_auth.token import DEFAULT_LIFETIME_S, Token, fingerprint, left_s
from kimi_auth.wire.outcomes import RevokeOutcome

if TYPE_CHECKING:
    from kimi_auth.wire import Grant, OAuthServer

__all__ = ["Ports", "TokenRefreshHooks", "token_from"]

log = logging.getLogger("kimi_auth.credential")

Done = TypeVar("Done")

CONNECT_S = 5.0
UNSAVED_ONE_SHOT_S = 30.0
UNSAVED_RETRY_S = 1.0
RECOVERY_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Ports:
    """What the hooks work on. `issuer`: the OAuth host that requests go to. `built_in`: the platform's own host, to which a
    record belongs that names none ("": the same).

    `keeps_trying(seconds)`: whether a pair that cannot be written is tried again after so many seconds of trying, with
    the lock held. `recovers(patience_s)`: whether a walk may wait and try once more in this process, and so take longer.
    `now_s`: unix time by which ages are judged, None for the wall clock itself. `luck`: a number in 0..1 for jitter.
    `advisory_connect_s`: how long an advisory renewal waits for a connection. `is_ending`: the program is to end, so that
    the lock is not waited for any longer.
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
        """Reads the credential and judges it by the clock; nothing is sent, nothing is written."""
        snapshot = self.store.read()
        fp = snapshot.fp
        state, trouble = judge.judge(
            snapshot,
            self.store.refusal(fp) if fp else None,
            self.store.peek_claim(fp) if fp else Claim("none"),
            self.store.pace(),
            self.not_ours(snapshot.token) if snapshot.token else None,
            self.judged_at_s(),
            self.clock.wall_s(),
        )
        return snapshot, state, trouble

    def not_ours(self, token: Token) -> WrongIssuer | None:
        """Why this stored pair must not be sent to `issuer`, None if it may be."""
        return judge.not_ours(token, self.store.binding(), self.issuer, self.built_in or self.issuer)

    def judged_at_s(self) -> float:
        """Now, for judging an age: unix seconds."""
        return self.now_s() if self.now_s else self.clock.wall_s()


def token_from(grant: Grant, *, sent_at_s: float, issuer: str, before: Token | None = None) -> Token:
    """The pair in a token answer (RFC 6749 §5.1, §6). Its end is counted from the moment before the request was sent.

    What a refresh answer leaves out (refresh token, scope) stays as it was in `before`; a refresh token that no request can
    carry does not: the old one is spent.
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
        token, pace = snapshot.token, self._store.pace()
        now_s, wall_s = self._ports.judged_at_s(), self._clock.wall_s()
        ctx = replace(ctx, snapshot=snapshot, claim=Claim("none"), retry_after_s=None, retry_at_s=0.0)
        if state == "corrupt":
            return "corrupt", replace(ctx, trouble=trouble)
        if isinstance(trouble, WrongIssuer):
            return "foreign", replace(ctx, trouble=trouble)
        if state == "absent" or token is None:
            return "gone", ctx
        if token.access_token == ctx.need.not_bearer and snapshot.fp != pace.rejected_fp:
            pace = judge.after_rejection(pace, snapshot.fp, wall_s)
            self._set_pace(pace)
        if isinstance(trouble, Revoked) or not token.refresh_token:
            return "refused", replace(ctx, trouble=trouble)
        if judge.attainable(ctx.need, pace).met_by(snapshot, now_s):
            return "satisfied", ctx
        if judge.is_forced(snapshot, ctx.need, now_s) and judge.forced_until_s(pace, wall_s):
            return "paced", replace(ctx, trouble=judge.rejected_again())  # it may work elsewhere: nothing is waited for
        until_s = judge.held_until_s(
            pace, wall_s, refused=state == "refused", insist=ctx.need.insist, ours_s=ctx.paced_until_s
        )
        if until_s:
            return "paced", self._retrying_at(until_s, replace(ctx, trouble=judge.weather(pace)))
        return "renewable", ctx

    def claim(self, ctx: CredentialContext, /) -> tuple[ClaimOutcome, CredentialContext]:
        try:
            claim = self._store.claim(ctx.snapshot.fp)
        except StorageError as trouble:
            return "unwritable", replace(ctx, trouble=_kept(trouble))
        ctx = replace(ctx, claim=claim)
        match claim.state:
            case "heir":
                return "heir", replace(ctx, pair=claim.heir)
            case "interrupted":
                return "interrupted", ctx
            case "in_flight" if claim.wait_s > 0 or self._can_wait(ctx):
                return "in_flight", self._met_in_flight(ctx, claim)
            case "in_flight":  # silent for longer than a request takes, and without a new token nothing goes on
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
        """True while the stored token serves this caller: an owner that is cut off may still bring the answer."""
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
        again = self._store.read()
        if again.fp == ctx.snapshot.fp and again.problem is None and self._store.refusal(again.fp) is None:
            return "unchanged", ctx
        return "changed", ctx

    def withdraw_claim(self, ctx: CredentialContext, /) -> tuple[WithdrawOutcome, CredentialContext]:
        if ctx.claim.state == "made":
            self._drop_claim(ctx.claim)
        return "withdrawn", ctx

    def exchange(self, ctx: CredentialContext, /) -> tuple[ExchangeOutcome, CredentialContext]:
        before = _pair_of(ctx.snapshot)
        sent_at_s = self._clock.wall_s()
        connect_s = self._ports.advisory_connect_s if ctx.patience_s == 0 else CONNECT_S
        answer = self._server.exchange(before.refresh_token, connect_timeout_s=connect_s)
        ctx = replace(ctx, trouble=answer.error, retry_after_s=answer.retry_after_s)
        if answer.outcome == "tokens" and answer.value is not None:
            pair = token_from(answer.value, sent_at_s=sent_at_s, issuer=self._issuer, before=before)
            return "tokens", replace(ctx, pair=pair, trouble=None)
        return answer.outcome, replace(ctx, in_doubt=answer.outcome == "ambiguous")

    def save_heir(self, ctx: CredentialContext, /) -> tuple[SaveHeirOutcome, CredentialContext]:
        pair = ctx.pair
        assert pair is not None
        trouble = self._insist(lambda: self._store.save_heir(ctx.claim, pair))
        return ("unsaved", replace(ctx, trouble=trouble)) if trouble else ("saved", ctx)

    def install(self, ctx: CredentialContext, /) -> tuple[InstallOutcome, CredentialContext]:
        # Each try compares anew: while the disk is in trouble, a program that takes no lock may sign in or out.
        there = self._insist(lambda: self._install(ctx))
        if isinstance(there, KimiAuthError):
            return "unsaved", replace(ctx, trouble=there)
        if there != "installed":
            self._drop_claim(ctx.claim)
            return there, ctx
        now_s = self._ports.judged_at_s()
        life_s = left_s(ctx.pair, now_s) if ctx.pair else 0.0  # an heir may be old
        renewed = judge.after_renewal(
            self._store.pace(),
            self._clock.wall_s(),
            forced=judge.is_forced(ctx.snapshot, ctx.need, now_s),
            life_s=life_s,
            too_short=0 < life_s < ctx.need.min_ttl_s,
        )
        self._set_pace(renewed)
        self._bind_once()
        return "installed", replace(ctx, snapshot=self._store.read(), trouble=None)

    def _install(self, ctx: CredentialContext) -> Literal["installed", "gone", "superseded"]:
        """One try. Raises StorageError."""
        fp, store = ctx.snapshot.fp, self._store
        if ctx.pair and store.peek_claim(fp).state != "heir" and store.read().fp == fp:
            store.save_heir(ctx.claim, ctx.pair)  # the answer is not where it was put, and lives in this process only
        new = ctx.pair or ctx.claim.heir
        stored = store.read()
        if stored.state == "absent" or (stored.token is not None and stored.token.is_empty):
            return "gone"
        # Our own pair is there already if an earlier try failed after the rename: then that is made durable now.
        if stored.state == "present" and stored.fp not in (fp, fingerprint(new) if new else fp):
            return "superseded"
        store.install_heir(fp)
        return "installed"

    def revoke(self, ctx: CredentialContext, /) -> tuple[RevokeOutcome, CredentialContext]:
        pair = ctx.pair
        if pair is None or not (pair.refresh_token or pair.access_token):
            return "unsupported", replace(ctx, revocation="unread")
        if pair.refresh_token:
            answer = self._server.revoke(pair.refresh_token, "refresh_token")
        else:
            answer = self._server.revoke(pair.access_token, "access_token")
        return answer.outcome, replace(ctx, revocation=answer.outcome, trouble=ctx.trouble or answer.error)

    def record_refusal(self, ctx: CredentialContext, /) -> tuple[RecordRefusalOutcome, CredentialContext]:
        words = ctx.trouble.message if ctx.trouble else ""
        try:
            self._store.refuse(ctx.snapshot.fp, Refusal(self._clock.wall_s(), words))
        except StorageError as trouble:
            log.warning("the server's refusal could not be recorded: %s", trouble.line)
            return "unrecorded", ctx
        return "recorded", ctx

    def record_unclear(self, ctx: CredentialContext, /) -> tuple[RecordUnclearOutcome, CredentialContext]:
        words = ctx.trouble.message if ctx.trouble else "an answer that is no OAuth answer"
        error = Unreachable(words, hint=ctx.trouble.hint if ctx.trouble else "")
        fp, wall_s = ctx.snapshot.fp, self._clock.wall_s()
        works = judge.still_works(ctx.snapshot, self._ports.judged_at_s())
        pace = judge.after_unclear(self._store.pace(), fp, error, wall_s, self._ports.luck(), works=works)
        self._set_pace(pace)
        until_s = judge.held_until_s(pace, wall_s, refused=not works and judge.is_soft_refusal(pace, fp))
        return "recorded", self._retrying_at(until_s, replace(ctx, trouble=error))

    def postpone(self, ctx: CredentialContext, /) -> tuple[PostponeOutcome, CredentialContext]:
        pace = judge.after_failure(
            self._store.pace(), ctx.trouble, ctx.retry_after_s, self._clock.wall_s(), self._ports.luck()
        )
        self._set_pace(pace)
        ctx = self._retrying_at(pace.not_before_s, ctx)
        return "postponed", self._recovering(ctx) if ctx.in_doubt else ctx

    def _retrying_at(self, until_s: float, ctx: CredentialContext) -> CredentialContext:
        """The walk waits out the backoff that ends at `until_s`, unless what was found is not transient."""
        is_transient = isinstance(ctx.trouble, Unreachable)
        return replace(ctx, retry_at_s=until_s if is_transient else 0.0, paced_until_s=until_s)

    def _recovering(self, ctx: CredentialContext) -> CredentialContext:
        """The first answer that is lost: this process alone tries again after a second, whatever its patience is. A server
        that takes a token twice does so for a short time only."""
        asked_s = ctx.retry_after_s or 0.0
        if ctx.recoveries or asked_s > RECOVERY_PAUSE_S or not self._ports.recovers(ctx.patience_s):
            return ctx
        retry_at_s = min(ctx.retry_at_s or math.inf, self._clock.wall_s() + RECOVERY_PAUSE_S)
        deadline_s = max(ctx.deadline_s, self._clock.monotonic_s() + 2 * RECOVERY_PAUSE_S)
        return replace(ctx, retry_at_s=retry_at_s, deadline_s=deadline_s, recoveries=1)

    def held_for_s(self) -> float:
        """How long nobody tries to renew, in seconds; 0.0 for now."""
        wall_s = self._clock.wall_s()
        return max(0.0, judge.held_until_s(self._store.pace(), wall_s) - wall_s)

    def _insist(self, write: Callable[[], Done]) -> Done | KimiAuthError:
        """Tries `write` every second while the lock is held: letting go would lose a pair that only we know."""
        began_s = self._clock.monotonic_s()
        while True:
            try:
                return write()
            except StorageError as trouble:
                if not self._ports.keeps_trying(self._clock.monotonic_s() - began_s):
                    return trouble
                log.warning("a renewed login cannot be saved yet, trying on: %s", trouble)
                self._clock.sleep(UNSAVED_RETRY_S)

    def _set_pace(self, pace: Pace) -> None:
        try:
            self._store.set_pace(pace)
        except StorageError as trouble:
            log.warning("the shared pace could not be written: %s", trouble.line)

    def _bind_once(self) -> None:
        """The first renewal that succeeded shows whose the login is: another client may drop the record's own key."""
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
