"""A token in every request: `BearerAuth` is what an httpx or httpx2 client takes as `auth`.

    client = httpx.AsyncClient(auth=BearerAuth(session))

The two flows below are the same conversation with the source in two colours; what they decide is in `bearers`, which does
no I/O. The client itself reads the body of a refused response before it sends the request that a flow yields next, so the
connection is free again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from functools import cache
from typing import TYPE_CHECKING, Any

from kimi_auth.support.http_libraries import classes

from .bearers import SPENT_BODY, Answer, Signing, bearer_of
from .origins import origin_of

if TYPE_CHECKING:
    import httpx
    import httpx2

    from kimi_auth.support import http_libraries

    class _Auth(httpx.Auth, httpx2.Auth):
        """An auth of both libraries, as a type checker sees it; at run time see `BearerAuth`."""

        def auth_flow(self, request: Any) -> Generator[Any, Any, None]: ...
        def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]: ...
        def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]: ...
else:
    _Auth = object

__all__ = ["NOT_RESENT", "BearerAuth"]

NOT_RESENT = "kimi_auth.not_resent"
"""The key in the `extensions` of a 401 response whose value says why a newer token was there and the request was not
sent again."""


class BearerAuth(Signing, _Auth):
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

    One class for clients of httpx and of httpx2, which accept an object that is an instance of their own `Auth`. Neither
    library is imported for it. `isinstance` asks an object for its `__class__` after its type, as it does with a proxy or a
    mock, and this class answers with a subclass that has the `Auth` of each library loaded by then: so one instance fits a
    client of a library that was imported after it was made.
    """

    if not TYPE_CHECKING:

        @property
        def __class__(self) -> type:
            return _joined(type(self), classes("Auth"))

    def __reduce__(self) -> tuple[Any, ...]:
        # pickle and copy compare `__class__` with the type.
        return object.__new__, (type(self),), vars(self)

    def __repr__(self) -> str:
        return f"BearerAuth(origin={self._bearers.origin!r})"

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """The requests that a client sends for this one, of its own library: it is called by the client."""
        if not self._bearers.is_at_home(origin_of(request.url)):
            yield request
            return
        bearer = self._bearers.token_sync()
        response = yield _signed(request, bearer)
        newer = self._bearers.newer_sync(_answer(response), bearer)
        if newer is not None and self._can_send_again(response):
            self._bearers.note(_answer((yield _signed(response.request, newer))))

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """As `sync_auth_flow`, for an httpx or httpx2 client in an event loop."""
        if not self._bearers.is_at_home(origin_of(request.url)):
            yield request
            return
        bearer = await self._bearers.token()
        response = yield _signed(request, bearer)
        newer = await self._bearers.newer(_answer(response), bearer)
        if newer is not None and self._can_send_again(response):
            self._bearers.note(_answer((yield _signed(response.request, newer))))

    def _can_send_again(self, response: http_libraries.Response) -> bool:
        """Whether the client of a `BearerAuth` can send the *refused* request again: a POST that was redirected to a
        GET has been processed and must not be sent again. Tells the caller if its body is spent."""
        if _replayable(response.request):
            return True
        response.extensions[NOT_RESENT] = SPENT_BODY
        self._bearers.spent()
        return False


@cache
def _joined(kind: type, auths: tuple[type, ...]) -> type:
    """The class that is `kind` and each of these. It has no instances."""
    if not auths:
        return kind
    return type(kind.__name__, (kind, *auths), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def _signed(request: http_libraries.Request, bearer: str) -> http_libraries.Request:
    """The request with this bearer and no other."""
    request.headers["Authorization"] = f"Bearer {bearer}"
    return request


def _answer(response: http_libraries.Response) -> Answer:
    to = response.request
    authorization = to.headers.get("Authorization")
    return Answer(response.status_code, to.method, origin_of(to.url), to.url.path, bearer_of(authorization))


def _replayable(request: http_libraries.Request) -> bool:
    """Whether the body can be sent twice: bytes can; a multipart stream rewinds its files; every other stream is spent."""
    stream = request.stream
    if isinstance(stream, classes("ByteStream")):
        return True
    parts = getattr(stream, "fields", None)
    return isinstance(parts, list) and all(_rereadable(getattr(part, "file", b"")) for part in parts)


def _rereadable(file: object) -> bool:
    if isinstance(file, (bytes, str)):
        return True
    seekable = getattr(file, "seekable", None)
    return callable(seekable) and not getattr(file, "closed", False) and bool(seekable())
