"""How a status is said: its state, its times and its colour, for `status`, `doctor` and the lists of logins."""

from __future__ import annotations

import time

from kimi_auth.cli.errors import status_error, stuck
from kimi_auth.credential.status import Status
from kimi_auth.errors import Revoked, SignInEnded
from kimi_auth.selection import ARGUMENT, DEFAULT
from kimi_auth.support.language import tr
from kimi_auth.token import CLOCK_SLACK_S, END_MAX_S

__all__ = [
    "VERDICTS",
    "WORDS",
    "claim_of",
    "days",
    "duration",
    "is_too_long",
    "lasts",
    "login_ends",
    "renewal",
    "source_words",
    "state_words",
    "tone",
]

TONES = {"fresh": "green", "expiring": "green", "usable": "yellow", "expired": "yellow", "in_doubt": "yellow"}
WORDS = {
    "fresh": tr("signed in"),
    "expiring": tr("signed in, renewal is due"),
    "usable": tr("signed in, cannot be renewed now"),
    "expired": tr("signed in, the token has expired and will be renewed when it is needed"),
    "in_doubt": tr("signed in, the answer to the last renewal was lost; the next one recovers"),
    "blocked": tr("the server keeps refusing to renew"),
    "revoked": tr("the server ended this login"),
    "corrupt": tr("the credential cannot be read"),
    "absent": tr("not signed in"),
}
SOURCES = {ARGUMENT: tr("named on the command line"), DEFAULT: tr("the default")}
UNKNOWN = tr("not known: the store cannot be reached")
STUCK = tr("the token has expired, and its store cannot take another one now")
VERDICTS = {"valid": tr("valid"), "invalid": tr("invalid"), "unknown": tr("unknown")}


def state_words(found: Status) -> str:
    """The state of a status, said for people; where the store cannot be used, only as much as this process knows."""
    if stuck(found):
        return STUCK if found.fp else UNKNOWN
    return WORDS[found.state]


def source_words(source: str) -> str:
    """How a status says where a value comes from: a variable and a file are called by their names."""
    return SOURCES.get(source, source)


def tone(found: Status) -> str:
    """The style in which a status is printed, as rich calls it: an error is red whatever the state."""
    return "bold red" if status_error(found) else TONES.get(found.state, "bold red")


def lasts(found: Status) -> str:
    """How a status says how long the access token still holds, or since when it does not."""
    if not found.left_s:
        ago_s = time.time() - found.expires_at_s
        is_dated = found.store_error is not None and found.expires_at_s > 0 and ago_s >= 0
        return tr("expired {time} ago", time=duration(ago_s)) if is_dated else tr("expired")
    left = duration(found.left_s)
    if not is_too_long(found):
        return tr("{left} left", left=left)
    return tr("{left} left, though the server granted {granted}", left=left, granted=duration(found.lifetime_s))


def is_too_long(found: Status) -> bool:
    """Whether a status's record gives the token more life than the server did: by another clock, or in another unit."""
    return found.expires_at_s > END_MAX_S or found.left_s > found.lifetime_s + CLOCK_SLACK_S


def renewal(found: Status) -> str:
    """How a status says when the access token is next renewed, or why it never is."""
    if not found.renewable:
        return tr("never: the record has no refresh token, so the login ends with this token")
    if isinstance(found.error, SignInEnded):
        return tr("never: sign in again")
    return tr("due in {time}", time=duration(found.renews_in_s)) if found.renews_in_s else tr("due")


def login_ends(found: Status, now_s: float) -> str:
    """What `status` says of the end of the refresh token."""
    left_s = found.refresh_ends_at_s - now_s
    if left_s > 0:
        return tr("ends in {time} if nothing renews it", time=days(left_s))
    return tr("ended {time} ago", time=days(-left_s))


def claim_of(found: Status) -> str:
    """The claim that a status says, if anything follows from it; where the server ended the login, no answer is waited for."""
    return "" if isinstance(found.error, Revoked) else found.claim


def days(seconds: float) -> str:
    """A long time as `status` shows it: "29 days", "30 h 20 min"."""
    return tr("{days} days", days=int(seconds // 86_400)) if seconds >= 2 * 86_400 else duration(seconds)


def duration(seconds: float) -> str:
    """A length of time as a status and doctor say it: "12 s", "8 min 05 s", "3 h 20 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return tr("{seconds} s", seconds=whole)
    if whole < 3600:
        return tr("{minutes} min {seconds:02} s", minutes=whole // 60, seconds=whole % 60)
    return tr("{hours} h {minutes:02} min", hours=whole // 3600, minutes=whole % 3600 // 60)
