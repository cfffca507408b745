"""The shared backoff: when a renewal may be tried again, and what each end of a try makes of it. Pure functions."""

from __future__ import annotations

from kimi_auth.credential.context import Need
from kimi_auth.errors import Blocked, ClientRefused, KimiAuthError, Unreachable
from kimi_auth.store import Backoff, Snapshot
from kimi_auth.support.language import Kept, tr
from kimi_auth.token import BACKOFF_AHEAD_MAX_S, WINDOW_SHARE, is_ahead, phase

__all__ = [
    "after_failure",
    "after_rejection",
    "after_renewal",
    "after_unrecognized",
    "answered",
    "attainable",
    "blocked",
    "forced_until_s",
    "is_blocked",
    "is_forced",
    "postponed",
    "rejected_again",
    "retry_at_s",
    "transient_error",
]

BACKOFF_FIRST_S, BACKOFF_MAX_S = 1.0, 60.0
UNRECOGNIZED_FIRST_S, UNRECOGNIZED_MAX_S = 60.0, 900.0
UNRECOGNIZED_APART_S = 60.0
"""Only unrecognized answers at least this far apart count towards `blocked`, however often callers retry."""
FORCED_FIRST_S, FORCED_MAX_S = 30.0, 900.0


def attainable(need: Need, backoff: Backoff) -> Need:
    """The `need` that another try can meet. The backoff knows the longest life that this server granted; a need of more
    becomes one of a fresh token, since no rotation would bring a longer one."""
    # Without this a `min_ttl_s` above the server's lifetime rotates at every call.
    if not 0 < backoff.life_s < need.min_ttl_s:
        return need
    return need._replace(min_ttl_s=WINDOW_SHARE * backoff.life_s)


def is_blocked(backoff: Backoff, fp: str) -> bool:
    """True after two unrecognized answers for the pair `fp`, at least a minute apart: a short outage blocks no
    login."""
    return (
        backoff.unrecognized_fp == fp
        and backoff.unrecognized_count >= 2
        and backoff.unrecognized_last_at_s - backoff.unrecognized_first_at_s >= UNRECOGNIZED_APART_S
    )


def blocked(backoff: Backoff) -> Blocked:
    """The backoff's error for `blocked`. It quotes the stored answer, so that a person can tell a proxy from an ended login."""
    return Blocked(tr("the server keeps refusing to renew: {reason}", reason=answered(backoff.unrecognized_words)))


def retry_at_s(
    backoff: Backoff, now_s: float, *, is_blocked_now: bool = False, insist: bool = False, own_retry_at_s: float = 0.0
) -> float:
    """The time before which no process retries, unix seconds (0.0: retry now). A time too far ahead was written under
    another clock and is void.

    `is_blocked_now`: the login is blocked and retried once in 15 min, unless a person `insist`s. `own_retry_at_s`: the
    backoff that this walk set or waited out; it is ignored.
    """
    # A person who asks for a new pair (`--refresh`) has perhaps just left the captive portal whose page was met.
    is_unrecognized = backoff.retry_at_s == backoff.unrecognized_retry_at_s
    times = (
        0.0 if insist and is_unrecognized else backoff.retry_at_s,
        backoff.unrecognized_last_at_s + UNRECOGNIZED_MAX_S if is_blocked_now and not insist else 0.0,
    )
    return max((until_s for until_s in times if until_s != own_retry_at_s and is_ahead(until_s, now_s)), default=0.0)


def forced_until_s(backoff: Backoff, now_s: float) -> float:
    """The time before which no process rotates a live token because the platform rejected it, unix seconds (0.0: now).
    Only forced rotations obey it; the token stays available to every caller. Without it, one URL that rejects every
    token would cause one rotation for each request."""
    return backoff.forced_retry_at_s if is_ahead(backoff.forced_retry_at_s, now_s) else 0.0


def is_forced(snapshot: Snapshot, need: Need, now_s: float) -> bool:
    """True if the renewal to back off is due only because the platform rejected the access token, not because it has
    ended."""
    token = snapshot.token
    return token is not None and token.access_token == need.not_bearer and phase(token, now_s) != "expired"


def after_failure(
    backoff: Backoff, error: KimiAuthError | None, retry_after_s: float | None, now_s: float, luck: float
) -> Backoff:
    """The backoff after a transient error: 1 s doubling to 60 s, up to a quarter less by jitter (`luck` in 0..1); at
    least `retry_after_s` (RFC 9110 §10.2.3), capped at 15 min."""
    # Jitter: after an outage, processes must not retry in the same moment.
    wait_s = min(BACKOFF_FIRST_S * 2 ** min(backoff.failures, 10), BACKOFF_MAX_S) * (1 - luck / 4)
    wait_s = max(wait_s, min(retry_after_s or 0.0, BACKOFF_AHEAD_MAX_S))
    return backoff._replace(
        retry_at_s=now_s + wait_s,
        failures=backoff.failures + 1,
        code=error.code if error else "",
        message=error.message if error else "",
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
        backing_off = backing_off._replace(retry_at_s=now_s + _unrecognized_wait_s(count))
    return backing_off._replace(
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
    # A server that drops tokens now and then is no URL that rejects every one: it gets the short delay again.
    calm = now_s > backoff.forced_retry_at_s + FORCED_MAX_S
    noted = backoff._replace(rejected_fp=fp, rejected_at_s=now_s)
    return noted._replace(forced=0, forced_retry_at_s=0.0) if calm else noted


def after_renewal(
    backoff: Backoff, now_s: float, *, forced: bool, life_s: float = 0.0, too_short: bool = False
) -> Backoff:
    """The backoff after a renewal: all failures are forgotten, except the number of recent `forced` rotations, which
    delays the next one by 30 s doubling to 15 min.

    `life_s`: the new token's remaining life, 0.0 if it has none. The longest life seen is kept, until a token is
    `too_short` for the caller.
    """
    # `forced` outlives a success: each rotation that a rejecting URL causes succeeds, and the next would follow at once.
    after = Backoff(
        renewed_at_s=now_s,
        forced=backoff.forced,
        forced_retry_at_s=backoff.forced_retry_at_s,
        life_s=life_s if too_short else max(backoff.life_s, life_s),
    )
    if not forced:
        return after
    wait_s = min(FORCED_FIRST_S * 2 ** min(backoff.forced, 10), FORCED_MAX_S)
    return after._replace(forced=backoff.forced + 1, forced_retry_at_s=now_s + wait_s)


def _unrecognized_wait_s(count: int) -> float:
    return min(UNRECOGNIZED_FIRST_S * 2.0 ** min(max(count, 1) - 1, 10), UNRECOGNIZED_MAX_S)


def answered(words: str) -> str:
    """The message that a backoff keeps of a failure, or a revoked mark of the server's answer, as a sentence."""
    return Kept.by(_sentence_of, words)


def _sentence_of(words: str) -> str:
    from kimi_auth.wire.kept_words import sentence_of  # loads TLS, for which no event loop waits

    return sentence_of(words)


def transient_error(backoff: Backoff) -> KimiAuthError:
    """The stored error behind the current backoff."""
    kind = ClientRefused if backoff.code == ClientRefused.code else Unreachable
    return kind(answered(backoff.message) or tr("the server could not be reached"))


def rejected_again(wait_s: float) -> KimiAuthError:
    """The backoff's error for a forced rotation that came too soon after the last one; the next may be made in `wait_s` seconds."""
    words = tr("the API rejected this access token soon after it was renewed for that reason")
    return postponed(Unreachable(words, hint=tr("wait, or look at it: kimi-auth doctor --verify")), wait_s)


def postponed(error: KimiAuthError, wait_s: float) -> KimiAuthError:
    """A transient error, with the seconds until the next try in its message."""
    words = tr("{error}; not tried again for {seconds:.0f} s", error=error.message, seconds=wait_s)
    return error.reworded(words, retry_after_s=wait_s)
