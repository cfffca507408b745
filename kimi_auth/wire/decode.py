"""Bodies into values: strict about what is used, lenient about everything beside it, never an exception.

A body is a JSON object or it is nothing. Of an object each reader says which shape it has (a word that the tables in
`tables.py` know) and gives the value for the good shape. Numbers may be strings; a strange member means "unknown" and
never costs anybody the answer that it came with.
"""

from __future__ import annotations

import json
import math
from typing import Any

from kimi_auth.token import LIFETIME_MAX_S, LIFETIME_MIN_S, RECORD_MAX_BYTES

from .answers import DeviceCode, Grant
from .sanitize import clean, is_visible, safe_url

__all__ = ["JsonObject", "catalogue", "device_code", "grant", "json_object", "oauth_error"]

JsonObject = dict[str, Any]

DEVICE_CODE_MAX = 4096
"""Characters in a device code. It goes out with every poll, and each answer is searched for what it echoes of it."""

_URIS = ("verification_uri", "verification_url")
CODE_LIFE_MAX_S = 1800.0
CODE_LIFE_DEFAULT_S = 900.0
INTERVAL_MAX_S = 300.0
INTERVAL_DEFAULT_S = 5.0


def json_object(body: bytes) -> JsonObject | None:
    """The JSON object (RFC 8259) that `body` is, or None where its end cannot be found or it is nested too deeply.

    NaN, Infinity, an integer too long to read, and a key that is there twice with two values are None. Bytes that are no
    UTF-8 (or UTF-16 or -32, where they begin like it) become lone surrogates, which nothing that is shown or sent may hold.
    What a proxy has put behind the object is passed over, unless it begins another one.
    """
    encoding = json.detect_encoding(body)
    try:
        text = body.decode("utf-8" if encoding.startswith("utf-8") else encoding, "surrogateescape").lstrip(_AROUND)
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not text[end:].lstrip(_AROUND).startswith("{") else None


_AROUND = "\ufeff\0 \t\r\n"


def _each_once(pairs: list[tuple[str, Any]]) -> JsonObject:
    """Of two values under one key neither counts: two readers could see two different answers."""
    found: JsonObject = {}
    for key, value in pairs:
        found[key] = value if found.get(key, value) == value else None
    return found


def _integer(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:  # Python reads no integer of more than some thousand digits
        return None


_DECODER = json.JSONDecoder(
    strict=False, object_pairs_hook=_each_once, parse_constant=lambda _: None, parse_int=_integer
)


def oauth_error(data: JsonObject | None) -> tuple[str, str]:
    """`error` of an OAuth error answer (RFC 6749 §5.2) and its description; ("", "") when this is none."""
    code = _text(data, "error") if data else ""
    return (code, _text(data, "error_description")) if data and code else ("", "")


def device_code(data: JsonObject | None) -> tuple[str, DeviceCode | None]:
    """A device authorisation answer (RFC 8628 §3.2): `device_code`, else `unsafe_uri`, `incomplete` or "" (nothing of one).

    Servers of before the RFC call `verification_uri` `verification_url`.
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
    """A token answer (RFC 6749 §5.1): `token`, else `no_token` or "" (nothing of one: a portal's object, say)."""
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
        life_s if LIFETIME_MIN_S <= life_s <= LIFETIME_MAX_S else 0.0,
        clean(_text(data, "scope"), 1000),
        "Bearer" if kind.lower() in {"", "bearer"} else kind,
    )


def _refresh_token(data: JsonObject) -> str | None:
    given = data.get("refresh_token")
    if given is None or given == "":
        return None
    return given if isinstance(given, str) and _is_sendable(given) and len(given) <= RECORD_MAX_BYTES else ""


def catalogue(data: JsonObject | None) -> tuple[str, JsonObject | None]:
    """A models answer: `models` for an object with a list `data`, else ""; what the list holds is judged elsewhere."""
    return ("models", data) if data is not None and isinstance(data.get("data"), list) else ("", None)


def _is_sendable(text: str) -> bool:
    """A form can carry it: VSCHAR (RFC 6749 appendix A), spaces included, which a header could not."""
    return text.isascii() and text.isprintable() and not text.isspace() and text != ""


def _text(data: JsonObject, key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _number(data: JsonObject, key: str) -> float:
    """A positive finite number, else 0.0 (unknown)."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0.0
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return 0.0
    return number if 0 < number < math.inf else 0.0
