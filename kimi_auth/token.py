"""A credential's pair of tokens, its record, and the rules for its age and for a stored time to wait for.

This module is the hot path of `kimi-auth token`, so it imports only C modules that cost no noticeable start-up time.
The lifecycle machine's hook, Session and status use the same functions.

The record on disk is the Kimi CLI's: one JSON object with `access_token`, `refresh_token`, `expires_at` (unix seconds),
`expires_in` (seconds), `scope`, `token_type`; ours adds `issuer`, `refresh_expires_at` (unix seconds) where the server said
it, `refresh_granted_at` where the end is known, and after a logout `signed_out_at`.
"""

from __future__ import annotations

try:
    from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from hashlib import sha256

DEFAULT_LIFETIME_S = 900.0
"""Default life of an access token, in seconds, if its record has none: the life that auth.kimi.com grants."""

LIFETIME_MIN_S = 1.0
LIFETIME_MAX_S = 10 * 365 * 86_400.0
RECORD_MAX_BYTES = 65_536
"""The size limit of a record, and so of a token, from the wire to the disk."""
RECORD_FILE_MAX_BYTES = RECORD_MAX_BYTES + 4_096
"""The read limit of a record's file: a record that was committed from a claim keeps the claim's first line."""
END_MAX_S = 1e11
"""A later `expires_at` (the year 5138) is not in seconds: some programs write milliseconds. It counts as unknown."""
CLOCK_SLACK_S = 5.0
WINDOW_SHARE = 7 / 12
MARGIN_MAX_S = 30.0
MARGIN_SHARE = 0.1
BACKOFF_AHEAD_MAX_S = 900.0


class RecordError(ValueError):
    """The record cannot be parsed as a credential; the message quotes none of its content."""


class Token:
    """One pair: `access_token` (sent as Bearer), `refresh_token` (single use), and the end of the first one.

    `expires_at_s` is unix seconds, `expires_in_s` the life that the server granted, in seconds; either is 0.0 if
    unknown. `issuer` is the OAuth host that issued the pair, "" if the record has none. `refresh_expires_at_s`: when the
    refresh token ends, as the server said it, 0.0 if it did not; `refresh_granted_at_s`: when it was given that end, 0.0 if
    unknown. Immutable; its repr is redacted.
    """

    __slots__ = (
        "access_token",
        "expires_at_s",
        "expires_in_s",
        "issuer",
        "refresh_expires_at_s",
        "refresh_granted_at_s",
        "refresh_token",
        "scope",
        "signed_out_at_s",
        "token_type",
    )

    access_token: str
    refresh_token: str
    expires_at_s: float
    expires_in_s: float
    scope: str
    token_type: str
    issuer: str
    signed_out_at_s: float
    refresh_expires_at_s: float
    refresh_granted_at_s: float

    def __init__(
        self,
        access_token: str,
        refresh_token: str,
        expires_at_s: float,
        expires_in_s: float,
        scope: str = "",
        token_type: str = "Bearer",
        issuer: str = "",
        signed_out_at_s: float = 0.0,
        refresh_expires_at_s: float = 0.0,
        refresh_granted_at_s: float = 0.0,
    ) -> None:
        put = object.__setattr__
        put(self, "access_token", access_token)
        put(self, "refresh_token", refresh_token)
        put(self, "expires_at_s", expires_at_s)
        put(self, "expires_in_s", expires_in_s)
        put(self, "scope", scope)
        put(self, "token_type", token_type)
        put(self, "issuer", issuer)
        put(self, "signed_out_at_s", signed_out_at_s)
        put(self, "refresh_expires_at_s", refresh_expires_at_s)
        put(self, "refresh_granted_at_s", refresh_granted_at_s)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Token is immutable: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Token is immutable: {name}")

    def __reduce__(self) -> tuple[type[Token], tuple[object, ...]]:
        return (Token, tuple(self._fields()))

    def __eq__(self, other: object) -> bool:
        return self._fields() == other._fields() if isinstance(other, Token) else NotImplemented

    def __hash__(self) -> int:
        return hash(fingerprint(self))

    def __repr__(self) -> str:
        return f"Token(fp={fingerprint(self)}, expires_at_s={self.expires_at_s:.0f}, issuer={self.issuer!r})"

    def _fields(self) -> list[object]:
        return [
            self.access_token,
            self.refresh_token,
            self.expires_at_s,
            self.expires_in_s,
            self.scope,
            self.token_type,
            self.issuer,
            self.signed_out_at_s,
            self.refresh_expires_at_s,
            self.refresh_granted_at_s,
        ]

    @property
    def is_empty(self) -> bool:
        """True for a record that holds no tokens: a logout of ours (`signed_out_at_s` set) or the successor's
        tombstone."""
        return not self.access_token and not self.refresh_token

    def record(self) -> dict[str, object]:
        """The pair as a JSON object for the disk: the Kimi CLI's keys, and those of ours that have a value."""
        record: dict[str, object] = {
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "expires_at": self.expires_at_s,
            "scope": self.scope,
            "token_type": self.token_type,
            "expires_in": self.expires_in_s,
        }
        if self.issuer:
            record["issuer"] = self.issuer
        if self.refresh_expires_at_s:
            record["refresh_expires_at"] = self.refresh_expires_at_s
        if self.refresh_granted_at_s:
            record["refresh_granted_at"] = self.refresh_granted_at_s
        if self.signed_out_at_s:
            record["signed_out_at"] = self.signed_out_at_s
        return record


def fingerprint(token: Token) -> str:
    """The identity of a pair: SHA-256 of refresh token, NUL, access token; the first 16 hex digits. Safe to publish."""
    pair = f"{token.refresh_token}\0{token.access_token}"
    digest: str = sha256(pair.encode("utf-8", "surrogatepass")).hexdigest()
    return digest[:16]


def key_fingerprint(key: str) -> str:
    """The fingerprint of an API key, or of an access token alone."""
    return fingerprint(Token(key, "", 0.0, 0.0))


def lifetime_s(token: Token) -> float:
    """The whole life of a token, in seconds, as the server granted it; a missing, negative, NaN or absurd one counts as 900."""
    return token.expires_in_s if LIFETIME_MIN_S <= token.expires_in_s <= LIFETIME_MAX_S else DEFAULT_LIFETIME_S


def margin_s(token: Token) -> float:
    """A token with less life than this (seconds) counts as expired: a request needs time to arrive."""
    return min(MARGIN_MAX_S, MARGIN_SHARE * lifetime_s(token))


def window_s(token: Token) -> float:
    """Seconds before its end in which a token is renewed while it still works: 525 of 900, 35 of 60."""
    return WINDOW_SHARE * lifetime_s(token)


def is_seconds(text: str) -> bool:
    """Whether `text` is a number of seconds as every reader spells it: one to nine digits, so that it is less than 1e9, the
    most that `kimi-auth token` takes."""
    return text.isascii() and text.isdigit() and len(text) <= 9


def left_s(token: Token, now_s: float) -> float:
    """Seconds of life left at `now_s` (unix seconds), never negative; an unknown end leaves none."""
    left = token.expires_at_s - now_s
    return left if 0 < left < float("inf") and token.expires_at_s <= END_MAX_S else 0.0


def phase(token: Token, now_s: float) -> str:
    """`fresh`, `expiring` (renew when convenient) or `expired` (renew before use) at `now_s`, unix seconds.

    A record with more life left than the server granted was written under another clock: it counts as expiring.
    """
    left = left_s(token, now_s)
    if left <= 0 or left < margin_s(token):
        return "expired"
    if left <= window_s(token) or left > lifetime_s(token) + CLOCK_SLACK_S:
        return "expiring"
    return "fresh"


def at_leisure(token: Token, now_s: float) -> bool:
    """True while a token's age gives a one-shot command no reason to renew it: fresh, or in the first half of the window."""
    now = phase(token, now_s)
    return now == "fresh" or (
        now == "expiring" and window_s(token) / 2 < left_s(token, now_s) <= lifetime_s(token) + CLOCK_SLACK_S
    )


def is_due(token: Token, now_s: float) -> bool:
    """True in the second half of a token's window, by its age: a one-shot command hands it out, and has it renewed meanwhile."""
    return phase(token, now_s) == "expiring" and left_s(token, now_s) <= window_s(token) / 2


def is_ahead(until_s: float, now_s: float) -> bool:
    """True while a stored time before which nothing is tried has not come, both unix seconds; one more than 15 min ahead
    was written under another clock and is void."""
    # A wall clock that was set back must not extend a backoff by the same amount.
    return now_s < until_s <= now_s + BACKOFF_AHEAD_MAX_S + 1


def described(token: Token, platform: str, now_s: float, *, ends: bool = True) -> dict[str, object]:
    """A credential's pair as data for `token --json`, with the life that it has left at `now_s` (unix seconds); `ends` is
    False for an API key, which has no times."""
    return {
        "access_token": token.access_token,
        "token_type": token.token_type,
        "expires_at": token.expires_at_s if ends else None,
        "expires_in": round(left_s(token, now_s), 3) if ends else None,
        "platform": platform,
        "fp": fingerprint(token),
    }


def parse_record(data: object) -> Token:
    """The Token in a decoded JSON value. Unknown keys are ignored, numbers may be strings. Raises RecordError.

    `access_token` must be able to stand in a header (visible ASCII), `refresh_token` in a form (it may hold spaces, RFC
    6749 appendix A.17); both empty is a record too (`is_empty`).
    """
    if not isinstance(data, dict):
        raise RecordError(tr("it is not a JSON object"))
    access, refresh = _text(data, "access_token"), _text(data, "refresh_token", optional=True)
    if refresh and not access:
        raise RecordError(tr("access_token is empty"))
    for name, value, spaces in (("access_token", access, False), ("refresh_token", refresh, True)):
        if not (value.isascii() and value.isprintable()) or (" " in value and not spaces):
            raise RecordError(tr("{name} holds characters that cannot be sent", name=name))
    return Token(
        access,
        refresh,
        _number(data, "expires_at"),
        _number(data, "expires_in"),
        _text(data, "scope", optional=True),
        _text(data, "token_type", optional=True) or "Bearer",
        _text(data, "issuer", optional=True),
        _number(data, "signed_out_at"),
        _number(data, "refresh_expires_at"),
        _number(data, "refresh_granted_at"),
    )


def tr(template: str, **values: object) -> str:
    """As `language.tr`, which only a broken pair or record needs: a stored token is handed out without loading it."""
    from kimi_auth.support import language

    return language.tr(template, **values)


def _text(data: dict[object, object], key: str, *, optional: bool = False) -> str:
    value = data.get(key)
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        raise RecordError(
            tr("{name} is missing", name=key) if value is None else tr("{name} is not a string", name=key)
        )
    return value


def _number(data: dict[object, object], key: str) -> float:
    """A finite number of seconds in the record of a pair, else 0.0 (unknown): an invalid time must not lose the login."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return 0.0
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return 0.0
    return number if 0 < number < 1e15 else 0.0
