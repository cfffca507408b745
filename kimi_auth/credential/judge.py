"""What a stored credential is worth now: pure functions over what was read and the time."""

from __future__ import annotations

from dataclasses import replace

from kimi_auth.credential.contracts import InspectOutcome, Need
from kimi_auth.errors import (
    ClientRefused,
    CorruptCredential,
    KimiAuthError,
    Refused,
    Revoked,
    Unreachable,
    WrongIssuer,
)
from kimi_auth.store import Binding, Claim, Pace, Refusal, Snapshot
from kimi_auth.token import WINDOW_SHARE, Token, left_s, phase

__all__ = [
    "after_failure",
    "after_rejection",
    "after_renewal",
    "after_unclear",
    "attainable",
    "forced_until_s",
    "held_until_s",
    "is_forced",
    "is_soft_refusal",
    "judge",
    "not_ours",
    "postponed",
    "rejected_again",
    "softly_refused",
    "still_works",
    "weather",
]

PACE_FIRST_S, PACE_MAX_S = 1.0, 60.0
PACE_AHEAD_MAX_S = 900.0
UNCLEAR_FIRST_S, UNCLEAR_MAX_S = 60.0, 900.0
UNCLEAR_APART_S = 60.0
"""Of unrecognized answers, those at least this far apart count towards a soft refusal, however often it is tried."""
FORCED_FIRST_S, FORCED_MAX_S = 30.0, 900.0


def judge(
    snapshot: Snapshot,
    refusal: Refusal | None,
    claim: Claim,
    pace: Pace,
    foreign: WrongIssuer | None,
    now_s: float,
    wall_s: float,
) -> tuple[InspectOutcome, KimiAuthError | None]:
    """The rest state of token_lifecycle that this credential is in, and why it is not fresh.

    `foreign`: why the record is another host's (`not_ours`). `now_s`: now as ages are judged; `wall_s`: now by the clock that a pace is written with; both unix seconds.
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
    now = phase(token, now_s)  # by time only: a bearer that one URL rejects may work at every other
    if refusal is not None or (now != "fresh" and not token.refresh_token):
        ended = now == "expired" or (refusal is not None and snapshot.fp == pace.rejected_fp)
        return ("revoked" if ended else "usable"), _revoked(refusal)
    if now == "fresh":
        return "fresh", None
    held = held_until_s(pace, wall_s) > 0
    trouble = snapshot.problem or (weather(pace) if held else None)
    if now == "expiring":
        return ("usable", trouble) if trouble else ("expiring", None)
    if is_soft_refusal(pace, snapshot.fp):
        return "refused", softly_refused(pace)
    if claim.state in {"interrupted", "in_flight"}:
        return "uncertain", Unreachable("a renewal was sent and its answer is not known")
    return "expired", trouble


def still_works(snapshot: Snapshot, now_s: float) -> bool:
    """True while the access token can be used at all: it has life left."""
    token = snapshot.token
    return bool(token and token.access_token and left_s(token, now_s) > 0)


def attainable(need: Need, pace: Pace) -> Need:
    """`need`; where it asks for more life than the server has been seen to give, for a token that is fresh instead: another
    rotation would bring no longer one."""
    if not 0 < pace.life_s < need.min_ttl_s:
        return need
    return replace(need, min_ttl_s=WINDOW_SHARE * pace.life_s)


def not_ours(token: Token, binding: Binding | None, issuer: str, built_in: str) -> WrongIssuer | None:
    """Why this pair must not be sent to `issuer`; None if it belongs there.

    The record's own key and the binding beside it name the owner, and must agree where both are there. With neither it is
    the platform's `built_in` host, whatever the environment says.
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


def is_soft_refusal(pace: Pace, fp: str) -> bool:
    """True once refusals that are no OAuth answers have come twice, a minute apart, for the pair `fp`."""
    return (
        pace.unclear_fp == fp
        and pace.unclear_count >= 2
        and pace.unclear_last_at_s - pace.unclear_first_at_s >= UNCLEAR_APART_S
    )


def softly_refused(pace: Pace) -> Refused:
    """The sentence for a soft refusal: the stored words, so that a person can tell a proxy from an ended login."""
    return Refused(f"the server keeps refusing to renew: {pace.unclear_words}")


def held_until_s(
    pace: Pace, now_s: float, *, refused: bool = False, insist: bool = False, ours_s: float = 0.0
) -> float:
    """Until when no process tries, unix seconds (0.0: try now). A time too far ahead was written under another clock: void.

    `refused`: it is a soft refusal, tried once in 15 min, which does not bind who `insist`s. `ours_s`: a time that this walk
    has set itself or has waited out.
    """
    is_unclear = pace.not_before_s == pace.unclear_until_s
    times = (
        0.0 if insist and is_unclear else pace.not_before_s,
        pace.unclear_last_at_s + UNCLEAR_MAX_S if refused and not insist else 0.0,
    )
    return max((until_s for until_s in times if until_s != ours_s and _is_ahead(until_s, now_s)), default=0.0)


def forced_until_s(pace: Pace, now_s: float) -> float:
    """Until when no process rotates a token that still has life left because the platform rejected it, unix seconds; 0.0:
    it may. Nothing but such a rotation waits for that: the token goes on being handed out."""
    return pace.forced_not_before_s if _is_ahead(pace.forced_not_before_s, now_s) else 0.0


def _is_ahead(until_s: float, now_s: float) -> bool:
    return now_s < until_s <= now_s + PACE_AHEAD_MAX_S + 1


def is_forced(snapshot: Snapshot, need: Need, now_s: float) -> bool:
    """True if a renewal is due only because the platform rejected the access token, not because it has ended."""
    token = snapshot.token
    return token is not None and token.access_token == need.not_bearer and phase(token, now_s) != "expired"


def after_failure(
    pace: Pace, error: KimiAuthError | None, retry_after_s: float | None, now_s: float, luck: float
) -> Pace:
    """The pace after a transient end: 1 s doubling to 60 s, a quarter of it jitter (`luck` in 0..1), or what the server asked."""
    wait_s = min(PACE_FIRST_S * 2 ** min(pace.failures, 10), PACE_MAX_S) * (1 - luck / 4)
    wait_s = max(wait_s, min(retry_after_s or 0.0, PACE_AHEAD_MAX_S))
    return replace(
        pace,
        not_before_s=now_s + wait_s,
        failures=pace.failures + 1,
        code=error.code if error else "",
        words=error.message if error else "",
    )


def after_unclear(pace: Pace, fp: str, error: Unreachable, now_s: float, luck: float, *, works: bool) -> Pace:
    """The pace after a refusal that is no OAuth answer: while the access token `works` 60 s doubling to 15 min, else as
    after any failure: a portal's page must not cost every caller a minute. Of those within a minute only one counts."""
    again = pace.unclear_fp == fp
    counts = not again or not 0 <= now_s - pace.unclear_last_at_s < UNCLEAR_APART_S
    count = (pace.unclear_count if again else 0) + counts
    paced = after_failure(pace, error, None, now_s, luck)
    if works:
        paced = replace(paced, not_before_s=now_s + _unclear_wait_s(count))
    return replace(
        paced,
        unclear_fp=fp,
        unclear_count=count,
        unclear_first_at_s=pace.unclear_first_at_s if again else now_s,
        unclear_last_at_s=now_s if counts else pace.unclear_last_at_s,
        unclear_until_s=paced.not_before_s,
        unclear_words=error.message,
    )


def after_rejection(pace: Pace, fp: str, now_s: float) -> Pace:
    """The pace once the platform rejected the access token of pair `fp`; after a calm time forced rotations begin anew."""
    calm = now_s > pace.forced_not_before_s + FORCED_MAX_S
    noted = replace(pace, rejected_fp=fp, rejected_at_s=now_s)
    return replace(noted, forced=0, forced_not_before_s=0.0) if calm else noted


def after_renewal(pace: Pace, now_s: float, *, forced: bool, life_s: float = 0.0, too_short: bool = False) -> Pace:
    """The pace after a renewal: everything that was in the way is forgotten, except how often it was `forced` lately: 30 s
    doubling to 15 min until the next one for that reason.

    `life_s`: what the new token has left, 0.0 if it did not come just now; the longest that was seen is kept, until one is
    `too_short` for the caller.
    """
    after = Pace(
        renewed_at_s=now_s,
        forced=pace.forced,
        forced_not_before_s=pace.forced_not_before_s,
        life_s=life_s if too_short else max(pace.life_s, life_s),
    )
    if not forced:
        return after
    wait_s = min(FORCED_FIRST_S * 2 ** min(pace.forced, 10), FORCED_MAX_S)
    return replace(after, forced=pace.forced + 1, forced_not_before_s=now_s + wait_s)


def _unclear_wait_s(count: int) -> float:
    return min(UNCLEAR_FIRST_S * 2.0 ** min(max(count, 1) - 1, 10), UNCLEAR_MAX_S)


def _revoked(refusal: Refusal | None) -> Revoked:
    if refusal is None:
        return Revoked("the server gave no refresh token, so this login cannot be renewed")
    return Revoked(refusal.words or "the server ended this login")


def weather(pace: Pace) -> KimiAuthError:
    """Why no process tries now, as it was said when it was found."""
    kind = ClientRefused if pace.code == ClientRefused.code else Unreachable
    return kind(pace.words or "the server could not be reached")


def rejected_again() -> Unreachable:
    """The sentence for a forced rotation that came too soon after the last one."""
    words = "the API rejected this access token soon after it was renewed for that reason"
    return Unreachable(words, hint="wait, or look at it: kimi-auth doctor --verify")


def postponed(error: KimiAuthError, wait_s: float) -> KimiAuthError:
    """The same error, with how long no process tries again, in seconds."""
    return type(error)(f"{error.message}; not tried again for {wait_s:.0f} s", hint=error.hint)
