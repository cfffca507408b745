"""Classifies a stored credential, and computes the next backoff: pure functions of the files read and the time."""

from __future__ import annotations

from dataclasses import replace

from kimi_auth.credential.contracts import InspectOutcome, Need
from kimi_auth.errors import (
    Blocked,
    ClientRefused,
    CorruptCredential,
    KimiAuthError,
    Revoked,
    Unreachable,
    WrongIssuer,
)
from kimi_auth.store import Backoff, Binding, Claim, RevokedMark, Snapshot
from kimi_auth.token import WINDOW_SHARE, Token, left_s, phase

__all__ = [
    "after_failure",
    "after_rejection",
    "after_renewal",
    "after_unrecognized",
    "attainable",
    "blocked",
    "forced_until_s",
    "is_blocked",
    "is_forced",
    "judge",
    "not_ours",
    "postponed",
    "rejected_again",
    "retry_at_s",
    "still_works",
    "transient_error",
]

BACKOFF_FIRST_S, BACKOFF_MAX_S = 1.0, 60.0
PACE_AHEAD_MAX_S = 900.0
UNRECOGNIZED_FIRST_S, UNRECOGNIZED_MAX_S = 60.0, 900.0
UNRECOGNIZED_APART_S = 60.0
"""Only unrecognized answers at least this far apart count towards `blocked`, however often callers retry."""
FORCED_FIRST_S, FORCED_MAX_S = 30.0, 900.0


def judge(
    snapshot: Snapshot,
    mark: RevokedMark | None,
    claim: Claim,
    backoff: Backoff,
    foreign: WrongIssuer | None,
    now_s: float,
    wall_s: float,
) -> tuple[InspectOutcome, KimiAuthError | None]:
    """The credential's rest state in token_lifecycle, and why it is not fresh.

    `foreign`: the error if the record belongs to another host (`not_ours`). `now_s`: the time for computing ages
    (`AgeClock`); `wall_s`: the clock that backoffs are written with; both unix seconds.
    """
    token = snapshot.token
    if snapshot.state == "corrupt":
        return "corrupt", snapshot.problem or CorruptCredential("the credential cannot be read")
    if token is None or (token.is_empty and token.signed_out_at_s):
        return "absent", None
    if token.is_empty:
        return "revoked", Revoked("the server ended this login: another program recorded it")
    if foreign is not None:
        return "absent", foreign
    now = phase(token, now_s)  # by time only: a bearer that one URL rejects may work at all others
    # A revoked mark ends the refresh token. The access token stays usable until it expires, unless the API rejected it.
    if mark is not None or (now != "fresh" and not token.refresh_token):
        ended = now == "expired" or (mark is not None and snapshot.fp == backoff.rejected_fp)
        return ("revoked" if ended else "usable"), _revoked(mark)
    if now == "fresh":
        return "fresh", None
    # A file that cannot be replaced (`snapshot.problem`) counts as "cannot renew": the answer could not be stored.
    held = retry_at_s(backoff, wall_s) > 0
    trouble = snapshot.problem or (transient_error(backoff) if held else None)
    # While the token works, a backoff changes nothing for callers; it only keeps them from starting a renewal.
    if now == "expiring":
        return ("usable", trouble) if trouble else ("expiring", None)
    if is_blocked(backoff, snapshot.fp):
        return "blocked", blocked(backoff)
    if claim.state in {"interrupted", "in_flight"}:
        return "in_doubt", Unreachable("a renewal was sent and its answer is not known")
    return "expired", trouble


def still_works(snapshot: Snapshot, now_s: float) -> bool:
    """True while the access token can be used at all: it has life left."""
    token = snapshot.token
    return bool(token and token.access_token and left_s(token, now_s) > 0)


def attainable(need: Need, backoff: Backoff) -> Need:
    """`need`, but if it requires more life than this server ever granted, a fresh token instead: another rotation would
    not bring a longer one."""
    # Without this a `min_ttl_s` above the server's lifetime rotates at every call.
    if not 0 < backoff.life_s < need.min_ttl_s:
        return need
    return replace(need, min_ttl_s=WINDOW_SHARE * backoff.life_s)


def not_ours(token: Token, binding: Binding | None, issuer: str, built_in: str) -> WrongIssuer | None:
    """Why this pair must not be sent to `issuer`; None if it belongs there.

    The record's own key and the binding beside it name the owner, and must agree if both exist. With neither, the owner
    is the platform's `built_in` host: an environment variable must not redirect a refresh token to another host.
    """
    if binding is not None and not binding.issuer:
        return WrongIssuer("the binding of the stored credential to its OAuth host cannot be read")
    named = [host.rstrip("/") for host in (token.issuer, binding.issuer if binding else "") if host]
    if len(set(named)) > 1:
        words = f"the stored credential says that it belongs to {named[0]}, its binding says {named[1]}"
        return WrongIssuer(words)
    owner = named[0] if named else built_in.rstrip("/")
    if owner == issuer.rstrip("/"):
        return None
    why = "" if named else ", because nothing beside it names another host"
    words = f"the stored credential belongs to {owner}{why}, not to {issuer}"
    return WrongIssuer(words, hint=f"select that host; or {WrongIssuer.default_hint}")


def is_blocked(backoff: Backoff, fp: str) -> bool:
    """True after two unrecognized answers for the pair `fp`, at least a minute apart: a short outage blocks no
    login."""
    return (
        backoff.unrecognized_fp == fp
        and backoff.unrecognized_count >= 2
        and backoff.unrecognized_last_at_s - backoff.unrecognized_first_at_s >= UNRECOGNIZED_APART_S
    )


def blocked(backoff: Backoff) -> Blocked:
    """The error for `blocked`. It quotes the stored answer, so that a person can tell a proxy from an ended login."""
    return Blocked(f"the server keeps refusing to renew: {backoff.unrecognized_words}")


def retry_at_s(
    backoff: Backoff, now_s: float, *, is_blocked_now: bool = False, insist: bool = False, own_retry_at_s: float = 0.0
) -> float:
    """The time before which no process retries, unix seconds (0.0: retry now). A time too far ahead was written under
    another clock and is void.

    `is_blocked_now`: the login is blocked and retried once in 15 min, unless a person `insist`s. `own_retry_at_s`: the
    backoff that this walk set or waited out; it is ignored.
    """
    is_unrecognized = backoff.retry_at_s == backoff.unrecognized_retry_at_s
    times = (
        0.0 if insist and is_unrecognized else backoff.retry_at_s,
        backoff.unrecognized_last_at_s + UNRECOGNIZED_MAX_S if is_blocked_now and not insist else 0.0,
    )
    return max((until_s for until_s in times if until_s != own_retry_at_s and _is_ahead(until_s, now_s)), default=0.0)


def forced_until_s(backoff: Backoff, now_s: float) -> float:
    """The time before which no process rotates a live token because the platform rejected it, unix seconds (0.0: now).
    Only forced rotations obey it; the token stays available to every caller. Without it, one URL that rejects every
    token would cause one rotation for each request."""
    return backoff.forced_retry_at_s if _is_ahead(backoff.forced_retry_at_s, now_s) else 0.0


def _is_ahead(until_s: float, now_s: float) -> bool:
    # A wall clock that was set back must not extend a backoff by the same amount.
    return now_s < until_s <= now_s + PACE_AHEAD_MAX_S + 1


def is_forced(snapshot: Snapshot, need: Need, now_s: float) -> bool:
    """True if a renewal is due only because the platform rejected the access token, not because it has ended."""
    token = snapshot.token
    return token is not None and token.access_token == need.not_bearer and phase(token, now_s) != "expired"


def after_failure(
    backoff: Backoff, error: KimiAuthError | None, retry_after_s: float | None, now_s: float, luck: float
) -> Backoff:
    """The backoff after a transient error: 1 s doubling to 60 s, up to a quarter less by jitter (`luck` in 0..1); at
    least `retry_after_s` (RFC 9110 §10.2.3), capped at 15 min."""
    # Jitter: after an outage, processes must not retry in the same moment.
    wait_s = min(BACKOFF_FIRST_S * 2 ** min(backoff.failures, 10), BACKOFF_MAX_S) * (1 - luck / 4)
    wait_s = max(wait_s, min(retry_after_s or 0.0, PACE_AHEAD_MAX_S))
    return replace(
        backoff,
        retry_at_s=now_s + wait_s,
        failures=backoff.failures + 1,
        code=error.code if error else "",
        words=error.message if error else "",
    )


def after_unrecognized(
    backoff: Backoff, fp: str, error: Unreachable, now_s: float, luck: float, *, works: bool
) -> Backoff:
    """The backoff after an unrecognized answer: 60 s doubling to 15 min while the access token `works`, else as after
    any failure, because a captive portal's page must not cost every caller a minute. Within a minute only one
    counts."""
    again = backoff.unrecognized_fp == fp
    # A negative difference counts, too: a clock that was set back must not stop the count for ever.
    counts = not again or not 0 <= now_s - backoff.unrecognized_last_at_s < UNRECOGNIZED_APART_S
    count = (backoff.unrecognized_count if again else 0) + counts
    backing_off = after_failure(backoff, error, None, now_s, luck)
    if works:
        backing_off = replace(backing_off, retry_at_s=now_s + _unrecognized_wait_s(count))
    return replace(
        backing_off,
        unrecognized_fp=fp,
        unrecognized_count=count,
        unrecognized_first_at_s=backoff.unrecognized_first_at_s if again else now_s,
        unrecognized_last_at_s=now_s if counts else backoff.unrecognized_last_at_s,
        unrecognized_retry_at_s=backing_off.retry_at_s,
        unrecognized_words=error.message,
    )


def after_rejection(backoff: Backoff, fp: str, now_s: float) -> Backoff:
    """The backoff after the platform rejected the access token of pair `fp`. The delay of forced rotations starts again
    at 30 s once the last delay has been over for 15 min."""
    calm = now_s > backoff.forced_retry_at_s + FORCED_MAX_S
    noted = replace(backoff, rejected_fp=fp, rejected_at_s=now_s)
    return replace(noted, forced=0, forced_retry_at_s=0.0) if calm else noted


def after_renewal(
    backoff: Backoff, now_s: float, *, forced: bool, life_s: float = 0.0, too_short: bool = False
) -> Backoff:
    """The backoff after a renewal: all failures are forgotten, except the number of recent `forced` rotations, which
    delays the next one by 30 s doubling to 15 min.

    `life_s`: the new token's remaining life, 0.0 if it has none. The longest life seen is kept, until a token is
    `too_short` for the caller.
    """
    after = Backoff(
        renewed_at_s=now_s,
        forced=backoff.forced,
        forced_retry_at_s=backoff.forced_retry_at_s,
        life_s=life_s if too_short else max(backoff.life_s, life_s),
    )
    if not forced:
        return after
    wait_s = min(FORCED_FIRST_S * 2 ** min(backoff.forced, 10), FORCED_MAX_S)
    return replace(after, forced=backoff.forced + 1, forced_retry_at_s=now_s + wait_s)


def _unrecognized_wait_s(count: int) -> float:
    return min(UNRECOGNIZED_FIRST_S * 2.0 ** min(max(count, 1) - 1, 10), UNRECOGNIZED_MAX_S)


def _revoked(mark: RevokedMark | None) -> Revoked:
    if mark is None:
        return Revoked("the server gave no refresh token, so this login cannot be renewed")
    return Revoked(mark.words or "the server ended this login")


def transient_error(backoff: Backoff) -> KimiAuthError:
    """The stored error behind the current backoff."""
    kind = ClientRefused if backoff.code == ClientRefused.code else Unreachable
    return kind(backoff.words or "the server could not be reached")


def rejected_again() -> Unreachable:
    """The error for a forced rotation that came too soon after the last one."""
    words = "the API rejected this access token soon after it was renewed for that reason"
    return Unreachable(words, hint="wait, or look at it: kimi-auth doctor --verify")


def postponed(error: KimiAuthError, wait_s: float) -> KimiAuthError:
    """The same error, with the seconds until the next try in its message."""
    return type(error)(f"{error.message}; not tried again for {wait_s:.0f} s", hint=error.hint)
