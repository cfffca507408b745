"""The bytes of the record and of its sidecars (revoked mark, backoff, binding), encoded and decoded; not of the claim. Pure functions.

Each file is one JSON object. A reader takes the keys that it knows and ignores the others, so that older and newer
versions share the files.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from pathlib import Path

from kimi_auth.errors import CorruptCredential, StoreUnwritable
from kimi_auth.support.language import tr
from kimi_auth.support.text import clean
from kimi_auth.token import RECORD_MAX_BYTES, RecordError, Token, fingerprint, parse_record

from .contract import Backoff, Binding, RevokedMark, Snapshot

__all__ = [
    "bounded",
    "decode_backoff",
    "decode_binding",
    "decode_record",
    "decode_revoked",
    "encode_backoff",
    "encode_binding",
    "encode_record",
    "encode_revoked",
    "has_served",
    "is_over",
    "is_tombstone",
]

URL_MAX = 2048
_DEVICE_ID = re.compile(r"[0-9a-f-]{32,36}")
EMPTY_FP = fingerprint(Token("", "", 0.0, 0.0))
"""The fingerprint of a record without tokens: a logout's, or another program's tombstone."""

SIGNED_OUT_MAX_AGE_S = 60.0
VERSION = 1


def encode_record(token: Token) -> bytes:
    """The credential file's bytes: the Kimi CLI's keys and ours. Raises StoreUnwritable if no reader would accept
    them."""
    return bounded(json.dumps(token.record()).encode() + b"\n")


def bounded(data: bytes) -> bytes:
    """Returns the encoded `data` if a reader would accept its size. A larger record must not be stored: it could never be read."""
    if len(data) > RECORD_MAX_BYTES:
        raise StoreUnwritable(
            tr(
                "the credential would hold {size} bytes, more than the {limit} that are ever read",
                size=len(data),
                limit=RECORD_MAX_BYTES,
            ),
            hint=tr("the server's tokens are not usable; sign in again: kimi-auth login"),
        )
    return data


def decode_record(data: bytes, path: Path) -> Token:
    """The Token in a credential file's bytes. Raises CorruptCredential, whose message quotes none of them."""
    try:
        return parse_record(_load(data))
    except RecordError as error:
        # From None: the chained JSON error would carry the content.
        raise CorruptCredential(tr("{path} is no credential: {error}", path=path, error=error)) from None


def has_served(token: Token | None, now_s: float) -> bool:
    """True for a decoded record that a logout emptied more than 60 s ago, so that other programs have adopted it, or
    whose time is in the future because the clock was set back."""
    if token is None or not token.is_empty or not token.signed_out_at_s:
        return False
    return abs(now_s - token.signed_out_at_s) > SIGNED_OUT_MAX_AGE_S


def is_over(found: Snapshot) -> bool:
    """True if the record, once decoded, holds no login: there is none, or a logout's empty one."""
    token = found.token
    return found.state == "absent" or bool(token and token.is_empty and token.signed_out_at_s)


def is_tombstone(token: Token | None) -> bool:
    """True for an empty record in another program's format: the server refused its refresh token. Ours, of a logout, has a date."""
    return token is not None and token.is_empty and not token.signed_out_at_s


def encode_revoked(refusal: RevokedMark) -> bytes:
    """A revoked mark's bytes: `{"v": 1, "at_s": ..., "message": "..."}`."""
    return json.dumps({"v": VERSION, "at_s": refusal.at_s, "message": clean(refusal.message)}).encode() + b"\n"


def decode_revoked(data: bytes) -> RevokedMark:
    """The revoked mark in the bytes `data`; an unreadable one still counts, without time and message."""
    value = _tolerant(data)
    at_s, words = value.get("at_s"), value.get("message")
    return RevokedMark(_seconds(at_s), clean(words) if isinstance(words, str) else "")


def encode_backoff(backoff: Backoff) -> bytes:
    """The backoff file's bytes: `v` and the fields of `Backoff` by their names."""
    values = {key: clean(value) if isinstance(value, str) else value for key, value in backoff._asdict().items()}
    return json.dumps({"v": VERSION, **values}).encode() + b"\n"


def decode_backoff(data: bytes) -> Backoff:
    """The backoff in the bytes `data`; a missing key or one of another type has its default."""
    value = _tolerant(data)
    known = {name: _like(default, value.get(name)) for name, default in Backoff._field_defaults.items()}
    return Backoff(**{name: part for name, part in known.items() if part is not None})  # type: ignore[arg-type]


def encode_binding(binding: Binding) -> bytes:
    """A binding file's bytes: `{"v": 1, "issuer": "https://...", "origins": ["https://..."]}`, and `device_id` if it has
    one."""
    value = {"v": VERSION, "issuer": binding.issuer, "origins": list(binding.origins)}
    if binding.device_id:
        value["device_id"] = binding.device_id
    return json.dumps(value).encode() + b"\n"


def decode_binding(data: bytes) -> Binding:
    """The binding in the bytes `data`; an incomplete one has no issuer, so it fits no host."""
    value = _tolerant(data)
    issuer, origins = value.get("issuer"), value.get("origins", [])
    if not isinstance(origins, list) or not all(map(_is_url, (issuer, *origins))):
        return Binding("")
    device_id = value.get("device_id")
    is_id = isinstance(device_id, str) and _DEVICE_ID.fullmatch(device_id)
    return Binding(str(issuer), tuple(origins), str(device_id) if is_id else "")


def _is_url(value: object) -> bool:
    """True if `value` may be an origin or an issuer: a short text that is safe to display."""
    if not isinstance(value, str) or len(value) > URL_MAX or not value.startswith(("https://", "http://")):
        return False
    return value.isascii() and value.isprintable() and " " not in value


def _load(data: bytes) -> object:
    if not data:
        raise RecordError(tr("it is empty"))
    try:
        text = data.removeprefix(BOM_UTF8).decode()  # an editor's, as in config.toml
    except UnicodeDecodeError:
        raise RecordError(tr("it is not UTF-8")) from None
    try:
        value: object = json.loads(text)
    except RecursionError:
        raise RecordError(tr("it is nested too deeply")) from None
    except ValueError:
        raise RecordError(tr("it is not JSON, or not all of it")) from None
    return value


def _tolerant(data: bytes) -> dict[str, object]:
    try:
        value = _load(data)
    except RecordError:
        return {}
    return value if isinstance(value, dict) else {}


def _like(default: object, value: object) -> object:
    """`value` if it has the type of `default`, else None."""
    if isinstance(default, str):
        return clean(value) if isinstance(value, str) else None
    if isinstance(default, float):
        return _seconds(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1_000_000 else None


def _seconds(value: object) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < 1e15 else 0.0  # type: ignore[operator,arg-type]
