"""What a stored credential is worth now: pure functions over what was read and the time."""

from __future__ import annotations

from dataclasses import replace

from kimi_auth.errors import CorruptCredential, KimiAuthError, Refused, Revoked, Unreachable, WrongIssuer
from kimi_auth.flows.contracts import InspectOutcome
from kimi_auth.store import Claim, Pace, Refusal, Snapshot
from kimi_auth.token import Token, left_s, phase

__all__ = [
    "after_failure",
    "after_forced",
    "after_renewal",
    "after_unclear",
    "held_until_s",
    "is_foreign",
    "is_soft_refusal",
    "judge",
    "softly_refused",
    "still_works",
]

PACE_FIRST_S, PACE_MAX_S = 1.0, 60.0
PACE_AHEAD_MAX_S = 900.0
UNCLEAR_FIRST_S, UNCLEAR_MAX_S = 60.0, 900.0
UNCLEAR_APART_S = 60.0
FORCED_FIRST_S, FORCED_MAX_S = 30.0, 900.0


def judge(
    snapshot: Snapshot, refusal: Refusal | None, claim: Claim, pace: Pace, issuer: str, now_s: float
) -> tuple[InspectOutcome, KimiAuthError | None]:
    """The rest state of token_lifecycle that this credential is in at `now_s` (unix seconds), and why it is not fresh."""
    token = snapshot.token
    if snapshot.state == "corrupt":
        return "corrupt", snapshot.problem or CorruptCredential("the credential cannot be read")
    if token is None or (token.is_empty and token.signed_out_at_s):
        return "absent", None
    if token.is_empty:
        return "revoked", Revoked("the server ended this login: another program recorded it")
    if is_foreign(token, issuer):
        return "absent", WrongIssuer(f"the stored credential belongs to {token.issuer}, not to {issuer}")
    now = "expired" if snapshot.fp == pace.rejected_fp else phase(token, now_s)
    if refusal is not None or (now != "fresh" and not token.refresh_token):
        return ("usable" if now != "expired" else "revoked"), _revoked(refusal)
    if now == "fresh":
        return "fresh", None
    held = held_until_s(pace, now_s) > now_s
    if now == "expiring":
        return ("usable", _weather(pace)) if held else ("expiring", None)
    if is_soft_refusal(pace, snapshot.fp):
        return "refused", softly_refused(pace)
    if claim.state in {"interrupted", "elsewhere"}:
        return "uncertain", Unreachable("a renewal was sent and its answer is not known")
    return "expired", (_weather(pace) if held else None)


def still_works(snapshot: Snapshot, pace: Pace, now_s: float) -> bool:
    """True while the access token can be used at all: it has life left and the platform has not rejected it."""
    token = snapshot.token
    return bool(token and token.access_token and left_s(token, now_s) > 0 and snapshot.fp != pace.rejected_fp)


def is_foreign(token: Token, issuer: str) -> bool:
    """True if the pair was issued by another OAuth host than `issuer`; a record that does not say is accepted."""
    return bool(token.issuer) and token.issuer.rstrip("/") != issuer.rstrip("/")


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


def held_until_s(pace: Pace, now_s: float, *, forced: bool = False, refused: bool = False) -> float:
    """Until when nobody tries, unix seconds (0.0: try now). A time too far ahead was written under another clock: void.

    `forced`: the platform rejected the access token; `refused`: it is a soft refusal, tried once in 15 min.
    """
    until = max(
        pace.not_before_s,
        pace.forced_not_before_s if forced else 0.0,
        pace.unclear_last_at_s + UNCLEAR_MAX_S if refused else 0.0,
    )
    return until if now_s < until <= now_s + PACE_AHEAD_MAX_S + 1 else 0.0


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


def after_unclear(pace: Pace, fp: str, words: str, now_s: float) -> Pace:
    """The pace after a refusal that is no OAuth answer: 60 s doubling to 15 min for the same pair."""
    again = pace.unclear_fp == fp
    count = pace.unclear_count + 1 if again else 1
    return replace(
        pace,
        not_before_s=now_s + min(UNCLEAR_FIRST_S * 2 ** min(count - 1, 10), UNCLEAR_MAX_S),
        code=Unreachable.code,
        words=words,
        unclear_fp=fp,
        unclear_count=count,
        unclear_first_at_s=pace.unclear_first_at_s if again else now_s,
        unclear_last_at_s=now_s,
        unclear_words=words,
    )


def after_forced(pace: Pace, fp: str, now_s: float) -> Pace:
    """The pace once the platform rejected the access token of pair `fp`: 30 s doubling to 15 min until the next rotation
    for that reason."""
    calm = now_s > pace.forced_not_before_s + FORCED_MAX_S
    forced = 0 if calm else pace.forced
    return replace(pace, rejected_fp=fp, forced=forced, forced_not_before_s=0.0 if calm else pace.forced_not_before_s)


def after_renewal(pace: Pace, now_s: float, *, forced: bool) -> Pace:
    """The pace after a renewal: everything that was in the way is forgotten, except how often it was forced lately."""
    if not forced:
        return Pace(renewed_at_s=now_s, forced=pace.forced, forced_not_before_s=pace.forced_not_before_s)
    wait_s = min(FORCED_FIRST_S * 2 ** min(pace.forced, 10), FORCED_MAX_S)
    return Pace(renewed_at_s=now_s, forced=pace.forced + 1, forced_not_before_s=now_s + wait_s)


def _revoked(refusal: Refusal | None) -> Revoked:
    if refusal is None:
        return Revoked("the server gave no refresh token, so this login cannot be renewed")
    return Revoked(f"the server ended this login: {refusal.words}" if refusal.words else "the server ended this login")


def _weather(pace: Pace) -> KimiAuthError:
    return Unreachable(pace.words or "the server could not be reached")
