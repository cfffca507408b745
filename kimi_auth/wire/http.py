"""Sends a request, from a thread or an event loop, through a proxy or SOCKS: the only module that does. Every result comes back
as `RawResponse`; only cancellation passes.

Threads (`send_sync`) and event loops (`send_async`) share everything except the sending itself. Bodies are read up to
1 MiB, redirects are not followed, cookies are not kept, the environment sets proxies and certificates, and every
request has a deadline that a slow, dripping server cannot extend.
"""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, closing, contextmanager
from typing import TYPE_CHECKING, Any, cast

from kimi_auth.clock import Clock
from kimi_auth.support.http_libraries import classes
from kimi_auth.support.language import tr

from .deadline import SOCKS_FAILED, SOCKS_STARTED, Deadline
from .failures import DeadlineError, NotSentError, UnsendableError
from .request import Request
from .response import RawResponse, ResponseBuffer

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

__all__ = ["send_async", "send_sync"]


def _failures() -> tuple[type[Exception], ...]:
    """What a request may end with; asked once it has, so that the library it was sent with is loaded."""
    theirs = classes("HTTPError", "InvalidURL", "StreamError")
    return (UnsendableError, NotSentError, DeadlineError, *theirs, OSError, ValueError)


def send_sync(
    client_of: Callable[[], AbstractContextManager[http_libraries.Client]], request: Request, clock: Clock
) -> RawResponse:
    """Sends `request` in this thread over the client that `client_of` lends, and returns the result. Never raises.

    `request.deadline_s` (plus a grace second) bounds it once the server's name is resolved; the system's resolver bounds
    the resolution. Stops reading after one complete JSON object: further bytes could not change the answer.
    """
    buffer = ResponseBuffer(request, clock)
    deadline = Deadline(request, clock)
    try:
        with client_of() as client:
            built = request.built(client, trace=deadline.watch)
            # `auth=None`: a client that the caller gave may have credentials of its own, which must not replace the
            # bearer. A redirect could send the token to another host.
            with _through_socks():
                answered = client.send(built, stream=True, auth=None, follow_redirects=False)
            with closing(answered) as response:
                buffer.head(response)
                # `response.stream` is the raw body. httpx's own decoders raise for a wrong label and have no limit;
                # see `coding`.
                for chunk in cast("Iterable[bytes]", response.stream):
                    if not buffer.take(chunk) or buffer.is_whole(chunk):
                        break
                    deadline.left_s()
    except _failures() as failure:
        return buffer.response(failure)
    return buffer.response()


async def send_async(
    client_of: Callable[[], http_libraries.AsyncClient], request: Request, clock: Clock
) -> RawResponse:
    """Sends `request` in this event loop, as `send_sync` does in a thread. Raises nothing but a cancellation of the
    caller."""
    import asyncio  # loaded already where a loop runs; a thread does without

    buffer = ResponseBuffer(request, clock)
    try:
        client = client_of()
        built = request.built(client, trace=_SocksCloser())
        async with asyncio.timeout(request.deadline_s):
            with _through_socks():
                answered = await client.send(built, stream=True, auth=None, follow_redirects=False)
            async with aclosing(answered) as response:
                buffer.head(response)
                async for chunk in cast("AsyncIterable[bytes]", response.stream):
                    if not buffer.take(chunk):
                        break
    except TimeoutError:
        return buffer.response(DeadlineError())
    except _failures() as failure:
        return buffer.response(failure)
    return buffer.response()


class _SocksCloser:
    """The `trace` extension of a request in an event loop: closes a connection whose SOCKS conversation failed, which
    httpcore leaves open."""

    _stream: Any = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(SOCKS_STARTED):
            self._stream = info["stream"]
        elif event.endswith(SOCKS_FAILED):
            await self._stream.aclose()


@contextmanager
def _through_socks() -> Iterator[None]:
    """Makes a NotSentError of the exceptions for a proxy that does not speak SOCKS 5, while a request is sent: httpcore
    lets socksio's errors and its assertions about the kind of reply pass. Both come before the request is written."""
    try:
        yield
    except Exception as failure:
        frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(failure.__traceback__)]
        if frames[-1].startswith("socksio.") or (isinstance(failure, AssertionError) and "socks_proxy" in frames[-1]):
            raise NotSentError(tr("the proxy does not speak SOCKS 5")) from None
        raise
