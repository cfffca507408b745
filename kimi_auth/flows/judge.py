"""What a stored credential is worth now: pure functions over what was read and the time."""

from __future__ import annotations

from dataclasses import replace

from kimi_auth.errors import ClientRefused, CorruptCredential, KimiAuthError, Refused, Revoked, Unreachable, WrongIssuer
from kimi_auth.flows.contracts import InspectOutcome
from kimi_auth.store import Binding, Claim, Pace, Refusal, Snapshot
from kimi_auth.token import Token, left_s, phase

__all__ = [
    "after_failure",
    "after_forced",
    "after_renewal",
    "after_unclear",
    "held_until_s",
    "is_forced",
    "is_soft_refusal",
    "judge",
    "not_ours",
    "softly_refused",
    "still_works",
    "weather",
]

PACE_FIRST_S, PACE_MAX_S = 1.0, 60.0
PACE_AHEAD_MAX_S = 900.0
UNCLEAR_FIRST_S, UNCLEAR_MAX_S = 60.0, 900.0
UNCLEAR_APART_S = 60.0
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
    now = "expired" if snapshot.fp == pace.rejected_fp else phase(token, now_s)
    if refusal is not None or (now != "fresh" and not token.refresh_token):
        return ("usable" if now != "expired" else "revoked"), _revoked(refusal)
    if now == "fresh":
        return "fresh", None
    held = held_until_s(pace, wall_s) > 0
    if now == "expiring":
        return ("usable", weather(pace)) if held else ("expiring", None)
    if is_soft_refusal(pace, snapshot.fp):
        return "refused", softly_refused(pace)
    if claim.state in {"interrupted", "elsewhere"}:
        return "uncertain", Unreachable("a renewal was sent and its answer is not known")
    return "expired", (weather(pace) if held else None)


def still_works(snapshot: Snapshot, pace: Pace, now_s: float) -> bool:
    """True while the access token can be used at all: it has life left and the platform has not rejected it."""
    token = snapshot.token
    return bool(token and token.access_token and left_s(token, now_s) > 0 and snapshot.fp != pace.rejected_fp)


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
    pace: Pace, now_s: float, *, forced: bool = False, refused: bool = False, insist: bool = False, ours_s: float = 0.0
) -> float:
    """Until when nobody tries, unix seconds (0.0: try now). A time too far ahead was written under another clock: void.

    `forced`: the platform rejected the access token; `refused`: it is a soft refusal, tried once in 15 min, which does not
    bind who `insist`s. `ours_s`: a time that this walk has set itself, for the others.
    """
    is_unclear = abs(pace.not_before_s - pace.unclear_last_at_s - _unclear_wait_s(pace.unclear_count)) < 1.0
    times = (
        0.0 if pace.not_before_s == ours_s or (insist and is_unclear) else pace.not_before_s,
        pace.forced_not_before_s if forced else 0.0,
        pace.unclear_last_at_s + UNCLEAR_MAX_S if refused and not insist else 0.0,
    )
    return max((until for until in times if now_s < until <= now_s + PACE_AHEAD_MAX_S + 1), default=0.0)


def is_forced(snapshot: Snapshot, pace: Pace, now_s: float) -> bool:
    """True if a renewal is due only because the platform rejected the access token, not because it has ended."""
    token = snapshot.token
    return snapshot.fp == pace.rejected_fp and token is not None and left_s(token, now_s) > 0


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
        not_before_s=now_s + _unclear_wait_s(count),
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


def _unclear_wait_s(count: int) -> float:
    return min(UNCLEAR_FIRST_S * 2.0 ** min(max(count, 1) - 1, 10), UNCLEAR_MAX_S)


def _revoked(refusal: Refusal | None) -> Revoked:
    if refusal is None:
        return Revoked("the server gave no refresh token, so this login cannot be renewed")
    return Revoked(refusal.words or "the server ended this login")


def weather(pace: Pace, until_s: float = 0.0, now_s: float = 0.0) -> KimiAuthError:
    """Why nobody tries now, as it was said when it was found; with `until_s`, also for how long."""
    words, hint = pace.words, ""
    if not words:
        words = (
            "the platform rejects every token it is given" if pace.rejected_fp else "the server could not be reached"
        )
        hint = "wait, or look at it: kimi-auth doctor --verify" if pace.rejected_fp else ""
    kind = ClientRefused if pace.code == ClientRefused.code else Unreachable
    return kind(f"{words}; not tried again for {until_s - now_s:.0f} s" if until_s else words, hint=hint)
