"""The endpoints that a server's metadata names (RFC 8414, OpenID Connect Discovery). Does no I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar, cast
from urllib.parse import urlsplit

from kimi_auth.support.language import tr
from kimi_auth.support.urls import origin_of, parsed

from .decode import JsonObject, json_object
from .failures import NotSentError, UnsendableError
from .response import RawResponse

__all__ = ["Search", "endpoint", "metadata_urls", "other_origins", "search", "searched", "searched_async"]

Found = TypeVar("Found")
Search = Generator[str, RawResponse, Found | RawResponse]


def metadata_urls(issuer: str) -> tuple[str, str]:
    """The two addresses of the metadata of `issuer`, in the order in which to request them.

    The first inserts the well-known part between host and path (RFC 8414 §3.1), the second appends it to the path
    (OpenID Connect Discovery §4.1).
    """
    parts = urlsplit(issuer.rstrip("/"))
    host = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{host}/.well-known/oauth-authorization-server{parts.path}",
        f"{host}{parts.path}/.well-known/openid-configuration",
    )


def search(issuer: str, find: Callable[[JsonObject], Found | None], missing: RawResponse) -> Search[Found]:
    """Yields the addresses of the metadata and receives their responses.

    Returns the first result of `find`, or the response to report for the actual request, which was never sent:
    `missing` if the server has no such metadata, else why the metadata could not be read.
    """
    for url in metadata_urls(issuer):
        response = yield url
        metadata = json_object(response.body) if response.status == 200 else None  # RFC 8414 §3.2: nothing but a 200
        found = find(metadata) if metadata is not None else None
        if found is not None:
            return found
        # The same host, or the same settings, would fail again and use up the deadline.
        if response.failure is not None:
            is_ours = issubclass(response.failure, UnsendableError)
            return response if is_ours else _unavailable(response)
        missing = missing if _has_none(response) else _unavailable(response)
    return missing


def searched(search: Search[Found], send: Callable[[str], RawResponse]) -> Found | RawResponse:
    """The endpoints that a search of metadata finds, with `send` for its requests."""
    try:
        url = next(search)
        while True:
            url = search.send(send(url))
    except StopIteration as end:
        return cast("Found | RawResponse", end.value)


async def searched_async(search: Search[Found], send: Callable[[str], Awaitable[RawResponse]]) -> Found | RawResponse:
    """The same in an event loop."""
    try:
        url = next(search)
        while True:
            url = search.send(await send(url))
    except StopIteration as end:
        return cast("Found | RawResponse", end.value)


def _has_none(response: RawResponse) -> bool:
    """True if the server itself says that there is no metadata here: 404, 410, or a 200 that is not a page. Any other
    answer came from a proxy or from a server that cannot answer now."""
    return response.status in {404, 410} or (response.status == 200 and not response.is_page)


def _unavailable(response: RawResponse) -> RawResponse:
    """The response to report for a request that was not sent because this one, for the metadata, failed."""
    message = response.message or f"HTTP {response.status} {response.content_type}".rstrip()
    message = tr("its metadata: {reason}", reason=message)
    return response._replace(status=0, body=b"", failure=NotSentError, message=message)


def endpoint(metadata: JsonObject, issuer: str, name: str) -> str:
    """The endpoint `name` (RFC 8414 §2, RFC 8628 §4) in metadata whose issuer is `issuer` (§3.3), else "".

    It must be https, or plain http at exactly the host and port of an issuer that uses plain http itself.
    """
    ours, theirs, there = parsed(issuer), parsed(metadata.get("issuer")), parsed(metadata.get(name))
    if ours is None or theirs != ours or there is None:
        return ""
    # A stored login must not move from https to plain http because the metadata says so.
    return str(metadata[name]) if there.scheme == "https" or there.origin == ours.origin else ""


def other_origins(issuer: str, *urls: str) -> tuple[str, ...]:
    """The origins (RFC 6454 §4) of the endpoints `urls` that are not the issuer's, each once; "" is no URL and has none."""
    own = origin_of(issuer)
    return tuple(dict.fromkeys(origin for url in urls if (origin := origin_of(url)) and origin != own))
