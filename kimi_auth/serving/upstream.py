"""The proxy's connections to the platform's API: kept between requests, without redirects, cookies or decoding.

Transports of httpx or httpx2, not clients: a client would follow redirects, keep cookies, decode bodies and add header fields.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kimi_auth.support.http_libraries import library_for
from kimi_auth.wire.loop_clients import get_ready, is_ready, open_transport

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

__all__ = ["Exchange", "Upstream"]

IDLE_S = 30.0
"""How long an idle connection is kept: shorter than load balancers keep theirs (60 s and more), so that none is closed while a
request is being sent on it."""

TIMEOUTS = {"connect": 10.0, "read": 600.0, "write": 60.0, "pool": 10.0}
"""In seconds. A model may think for minutes before its first byte; the clients of OpenAI and Anthropic wait for ten."""


class Exchange:
    """An answer of the API. `fields` as they came; the body has not been read yet."""

    def __init__(self, response: http_libraries.Response, ended: Callable[[], None]) -> None:
        self._response = response
        self._ended = ended
        self.status: int = response.status_code
        self.fields: list[tuple[bytes, bytes]] = response.headers.raw

    def chunks(self) -> AsyncIterator[bytes]:
        """The body of the API's answer as it comes, in the coding that it was sent in. Raises the exceptions of a transport."""
        stream: AsyncIterable[bytes] = self._response.stream  # type: ignore[assignment]
        return aiter(stream)

    async def aclose(self) -> None:
        """Ends an answer of the API, any number of times. One that was not read to its end costs its connection."""
        ended, self._ended = self._ended, _nothing
        try:
            await self._response.aclose()
        finally:
            ended()


class Upstream:
    """Sends requests to one origin, from one event loop. `transport` replaces the network; this object never closes it.

    Each connection has a transport of its own, and the one that was used last is used next. The pool of one transport looks at
    every pair of its connections for each request: with 16 at work that took longer than everything else.
    """

    def __init__(self, api_base: str, transport: http_libraries.AsyncTransport | None = None) -> None:
        parts = urlsplit(api_base)
        self.host: bytes = parts.netloc.encode("ascii")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._given: Any = transport
        self._library: Any = library_for(transport) if transport is not None else None
        self._idle: deque[tuple[float, Any]] = deque()
        self._url = lru_cache(maxsize=256)(self._parsed)

    async def send(self, method: str, url: str, fields: list[tuple[bytes, bytes]], body: bytes) -> Exchange:
        """Sends a request, and waits for the head of its answer. `fields` are sent as they are, so they hold Host and the length of
        `body`. Raises the exceptions of a transport, and those of `open_transport`."""
        transport = await self._taken()
        library = self._library
        request = library.Request(
            method, self._url(url), headers=fields, stream=library.ByteStream(body), extensions={"timeout": TIMEOUTS}
        )
        try:
            response = await transport.handle_async_request(request)
        except BaseException:
            self._put_back(transport)
            raise
        return Exchange(response, lambda: self._put_back(transport))

    async def aclose(self) -> None:
        """Closes the connections to the platform's API; the next request opens new ones."""
        while self._idle:
            await self._idle.pop()[1].aclose()

    async def _taken(self) -> Any:
        if self._given is not None:
            return self._given
        now_s = time.monotonic()
        while self._idle and now_s - self._idle[0][0] > IDLE_S:
            await self._idle.popleft()[1].aclose()
        if self._idle:
            return self._idle.pop()[1]
        if not is_ready():
            await asyncio.to_thread(get_ready)
        if self._library is None:
            self._library = library_for()
        return open_transport(self._origin, self._library, connections=1, idle_s=IDLE_S)

    def _parsed(self, url: str) -> Any:
        """Parsing costs a tenth of a request, and the URLs of most requests are the same few."""
        return self._library.URL(url)

    def _put_back(self, transport: Any) -> None:
        """A broken connection leaves a transport that opens another one."""
        if self._given is None:
            self._idle.append((time.monotonic(), transport))


def _nothing() -> None:
    """It has ended already."""
