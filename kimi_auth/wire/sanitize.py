"""Makes text from a server or an environment safe for a terminal, a log, a header or a browser.

No function raises: text that cannot be made safe becomes "" (or None), and the caller decides what that means.
"""

from __future__ import annotations

import html
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, unquote, urlsplit

from kimi_auth.text import clean, one_line, visible

__all__ = [
    "clean",
    "echoes",
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
_SOURCE_MAX = 8192
_PIECE = 8
"""A message never shows this many consecutive characters of a secret; fewer do not help an attacker."""
_LAYERS_MAX = 6

_URL = re.compile(r"[!-~]+", re.ASCII)
_URL_FORBIDDEN = frozenset('\\"<>^`{|}')
_SECONDS = re.compile(r"-?\d+(\.\d*)?", re.ASCII)
_MARKUP = re.compile(r"<(script|style)\b.*?(</\1\s*>|\Z)|<!--.*?(-->|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)
_NAMED_SECRET = re.compile(
    r"(?:token|secret|password|device_code)(?:\"\s*:\s*\"(?P<quoted>[^\"]+)|=\s*(?P<plain>[^\"&\s]+))", re.IGNORECASE
)
_SECRET_SHAPED = re.compile(r"(?:[a-z_]+=)?(?P<shaped>[A-Za-z0-9_~+/=.\-]{24,})")
_REDACTED = "[redacted]"
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

_Layer = list[tuple[str, int, int]]
"""Characters, each with the range of the shown text that it was written in."""


def excerpt(body: bytes, secrets: Iterable[str] = (), limit: int = 200, *, charset: str = "") -> str:
    """The beginning of an answer that is not OAuth, without markup and without text shaped like a token.

    `charset` is the one in the header; zero bytes override it. Shows nothing if the bytes hold a secret that the
    decoded text does not: a reader could encode the text again and get the secret.
    """
    source, known = body[:_SOURCE_MAX], tuple(secrets)
    declared = charset if _CHARSET.fullmatch(charset) else "utf-8"
    encoding = json.detect_encoding(source) if b"\0" in source else declared
    text = visible(source.decode(encoding, "replace").replace("\ufffd", ""))
    if encoding != "utf-8" and _secrets_in(source.decode("ascii", "ignore"), known) > _secrets_in(text, known):
        return _not_shown(body)
    return clean(redact(_MARKUP.sub(" ", text), known, guess=True), limit)


def _secrets_in(text: str, secrets: tuple[str, ...]) -> int:
    return redact(text, secrets).count(_REDACTED)


def _not_shown(body: bytes) -> str:
    return f"({len(body)} bytes that are not shown)"


def redact(text: str, secrets: Iterable[str], *, guess: bool = False) -> str:
    """`text` on one line without the given secrets; with `guess` also without text that looks like one.

    Servers echo what they receive. The search covers whole secrets and pieces of them, in the line itself and in the
    text behind its escapes. A line with too many nested escapes is not shown at all.
    """
    line = one_line(text[:_SOURCE_MAX])
    layers = _layers(line)
    if len(layers) > _LAYERS_MAX:
        return _not_shown(text.encode("utf-8", "replace"))
    pieces = {piece for secret in secrets for layer in _layers(one_line(secret)) for piece in _pieces(_solid(layer))}
    places = [place for layer in layers for place in _found(layer, pieces)]
    if guess:
        places += [place for layer in layers for place in _guessed(layer)]
    shown, end = "", 0
    for start, stop in sorted(places):
        if start > end or not shown:
            shown += line[end:start] + _REDACTED
        end = max(end, stop)
    return shown + line[end:]


def echoes(text: str, secrets: Iterable[str]) -> bool:
    """True if `text` contains a piece of one of the secrets. A string shorter than a piece does not count as a
    secret."""
    pieces = {secret[at : at + _PIECE] for secret in secrets for at in range(len(secret) - _PIECE + 1)}
    return any(text[at : at + _PIECE] in pieces for at in range(len(text) - _PIECE + 1)) if pieces else False


def _layers(line: str) -> list[_Layer]:
    """`line`, the text behind its escapes, the text behind the escapes in that, and so on, up to _LAYERS_MAX."""
    layers = [[(character, at, at + 1) for at, character in enumerate(line)]]
    while len(layers) <= _LAYERS_MAX and (undone := _undone(layers[-1])) is not None:
        layers.append(undone)
    return layers


def _undone(layer: _Layer) -> _Layer | None:
    undone: _Layer = []
    end = 0
    for escape in _ESCAPE.finditer(_text(layer)):
        meant = _ESCAPES[(escape.lastindex or 1) - 1][1](escape[0])
        if meant != escape[0]:
            start, stop = layer[escape.start()][1], layer[escape.end() - 1][2]
            undone += layer[end : escape.start()]
            undone += [(character, start, stop) for character in visible(meant)]
            end = escape.end()
    return undone + layer[end:] if end else None


def _text(layer: _Layer) -> str:
    return "".join(character for character, _, _ in layer)


def _solid(layer: _Layer) -> _Layer:
    return [it for it in layer if it[0] != " "]


def _pieces(secret: _Layer) -> Iterator[str]:
    text = _text(secret)
    for at in range(max(len(text) - _PIECE, 0) + 1):
        if text:
            yield text[at : at + _PIECE]


def _found(layer: _Layer, pieces: set[str]) -> Iterator[tuple[int, int]]:
    """The ranges where one of `pieces` is written, even with blanks in between."""
    solid = _solid(layer)
    text = _text(solid)
    for length in {len(piece) for piece in pieces}:
        for at in range(len(text) - length + 1):
            if text[at : at + length] in pieces:
                yield solid[at][1], solid[at + length - 1][2]


def _guessed(layer: _Layer) -> Iterator[tuple[int, int]]:
    text = _text(layer)
    for found in (*_NAMED_SECRET.finditer(text), *_SECRET_SHAPED.finditer(text)):
        kind = found.lastgroup or ""
        if kind != "shaped" or _looks_random(found[kind]):
            yield layer[found.start(kind)][1], layer[found.end(kind) - 1][2]


def _looks_random(run: str) -> bool:
    kinds = (str.isdigit, str.islower, str.isupper)
    return sum(any(map(kind, run)) for kind in kinds) >= 2


def is_visible(text: str) -> bool:
    """True for a non-empty string of visible ASCII, which a header can carry safely (a superset of RFC 6750 §2.1)."""
    return text.isascii() and text.isprintable() and " " not in text and text != ""


def split_url(text: str) -> SplitResult | None:
    """The parts of an absolute http(s) URL that every parser reads alike; None for any other text (RFC 3986)."""
    if len(text) > URL_MAX or not _URL.fullmatch(text) or _URL_FORBIDDEN & set(text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    # User-info makes a URL look like another host's ("https://kimi.com@evil.example").
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
