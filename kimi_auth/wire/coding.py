"""Content codings (RFC 9110 §8.4.1). Requests ask for identity; some proxies and servers compress regardless.

The standard library decodes gzip and deflate. brotli and zstd need the packages of the extra `compression`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping

__all__ = ["BODY_MAX", "COMPRESSION", "decoded"]

BODY_MAX = 1 << 20
COMPRESSION = frozenset({"br", "zstd"})
"""Codings that the extra `compression` brings."""

_WINDOW_MAX = 8 << 20
"""The window, in bytes, that an HTTP client must offer a zstd sender (RFC 9659 §3)."""
_CODING = re.compile(r"[a-z0-9_-]{1,20}", re.ASCII)
_TEXT = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*[{\[<]")


class _Undecodable(Exception):
    """The bytes are not in this coding, or this program cannot decode the coding."""


def decoded(raw: bytes, codings: str) -> tuple[bytes, str]:
    """The body without its content codings, at most BODY_MAX bytes of it, and "".

    If a coding cannot be undone: no body, and the name of the coding. Some proxies decode JSON or a page and leave the
    label behind; such a body is returned as it is.
    """
    body = raw
    # Codings are listed in the order in which the sender applied them (RFC 9110 §8.4).
    for name in reversed([part.strip().lower() for part in codings.split(",")]):
        try:
            body = _DECODERS[name](body) if name not in {"", "identity"} else body
        except (KeyError, _Undecodable):
            return (raw, "") if not raw or _TEXT.match(raw) else (b"", name if _CODING.fullmatch(name) else "unknown")
    return body, ""


def _zlib(raw: bytes, *windows: int) -> bytes:
    for window in windows:
        try:
            return _members(raw, window)
        except zlib.error:
            continue
    raise _Undecodable


def _members(raw: bytes, window: int) -> bytes:
    """As `zlib.decompress`, for a series of members (RFC 1952 §2.2), and at most BODY_MAX bytes. Raises zlib.error if
    even the first member is invalid."""
    plain = bytearray()
    while raw and len(plain) < BODY_MAX:
        member = zlib.decompressobj(window)
        try:
            plain += member.decompress(raw, BODY_MAX - len(plain))
        except zlib.error:
            if not plain:
                raise
            # A damaged or cut-off later member: the decoded part may already hold the whole JSON object.
            break
        raw = member.unused_data
    return bytes(plain)


def _gzip(raw: bytes) -> bytes:
    # `| 32` lets zlib accept a gzip or a zlib header, whichever label it came with.
    return _zlib(raw, zlib.MAX_WBITS | 32)


def _deflate(raw: bytes) -> bytes:
    # RFC 9110 §8.4.1.2 asks for a zlib header; many servers send raw deflate without one.
    return _zlib(raw, zlib.MAX_WBITS | 32, -zlib.MAX_WBITS)


def _brotli(raw: bytes) -> bytes:
    try:
        import brotli

        member = brotli.Decompressor()
        plain = bytearray(member.process(raw, output_buffer_limit=BODY_MAX))
        while len(plain) < BODY_MAX and not member.can_accept_more_data():
            plain += member.process(b"", output_buffer_limit=BODY_MAX - len(plain))
    except (ImportError, TypeError):  # not installed, or older than 1.2, whose output cannot be bounded
        raise _Undecodable from None
    except brotli.error:
        raise _Undecodable from None
    if not plain and not member.is_finished():  # bytes that are not brotli can look like its beginning
        raise _Undecodable
    return bytes(plain[:BODY_MAX])


def _zstd(raw: bytes) -> bytes:
    try:
        import zstandard

        member = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX)
        with member.stream_reader(raw, read_across_frames=True) as reader:
            plain = reader.read(BODY_MAX)
    except ImportError:
        raise _Undecodable from None
    except zstandard.ZstdError:
        raise _Undecodable from None
    if not plain:
        raise _Undecodable
    return plain


_DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
