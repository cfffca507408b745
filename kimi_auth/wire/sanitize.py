"""What a server or an environment says, made fit for a terminal, a log, a header or a browser.

Nothing here raises: text that cannot be made fit becomes "" (or None), and the caller says what that means.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

__all__ = [
    "clean",
    "excerpt",
    "host_of",
    "is_loopback",
    "is_visible",
    "redact",
    "retry_after_s",
    "safe_url",
    "split_url",
]

RETRY_AFTER_MAX_S = 900.0
URL_MAX = 2048
_EXCERPT_SOURCE_MAX = 8192

# Default_Ignorable_Code_Point of Unicode outside category C, and the blank that is not a space: they render as nothing.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u180b\u180c\u180d\u180f"
    + "".join(map(chr, range(0xFE00, 0xFE10)))
    + "".join(map(chr, range(0xE0100, 0xE01F0)))
)
_URL = re.compile(r"[!-~]+", re.ASCII)
_URL_FORBIDDEN = frozenset('\\"<>^`{|}')
_SECONDS = re.compile(r"-?\d+(\.\d*)?", re.ASCII)
_MARKUP = re.compile(r"<(script|style)\b.*?(</\1\s*>|\Z)|<!--.*?(-->|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)
_NAMED_SECRET = re.compile(r"((?:token|secret|password|device_code)(?:\"\s*:\s*\"|=))[^\"&\s]*", re.IGNORECASE)
_SECRET_SHAPED = re.compile(r"[A-Za-z0-9_~+/=.\-]{24,}")
_REDACTED = "[redacted]"


def clean(text: str, limit: int = 200) -> str:
    """`text` on one line, at most `limit` characters ("…" ends a cut one): no control, bidirectional or invisible ones."""
    seen = text[: 16 * limit]
    shown = "".join(" " if c.isspace() else "" if _is_invisible(c) else c for c in seen)
    line = " ".join(shown.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character)[0] == "C" or character in _INVISIBLE


def excerpt(body: bytes, secrets: Iterable[str] = (), limit: int = 200) -> str:
    """The first words of an answer that is no OAuth answer, without markup and without anything shaped like a token."""
    text = body[:_EXCERPT_SOURCE_MAX].decode("utf-8", "replace").replace("\ufffd", "")
    return clean(redact(_MARKUP.sub(" ", text), secrets, guess=True), limit)


def redact(text: str, secrets: Iterable[str], *, guess: bool = False) -> str:
    """`text` without the given secrets; with `guess` also without what looks like one: servers echo what they were sent."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, _REDACTED)
    if not guess:
        return text
    text = _NAMED_SECRET.sub(rf"\1{_REDACTED}", text)
    return _SECRET_SHAPED.sub(lambda run: _REDACTED if _looks_random(run[0]) else run[0], text)


def _looks_random(run: str) -> bool:
    kinds = (str.isdigit, str.islower, str.isupper)
    return sum(any(map(kind, run)) for kind in kinds) >= 2


def is_visible(text: str) -> bool:
    """True for a non-empty string of visible ASCII (RFC 6750 §2.1 and then some): what a header can carry unharmed."""
    return text.isascii() and text.isprintable() and " " not in text and text != ""


def split_url(text: str) -> SplitResult | None:
    """The parts of an absolute http(s) URL that every parser reads alike, None for anything else (RFC 3986)."""
    if len(text) > URL_MAX or not _URL.fullmatch(text) or _URL_FORBIDDEN & set(text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or "@" in parts.netloc:
        return None
    return parts


def host_of(url: str) -> str:
    """The server's name for messages: host and port, "the server" when the URL has none."""
    parts = split_url(url)
    return parts.netloc if parts else "the server"


def is_loopback(host: str) -> bool:
    """True for `localhost` and the loopback addresses: the hosts that plain http may talk to."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def safe_url(text: str) -> str:
    """`text` if it is a URL that may be shown, opened or asked: https, or http on loopback; "" otherwise.

    No user-info, no spaces, no control or non-ASCII characters, at most 2048 long, never mistaken for an option ("-x").
    """
    parts = split_url(text)
    if parts is None or (parts.scheme == "http" and not is_loopback(parts.hostname or "")):
        return ""
    return text


def retry_after_s(header: str, now_s: float) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110 §10.2.3) at `now_s` (unix seconds); None when it says nothing.

    A date in the past and a negative number mean 0, and nobody waits for more than 15 minutes.
    """
    text = header.strip()
    if _SECONDS.fullmatch(text):
        wait_s = float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
            wait_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)
