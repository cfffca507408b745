"""When a login ends that no program renews: the end of its refresh token, for people to read.

Nothing is decided by it. The server said it (`refresh_expires_at` in the record), or the refresh token is a JWT, whose `exp`
is read without checking its signature: only the server knows whether the token still works.
"""

from __future__ import annotations

import binascii

from kimi_auth.token import END_MAX_S, Token

__all__ = ["ends_soon", "refresh_ends_at_s"]

SOON_S = 5 * 86_400.0
SOON_SHARE = 0.25
"""A refresh token with less life than five days, and than a quarter of what it was given, ends soon."""

_PAYLOAD_MAX = 8_192
_URL_SAFE = str.maketrans("-_", "+/")


def refresh_ends_at_s(token: Token) -> float:
    """The end of the refresh token, unix seconds; 0.0 where it is not known."""
    ends_at_s = token.refresh_expires_at_s or _exp_of_jwt(token.refresh_token)
    return ends_at_s if 0 < ends_at_s <= END_MAX_S else 0.0


def ends_soon(token: Token, now_s: float) -> bool:
    """True if the refresh token has ended or is about to."""
    ends_at_s = refresh_ends_at_s(token)
    given_s = ends_at_s - (token.expires_at_s - token.expires_in_s)  # the pair was granted at that time
    return bool(ends_at_s) and ends_at_s - now_s < min(SOON_S, SOON_SHARE * max(0.0, given_s))


def _exp_of_jwt(text: str) -> float:
    """`exp` of a JWT (RFC 7519 §4.1.4), unchecked; 0.0 for any other text."""
    parts = text.split(".")
    if len(parts) != 3 or len(parts[1]) > _PAYLOAD_MAX:
        return 0.0
    import json  # `status` waits for no module that it does not need

    try:
        claims = json.loads(binascii.a2b_base64(parts[1].translate(_URL_SAFE) + "=" * (-len(parts[1]) % 4)))
        exp = claims.get("exp") if isinstance(claims, dict) else None
        return float(exp) if isinstance(exp, int | float) and not isinstance(exp, bool) else 0.0
    except (ValueError, OverflowError, RecursionError):
        return 0.0
