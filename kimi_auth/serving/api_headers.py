"""Which header fields pass through the proxy, in both directions: rules without I/O.

Names are lower-case bytes, as ASGI has them. Framing is never passed on: a request is sent with the length that was read.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urljoin

from kimi_auth.support.language import tr

from .api_errors import Refusal
from .api_paths import PREFIX, keys_of_query

__all__ = ["Fields", "declared_length", "keys_in", "request_fields", "response_fields"]

Fields = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"),
        *(b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings"),
    }
)
"""RFC 9110 §7.6.1, with two that old clients send."""

KEYS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})
"""The header fields in which clients put their key: of OpenAI, Anthropic, Azure, Google."""

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host"})
_OF_THE_CLIENT = frozenset(
    {
        *(
            b"accept-encoding",
            b"cookie",
            b"cookie2",
            b"expect",
            b"forwarded",
            b"origin",
            b"referer",
            b"via",
            b"x-real-ip",
        ),
        *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto"),
    }
)
"""About the way from the client to the proxy, which is no business of the API. Without Accept-Encoding the API sends events
as they come, which a compressor would hold back."""

REQUEST_DROPPED = HOP_BY_HOP | KEYS | _FRAMING | _OF_THE_CLIENT
RESPONSE_DROPPED = HOP_BY_HOP | {
    *(b"set-cookie", b"set-cookie2", b"strict-transport-security", b"alt-svc", b"clear-site-data", b"refresh"),
    b"location",  # comes back where it stays within the API
}
"""Cookies are a session of another kind; `alt-svc` would lead the client around the proxy."""

_NO_CORS = b"access-control-"


def declared_length(fields: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The Content-Length in the header fields of a request to the proxy, 0 without a body, None for a body of
    undeclared length."""
    found = dict(fields)
    if (length := found.get(b"content-length", b"")).isdigit():
        return int(length)
    return None if b"transfer-encoding" in found else 0


def keys_in(fields: Iterable[tuple[bytes, bytes]], query: bytes = b"") -> list[bytes]:
    """Every key that a request carries, in header fields and in the query."""
    return [*(_key(value) for name, value in fields if name in KEYS), *keys_of_query(query)]


def _key(value: bytes) -> bytes:
    scheme, blank, key = value.partition(b" ")
    return key.strip() if blank and scheme.lower() == b"bearer" else value


def request_fields(fields: Fields, host: bytes, bearer: str, length: int | None) -> Fields:
    """The fields that are sent to the API: the client's, without keys and with our bearer. `length`: of the body; None for none."""
    dropped = REQUEST_DROPPED | _listed(fields)
    kept = [(name, value) for name, value in fields if name not in dropped]
    framed = [] if length is None else [(b"content-length", b"%d" % length)]
    return [(b"host", host), *kept, *framed, (b"authorization", f"Bearer {bearer}".encode("ascii"))]


def response_fields(fields: Fields, status: int, url: str, api_base: str) -> Fields | Refusal:
    """The fields that the client gets of an answer from `url`; a refusal for a redirect that leaves the API.

    A client would follow it by itself, and some send their key along.
    """
    lowered = [(name.lower(), value) for name, value in fields]
    dropped = RESPONSE_DROPPED | _listed(lowered)
    kept = [(name, value) for name, value in lowered if name not in dropped and not name.startswith(_NO_CORS)]
    location = next((value for name, value in lowered if name == b"location"), None)
    if location is None:
        return kept
    inside = _inside(location, url, api_base)
    if inside:
        return [*kept, (b"location", inside)]
    if 300 <= status < 400 and status != 304:
        return Refusal(502, "redirected", tr("the API redirects to another address, which the proxy does not follow"))
    return kept


def _listed(fields: Fields) -> frozenset[bytes]:
    """The fields that `Connection` declares to be for the next hop only."""
    values = [value for name, value in fields if name == b"connection"]
    return frozenset(one.strip().lower() for value in values for one in value.split(b","))


def _inside(location: bytes, url: str, api_base: str) -> bytes:
    """The address at the proxy for the header field Location, if that is within the API base; b"" for any other."""
    try:
        target = urljoin(url, location.decode("ascii"))
    except ValueError:
        return b""
    rest = target.removeprefix(f"{api_base}/")
    if rest == target or not rest.isprintable() or " " in rest or "\\" in rest:
        return b""
    return f"{PREFIX}/{rest}".encode("ascii")
