"""A token in every request: `BearerAuth` is what an httpx client takes as `auth`.

    client = httpx.AsyncClient(auth=BearerAuth(session))

The two flows below are the same conversation with the source in two colours; what they decide is in the functions after
them, which do no I/O. httpx itself reads the body of a refused response before it sends the request that a flow yields
next, so the connection is free again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator

import httpx

from kimi_auth.errors import KimiAuthError
from kimi_auth.language import tr
from kimi_auth.logs import logger

from .origins import bearer_origin, origin_of
from .source import TokenSource

__all__ = ["NOT_RESENT", "BearerAuth"]

NOT_RESENT = "kimi_auth.not_resent"
"""In the `extensions` of a 401 response: why a newer token was there and the request was not sent again."""

URLS_MAX = 256
"""Of URLs that refuse a token which their origin accepts elsewhere, so many are remembered."""

_NO_NEWER_TOKEN = "401, and no newer token: %s"
_log = logger("clients")


class BearerAuth(httpx.Auth):
    """Signs requests with `Authorization: Bearer` (RFC 6750 §2.1), and once more with a newer token after a 401.

    `origin` is a URL at the only origin that gets the token; without it, the source's `api_origin`. It is https, or http on
    a loopback host. A request to another origin goes out unsigned, which is logged at DEBUG; a redirect to one never
    carries the token, and a 401 from there says nothing about it. A 401 from the token's own origin is reported to the source once; if that gives a newer token,
    the refused request is sent once more. Every other answer (402, 403, the second 401) is the caller's.

    Sent again: bodies in memory, and multipart files that can seek. A body that was a stream is spent: the 401 is
    returned, with the reason in its `extensions` under `NOT_RESENT` and in a log record. `Request.read()` before sending
    makes any body one that can be sent again.

    A source's static key is sent where it has no token, and after a 401 where it has no newer one. Without a static key
    errors of the source reach the caller before anything is sent; after a 401 they are logged and the 401 is returned.
    One instance serves any number of clients, tasks and threads. A sync client waits for the source in its thread.

    A URL that answers 401 again, while the same token is accepted at another URL of its origin, refuses what the token may
    do and not the token: such a 401 is the caller's, and is not reported to the source, where it would force a rotation.
    """

    def __init__(self, source: TokenSource, *, origin: str | None = None) -> None:
        """Raises ValueError where no origin is known, or one to which no bearer may be sent."""
        known = getattr(source, "api_origin", None) if origin is None else origin
        self._source = source
        self._static_key: Callable[[], str] = getattr(source, "static_key", lambda: "")
        if known is None:
            raise ValueError("the token source knows no origin: name the only one that gets its tokens with origin=")
        self._origin = bearer_origin(known)
        self._seen = _Seen(self._origin)

    def __repr__(self) -> str:
        return f"BearerAuth(origin={self._origin!r})"

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if not self._is_at_home(request):
            yield request
            return
        try:
            bearer = self._source.access_token_sync()
        except KimiAuthError as error:
            bearer = self._static_instead(error)
        response = yield _signed(request, bearer)
        is_the_url = self._seen.is_the_url(response, bearer)
        if _refuses(response, self._origin, bearer):
            try:
                newer = None if is_the_url else self._source.rejected_sync(bearer)
                again = _again(response, bearer, newer or self._static_key())
            except KimiAuthError as error:
                _log.warning(_NO_NEWER_TOKEN, error.line)
                return
            if again is not None:
                self._seen.note((yield again))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if not self._is_at_home(request):
            yield request
            return
        try:
            bearer = await self._source.access_token()
        except KimiAuthError as error:
            bearer = self._static_instead(error)
        response = yield _signed(request, bearer)
        is_the_url = self._seen.is_the_url(response, bearer)
        if _refuses(response, self._origin, bearer):
            try:
                newer = None if is_the_url else await self._source.rejected(bearer)
                again = _again(response, bearer, newer or self._static_key())
            except KimiAuthError as error:
                _log.warning(_NO_NEWER_TOKEN, error.line)
                return
            if again is not None:
                self._seen.note((yield again))

    def _is_at_home(self, request: httpx.Request) -> bool:
        at_home = origin_of(request.url) == self._origin
        if not at_home:
            _log.debug("not signed: %s is not %s", origin_of(request.url), self._origin)
        return at_home

    def _static_instead(self, error: KimiAuthError) -> str:
        """The static key, where there is no token; raises `error`, which says why there is none, if there is no key either."""
        if not (key := self._static_key()):
            raise error
        _log.info("the static key is used: %s", error.line)
        return key


class _Seen:
    """Which URLs of the `origin` refuse a token that it accepts elsewhere.

    `_accepted`: the last bearer that was answered with 2xx, since when no 401 was reported. `_refusing`: URLs (method, path)
    that answered 401 and not 2xx since; the oldest of too many is forgotten, and is then reported once more.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._accepted = ""
        self._refusing: dict[tuple[str, str], None] = {}

    def is_the_url(self, response: httpx.Response, bearer: str) -> bool:
        """Notes what the answer says, and is True for a 401 that is about the URL and not about the token."""
        url = _place_of(response.request)
        if not _refuses(response, self._origin, bearer):
            self.note(response)
            return False
        if url in self._refusing and self._accepted == bearer:
            _log.info("401 from %s again, which accepts this token at other URLs: not reported", self._origin)
            return True
        self._accepted = ""
        self._refuse(url)
        return False

    def note(self, response: httpx.Response) -> None:
        """Notes what the answer to a signed request says."""
        if origin_of(response.request.url) != self._origin:
            return
        if response.is_success:
            self._accepted = response.request.headers.get("Authorization", "").removeprefix("Bearer ")
            self._refusing.pop(_place_of(response.request), None)
        elif response.status_code == httpx.codes.UNAUTHORIZED:
            self._refuse(_place_of(response.request))

    def _refuse(self, url: tuple[str, str]) -> None:
        self._refusing[url] = None
        if len(self._refusing) > URLS_MAX:
            self._refusing.pop(next(iter(self._refusing), url), None)


def _place_of(request: httpx.Request) -> tuple[str, str]:
    return request.method, request.url.path


def _signed(request: httpx.Request, bearer: str) -> httpx.Request:
    """The request with this bearer and no other; a header that cannot be sent would be quoted in h11's error."""
    if not (bearer.isascii() and bearer.isprintable()) or " " in bearer or not bearer:
        raise KimiAuthError(tr("the token source returned a value that is not valid in a header (RFC 6750 §2.1)"))
    request.headers["Authorization"] = f"Bearer {bearer}"
    return request


def _refuses(response: httpx.Response, home: str, bearer: str) -> bool:
    """Whether this is the token's own origin saying 401 to this very token; redirects may have led elsewhere."""
    return (
        response.status_code == httpx.codes.UNAUTHORIZED
        and origin_of(response.request.url) == home
        and response.request.headers.get("Authorization") == f"Bearer {bearer}"
    )


def _again(response: httpx.Response, bearer: str, newer: str | None) -> httpx.Request | None:
    """The refused request with the newer token; None if there is none, or if its body cannot be sent twice.

    It is the *refused* one: a POST that was redirected to a GET has been processed and must not be sent again.
    """
    if not newer or newer == bearer:
        return None
    if not _replayable(response.request):
        reason = "the request body was a stream and is consumed: send the request again, a newer token is available"
        response.extensions[NOT_RESENT] = reason
        _log.warning("401 from %s: %s", origin_of(response.request.url), reason)
        return None
    return _signed(response.request, newer)


def _replayable(request: httpx.Request) -> bool:
    """Whether the body can be sent twice: bytes can; httpx's multipart rewinds its files; every other stream is spent."""
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        return True
    parts = getattr(stream, "fields", None)
    return isinstance(parts, list) and all(_rereadable(getattr(part, "file", b"")) for part in parts)


def _rereadable(file: object) -> bool:
    if isinstance(file, (bytes, str)):
        return True
    seekable = getattr(file, "seekable", None)
    return callable(seekable) and not getattr(file, "closed", False) and bool(seekable())
