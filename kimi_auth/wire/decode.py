"""Decodes bodies into values: strict about the members that it uses, lenient about all others. Never raises.

A body is a JSON object or it counts as empty. Each reader names the shape of the object (a word that the tables in
`tables.py` know) and returns the value for the good shape. Numbers may be strings. A malformed optional member counts
as absent, so that the rest of the answer still counts.
"""

from __future__ import annotations

import json
import math
from typing import Any

from kimi_auth.support.urls import safe_url
from kimi_auth.token import LIFETIME_MAX_S, LIFETIME_MIN_S, RECORD_MAX_BYTES

from .answers import DeviceCode, Grant
from .sanitize import clean, is_visible

__all__ = ["JsonObject", "catalogue", "device_code", "grant", "json_object", "oauth_error"]

JsonObject = dict[str, Any]

DEVICE_CODE_MAX = 4096
"""Characters in a device code. Every poll sends it, and every answer is searched for pieces of it."""

_URIS = ("verification_uri", "verification_url")
CODE_LIFE_MAX_S = 1800.0
CODE_LIFE_DEFAULT_S = 900.0
INTERVAL_MAX_S = 300.0
INTERVAL_DEFAULT_S = 5.0


def json_object(body: bytes) -> JsonObject | None:
    """The JSON object (RFC 8259) in `body`, or None if its end cannot be found or it is nested too deeply.

    NaN, Infinity, an integer too long to read, and a key with two different values become None. Bytes that are not
    UTF-8 (or UTF-16 or -32, if they begin like it) become lone surrogates, which no shown or sent text may hold.
    Ignores text that a proxy appended to the object, unless it begins another object.
    """
    encoding = json.detect_encoding(body)
    try:
        text = body.decode("utf-8" if encoding.startswith("utf-8") else encoding, "surrogateescape").lstrip(_AROUND)
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not text[end:].lstrip(_AROUND).startswith("{") else None


# A parser may ignore a BOM (RFC 8259 §8.1); NUL bytes around an object are padding.
_AROUND = "\ufeff\0 \t\r\n"


def _each_once(pairs: list[tuple[str, Any]]) -> JsonObject:
    """Of two different values under one key neither counts: two parsers could see two different answers (RFC 8259
    §4)."""
    found: JsonObject = {}
    for key, value in pairs:
        found[key] = value if found.get(key, value) == value else None
    return found


def _integer(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:  # Python refuses integers of more than 4300 digits by default
        return None


# `strict=False` accepts raw control characters in strings: `clean` removes them from text that is shown, and the rest
# of the answer counts.
_DECODER = json.JSONDecoder(
    strict=False, object_pairs_hook=_each_once, parse_constant=lambda _: None, parse_int=_integer
)


def oauth_error(data: JsonObject | None) -> tuple[str, str]:
    """`error` of an OAuth error answer (RFC 6749 §5.2) and its description; ("", "") if the answer is not one."""
    code = _text(data, "error") if data else ""
    return (code, _text(data, "error_description")) if data and code else ("", "")


def device_code(data: JsonObject | None) -> tuple[str, DeviceCode | None]:
    """A device authorisation answer (RFC 8628 §3.2): `device_code`, else `unsafe_uri`, `incomplete` or "" (no such
    member).

    Servers older than the RFC call the member `verification_url`.
    """
    if data is None or (data and not data.keys() & {"device_code", "user_code", *_URIS}):
        return "", None
    secret, user_code = _text(data, "device_code"), _text(data, "user_code").strip()
    uri = next((found for key in _URIS if (found := _text(data, key))), "")
    if (
        not _is_sendable(secret)
        or len(secret) > DEVICE_CODE_MAX
        or not user_code
        or clean(user_code, 64) != user_code
        or not uri
    ):
        return "incomplete", None
    if not safe_url(uri):
        # A person opens this address, so a server must not choose another scheme (javascript:, file:) for it.
        return "unsafe_uri", None
    return "device_code", DeviceCode(
        secret,
        user_code,
        uri,
        safe_url(_text(data, "verification_uri_complete")),
        min(_number(data, "expires_in") or CODE_LIFE_DEFAULT_S, CODE_LIFE_MAX_S),
        min(max(_number(data, "interval") or INTERVAL_DEFAULT_S, 1.0), INTERVAL_MAX_S),
    )


def grant(data: JsonObject | None) -> tuple[str, Grant | None]:
    """Decodes a token answer (RFC 6749 §5.1): `token`, else `no_token` or "" (no such member: a portal's object,
    for example)."""
    if data is None or (data and "access_token" not in data):
        return "", None
    access = _text(data, "access_token")
    if not is_visible(access) or len(access) > RECORD_MAX_BYTES:
        return "no_token", None
    kind = clean(_text(data, "token_type"), 40)
    life_s = _number(data, "expires_in")
    return "token", Grant(
        access,
        _refresh_token(data),
        # Outside these bounds the value is implausible (milliseconds, a date): the lifetime counts as unknown.
        life_s if _is_life(life_s) else 0.0,
        clean(_text(data, "scope"), 1000),
        # RFC 6749 §5.1 requires `token_type` and compares it without case; some servers omit it.
        "Bearer" if kind.lower() in {"", "bearer"} else kind,
        min(filter(_is_life, (_number(data, name) for name in _REFRESH_LIVES)), default=0.0),
    )


# `refresh_token_timeout` and `authorization_expires_in` are those of draft-ietf-oauth-refresh-token-expiration; the others
# are what servers have sent before it. The first to end counts.
_REFRESH_LIVES = ("refresh_token_timeout", "authorization_expires_in", "refresh_token_expires_in", "refresh_expires_in")


def _is_life(life_s: float) -> bool:
    return LIFETIME_MIN_S <= life_s <= LIFETIME_MAX_S


def _refresh_token(data: JsonObject) -> str | None:
    given = data.get("refresh_token")
    if given is None or given == "":
        return None
    # "" rather than None: the server did rotate, so the old refresh token must not be kept (RFC 6749 §6).
    return given if isinstance(given, str) and _is_sendable(given) and len(given) <= RECORD_MAX_BYTES else ""


def catalogue(data: JsonObject | None) -> tuple[str, JsonObject | None]:
    """A models answer: `models` for an object with a list `data`, else "". Other modules check the content of the
    list."""
    return ("models", data) if data is not None and isinstance(data.get("data"), list) else ("", None)


def _is_sendable(text: str) -> bool:
    """True if a form can carry the text: VSCHAR (RFC 6749 appendix A) and spaces, which a header could not carry."""
    return text.isascii() and text.isprintable() and not text.isspace() and text != ""


def _text(data: JsonObject, key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _number(data: JsonObject, key: str) -> float:
    """A member of a decoded body as a positive finite number, else 0.0 (unknown)."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0.0
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return 0.0
    return number if 0 < number < math.inf else 0.0
