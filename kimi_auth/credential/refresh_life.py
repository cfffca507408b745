"""When a login ends that no program renews: the end of its refresh token, for people to read.

Nothing is decided by it. The server said it (`refresh_expires_at` in the record), or the refresh token is a JWT, whose `exp`
is read without checking its signature: only the server knows whether the token still works.
"""

from __future__ import annotations

import binascii

from kimi_auth.token import CLOCK_SLACK_S, END_MAX_S, Token

__all__ = ["end_of", "ends_soon", "granted_at_s", "refresh_ends_at_s"]

SOON_S = 5 * 86_400.0
SOON_SHARE = 0.25
"""A refresh token with less life than five days, and than a quarter of what it was given, ends soon. Where its start is not
known, the five days count."""

_PAYLOAD_MAX = 8_192
_URL_SAFE = str.maketrans("-_", "+/")


def refresh_ends_at_s(token: Token) -> float:
    """The end of the refresh token, unix seconds; 0.0 where it is not known."""
    return end_of(token.refresh_token, token.refresh_expires_at_s)


def end_of(refresh_token: str, said_s: float) -> float:
    """The end of `refresh_token`, unix seconds: `said_s`, as the server said it, else its own; 0.0 where neither is known."""
    return _known(said_s or _claim(refresh_token, "exp"))


def granted_at_s(ends_at_s: float, sent_at_s: float, before: Token | None) -> float:
    """When a login that was renewed at `sent_at_s` was given its end `ends_at_s`; 0.0 where no end is known.

    A renewal that does not move the end, rotating or not, leaves the time of `before`: the login ends however often it is renewed.
    """
    old_end_s = refresh_ends_at_s(before) if before else 0.0
    if before is None or not old_end_s or ends_at_s > old_end_s + CLOCK_SLACK_S:
        return sent_at_s if ends_at_s else 0.0
    return _started_at_s(before) if ends_at_s else 0.0


def ends_soon(token: Token, now_s: float) -> bool:
    """True if a login that no program renews has ended or ends soon: at the end of its refresh token."""
    ends_at_s, started_at_s = refresh_ends_at_s(token), _started_at_s(token)
    soon_s = min(SOON_S, SOON_SHARE * max(0.0, ends_at_s - started_at_s)) if started_at_s else SOON_S
    return bool(ends_at_s) and ends_at_s - now_s < soon_s


def _started_at_s(token: Token) -> float:
    return _known(token.refresh_granted_at_s or _claim(token.refresh_token, "iat"))


def _known(at_s: float) -> float:
    return at_s if 0 < at_s <= END_MAX_S else 0.0


def _claim(text: str, name: str) -> float:
    """When the refresh token `text` ends or began, as it claims if it is a JWT (RFC 7519 §4.1), unchecked; else 0.0."""
    parts = text.split(".")
    if len(parts) != 3 or len(parts[1]) > _PAYLOAD_MAX:
        return 0.0
    import json  # `status` waits for no module that it does not need

    try:
        claims = json.loads(binascii.a2b_base64(parts[1].translate(_URL_SAFE) + "=" * (-len(parts[1]) % 4)))
        at_s = claims.get(name) if isinstance(claims, dict) else None
        return float(at_s) if isinstance(at_s, int | float) and not isinstance(at_s, bool) else 0.0
    except (ValueError, OverflowError, RecursionError):
        return 0.0
