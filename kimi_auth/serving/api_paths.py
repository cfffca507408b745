"""Which URLs of the platform's API a request may reach: rules on the bytes of a request target, without I/O.

The path that was checked is the path that is sent: each segment is decoded once, checked, and encoded again in one spelling,
so a server that decodes differently cannot be led elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from kimi_auth.support.language import tr

from .api_errors import Refusal

__all__ = ["EVERYTHING", "PREFIX", "VERSION", "AllowedPaths", "Target", "keys_of_query", "target_of"]

PREFIX = "/api"
"""Where the proxy offers the platform's API."""

VERSION = "v1"
"""The last segment of an API base that some clients append by themselves."""

TARGET_BYTES_MAX = 8192
_SEGMENT = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")  # RFC 3986 §3.3: pchar
_QUERY = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")  # RFC 3986 §3.4
_SAFE = "!$&'()*+,;=:@"
_FORBIDDEN = frozenset(b"/\\%?#") | frozenset(range(0x20)) | {0x7F}
"""Bytes that no segment has, decoded: separators, the sign of an escape inside an escape, and controls."""

_KEYS = frozenset({b"key", b"api_key", b"api-key", b"apikey", b"access_token"})
"""Query parameters in which clients send a key (RFC 6750 §2.3 and Google's `?key=`)."""


class Target(NamedTuple):
    """A path below the API base in one spelling, with its leading slash, and the query without keys, both as they are sent."""

    path: str
    query: bytes

    @property
    def text(self) -> str:
        """Path and query, in ASCII."""
        return f"{self.path}?{self.query.decode('ascii')}" if self.query else self.path


class AllowedPaths:
    """The paths of the API that a grant may ask for. An entry is a path below the API base, such as `/chat/completions`;
    one that ends in `/*` also covers every path below it; `*` alone covers all. Raises ValueError for anything else."""

    def __init__(self, entries: Iterable[str]) -> None:
        self.entries: tuple[str, ...] = tuple(entries)
        self._all = "*" in self.entries
        self._exact = set[str]()
        self._below = tuple[str, ...]()
        for entry in self.entries:
            if entry != "*":
                self._add(entry)

    def __repr__(self) -> str:
        return f"AllowedPaths({list(self.entries)!r})"

    def covers(self, path: str) -> bool:
        """Whether a path in the spelling of `Target` may be asked for."""
        bare = path.rstrip("/")
        return self._all or bare in self._exact or bare.startswith(self._below)

    def _add(self, entry: str) -> None:
        path = entry.removesuffix("/*")
        found = _spelt(path.encode()) if path else ""
        if found is None or found.endswith("/") or (not path and entry != "/*"):
            raise ValueError(
                f"{entry!r} is no path of an API: write it like /chat/completions, or /files/* with all below it"
            )
        if entry.endswith("/*"):
            self._below = (*self._below, f"{found}/")
        else:
            self._exact.add(found)


EVERYTHING = AllowedPaths(["*"])


def target_of(
    raw_path: bytes, query: bytes, *, has_version: bool, allowed: AllowedPaths = EVERYTHING
) -> Target | Refusal:
    """The target below the API base that a request for `raw_path` (RFC 9112 §3.2, still encoded) asks for, or why it is refused.

    `has_version`: the API base ends in `/v1`; then `/api/chat/completions` and `/api/v1/chat/completions` are the same path,
    for some clients append the version themselves.
    """
    if len(raw_path) + len(query) > TARGET_BYTES_MAX:
        return Refusal(414, "uri_too_long", tr("the URL is longer than {limit} bytes", limit=TARGET_BYTES_MAX))
    path = _below_prefix(raw_path, has_version=has_version)
    if isinstance(path, Refusal):
        return path
    if not _QUERY.fullmatch(query):
        return Refusal(400, "bad_query", tr("the query of the URL has characters that no query may have"))
    if not allowed.covers(path):
        return Refusal(403, "path_not_allowed", tr("this grant does not cover {path}", path=path))
    return Target(path, _without_keys(query))


@lru_cache(maxsize=256)
def _below_prefix(raw_path: bytes, *, has_version: bool) -> str | Refusal:
    """The path below the API's prefix. Tools ask for the same few; the cache holds no secret, for keys are in the query."""
    spelt = _spelt(raw_path)
    if spelt is None:
        return Refusal(400, "bad_path", tr("the path of the URL has segments that no API path may have"))
    first, slash, rest = spelt[1:].partition("/")
    if f"/{first}" != PREFIX:
        return Refusal(404, "not_found", tr("the proxy serves paths below {prefix}/", prefix=PREFIX))
    path = f"{slash}{rest}"
    if has_version and (path == f"/{VERSION}" or path.startswith(f"/{VERSION}/")):
        path = path.removeprefix(f"/{VERSION}")
    if not path.strip("/"):
        return Refusal(404, "not_found", tr("the URL names no path of the API below {prefix}/", prefix=PREFIX))
    return path


def _spelt(raw_path: bytes) -> str | None:
    """A path of the API in one spelling; None for one with an empty, dotted, twice encoded or otherwise odd segment,
    and for the absolute form (`http://host/...`). One slash may end it."""
    if not raw_path.startswith(b"/"):
        return None
    *segments, last = raw_path[1:].split(b"/")
    given = [*segments, last] if last else segments
    if not given or not all(map(_is_plain, given)):
        return None
    return "".join(f"/{quote(unquote_to_bytes(one), safe=_SAFE)}" for one in given) + ("" if last else "/")


def _is_plain(segment: bytes) -> bool:
    if not _SEGMENT.fullmatch(segment):
        return False
    decoded = unquote_to_bytes(segment)
    # "..;x" is ".." to servers that cut path parameters off.
    return not _FORBIDDEN.intersection(decoded) and decoded.partition(b";")[0].strip(b". ") != b""


def keys_of_query(query: bytes) -> list[bytes]:
    """The keys that a query carries, decoded."""
    pairs = (pair.partition(b"=") for pair in query.split(b"&"))
    return [unquote_to_bytes(value) for name, _, value in pairs if _name(name) in _KEYS]


def _without_keys(query: bytes) -> bytes:
    if not query:
        return query
    kept = (pair for pair in query.split(b"&") if _name(pair) not in _KEYS)
    return b"&".join(kept)


def _name(pair: bytes) -> bytes:
    return unquote_to_bytes(pair.partition(b"=")[0].replace(b"+", b" ")).strip().lower()
