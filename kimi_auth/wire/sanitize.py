"""What a server wrote, made safe: text for a terminal, a log or a header, and the seconds of its Retry-After.

No function raises: text that cannot be made safe becomes "" (or None), and the caller decides what that means.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

from kimi_auth.support.language import tr
from kimi_auth.support.text import clean, one_line, same, visible

__all__ = ["clean", "echoes", "excerpt", "is_visible", "redact", "retry_after_s"]

RETRY_AFTER_MAX_S = 900.0
NOT_SHOWN = tr("(text that may hold a token is not shown)")
_SOURCE_MAX = 8192
_PIECE = 8
"""A text with this many consecutive characters of a secret repeats it; fewer do not help an attacker."""
_LAYERS_MAX = 6

_SECONDS = re.compile(r"-?\d+(\.\d*)?", re.ASCII)
_MARKUP = re.compile(r"<(script|style)\b.*?(</\1\s*>|\Z)|<!--.*?(-->|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)
_REDACTED = "[redacted]"
_NAMED_SECRET = re.compile(
    r"((?:token|secret|password|device_code)(?:\"\s*:\s*\"|=\s*))(?!\[redacted\])[^\"&\s]+", re.IGNORECASE
)
_SECRET_SHAPED = re.compile(r"[A-Za-z0-9_~+/=.\-]{24,}")
_CHARSET = re.compile(
    r"iso-8859-15?|windows-125[12]|koi8-r|gb2312|gbk|gb18030|big5|shift_jis|euc-(jp|kr)", re.ASCII | re.IGNORECASE
)
_ESCAPES: tuple[tuple[str, Callable[[str], str]], ...] = (
    (r"(?:%[0-9a-f]{2})+", lambda it: unquote(it, errors="ignore")),
    (r"[%\\]u[0-9a-f]{4}", lambda it: chr(int(it[-4:], 16))),
    (r"\\x[0-9a-f]{2}", lambda it: chr(int(it[-2:], 16))),
    (r"\\[bfnrt]", lambda _: " "),
    (r"\\[^ux]", lambda it: it[1]),
    (r"&(?:#x[0-9a-f]{1,99}|#[0-9]{1,99}|[a-z][a-z0-9]{1,31});?", html.unescape),
)
"""The ways in which a server may escape a character that it echoes (RFC 3986 §2.1, RFC 8259 §7, HTML), and their
inverses."""
_ESCAPE = re.compile("|".join(f"({pattern})" for pattern, _ in _ESCAPES), re.IGNORECASE)


def excerpt(body: bytes, secrets: Iterable[str] = (), limit: int = 200, *, charset: str = "") -> str:
    """The beginning of an answer that is not OAuth, without markup; NOT_SHOWN if it repeats a secret or
    holds escaped text shaped like a token.

    `charset` is the one in the header; zero bytes override it.
    """
    source, known = body[:_SOURCE_MAX], tuple(secrets)
    declared = charset if _CHARSET.fullmatch(charset) else "utf-8"
    encoding = json.detect_encoding(source) if b"\0" in source else declared
    text = visible(source.decode(encoding, "replace").replace("\ufffd", ""))
    # A reader could encode the text again and get the secret: so the bytes themselves are searched, too.
    if encoding != "utf-8" and echoes(source.decode("ascii", "ignore"), known):
        return NOT_SHOWN
    return clean(redact(_MARKUP.sub(" ", text), known, guess=True), limit)


def redact(text: str, secrets: Iterable[str], *, guess: bool = False) -> str:
    """A server's `text` on one line; NOT_SHOWN if it repeats one of the secrets. With `guess` text that looks like
    another secret is replaced; if it is escaped, nothing is shown."""
    line = one_line(text[:_SOURCE_MAX])
    hides = echoes(line, secrets)
    if guess:
        line = _SECRET_SHAPED.sub(_without_secret, _NAMED_SECRET.sub(rf"\1{_REDACTED}", line))
        hides = hides or any(map(_looks_secret, _layers(line)))
    return NOT_SHOWN if hides else same(text, line)


def echoes(text: str, secrets: Iterable[str]) -> bool:
    """True if `text` repeats a piece of one of the secrets, in itself or behind its escapes, even with blanks in
    between. Also for a text with too many nested escapes."""
    pieces = {piece for secret in secrets for layer in _layers(secret) for piece in _pieces(_solid(layer))}
    if not pieces:
        return False
    lengths = {len(piece) for piece in pieces}
    layers = [_solid(layer) for layer in _layers(text)]
    return len(layers) > _LAYERS_MAX or any(
        layer[at : at + length] in pieces for layer in layers for length in lengths for at in range(len(layer))
    )


def _layers(text: str) -> list[str]:
    """`text` on one line, the text behind its escapes, the text behind the escapes in that, ..., at most one more than
    _LAYERS_MAX."""
    layers = [one_line(text)]
    while len(layers) <= _LAYERS_MAX and (undone := one_line(_ESCAPE.sub(_undone, layers[-1]))) != layers[-1]:
        layers.append(undone)
    return layers


def _undone(escape: re.Match[str]) -> str:
    return _ESCAPES[(escape.lastindex or 1) - 1][1](escape[0])


def _solid(text: str) -> str:
    return text.replace(" ", "")


def _pieces(secret: str) -> Iterator[str]:
    return (secret[at : at + _PIECE] for at in range(max(len(secret) - _PIECE, 0) + 1) if secret)


def _looks_secret(line: str) -> bool:
    return _NAMED_SECRET.search(line) is not None or _SECRET_SHAPED.sub(_without_secret, line) != line


def _without_secret(run: re.Match[str]) -> str:
    kinds = (str.isdigit, str.islower, str.isupper)
    return _REDACTED if sum(any(map(kind, run[0])) for kind in kinds) >= 2 else run[0]


def is_visible(text: str) -> bool:
    """True for a non-empty string of visible ASCII, which a header can carry safely (a superset of RFC 6750 §2.1)."""
    return text.isascii() and text.isprintable() and " " not in text and text != ""


def retry_after_s(header: str, now_s: float) -> float | None:
    """The seconds of a Retry-After header (RFC 9110 §10.2.3) at `now_s` (unix seconds); None if it cannot be read.

    A date in the past and a negative number mean 0. The result is at most 15 minutes, so a server cannot stop a client
    for days.
    """
    text = header.strip()
    if _SECONDS.fullmatch(text):
        wait_s = float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
            # A date without a zone (the asctime format) is UTC, as all dates of HTTP are (RFC 9110 §5.6.7).
            wait_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)
