"""The HTTP clients of one server: one for each request of a thread, one for each event loop."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from kimi_auth.clock import Clock, SystemClock

from .http import Ask, proxy_for, send_async, send_sync
from .verdict import RawResponse

__all__ = ["Clients"]

KEPT_S = 900.0
"""How long an event loop's connection may be idle: longer than any wait between two polls."""


class Clients:
    """Sends requests. `transport` and `async_transport` stand in for the network and are never closed by this object.

    A thread's request gets a connection of its own, closed after it: what it sends is single-use, and a kept connection
    may be one that the server is just closing. An event loop keeps its connections, until `aclose`. The certificates that
    are trusted are read once: that takes longer than a request.
    """

    def __init__(
        self,
        transport: httpx.BaseTransport | None = None,
        async_transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self._transport = transport
        self._async_transport = async_transport
        self._guard = threading.Lock()
        self._by_loop: dict[tuple[asyncio.AbstractEventLoop, httpx.URL | None], httpx.AsyncClient] = {}

    def send(self, ask: Ask) -> RawResponse:
        """Sends in this thread; see `send_sync`."""
        return send_sync(partial(self._lend, ask), ask, self.clock)

    async def send_async(self, ask: Ask) -> RawResponse:
        """Sends in this event loop; see `send_async`."""
        return await send_async(partial(self._of_this_loop, ask), ask, self.clock)

    async def aclose(self) -> None:
        """Closes what this event loop used; the next request opens anew."""
        loop = asyncio.get_running_loop()
        with self._guard:
            closing = [self._by_loop.pop(known) for known in list(self._by_loop) if known[0] is loop]
        for client in closing:
            if self._async_transport is None:
                await client.aclose()

    def _lend(self, ask: Ask) -> AbstractContextManager[httpx.Client]:
        client = httpx.Client(
            verify=self._trusted if self._transport is None else True,
            transport=self._transport,
            proxy=proxy_for(ask.url) if self._transport is None else None,
            trust_env=False,
            cookies=_no_cookies(),
            event_hooks={"response": [_forget_redirect]},
        )
        return client if self._transport is None else nullcontext(client)

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    def _of_this_loop(self, ask: Ask) -> httpx.AsyncClient:
        proxy = proxy_for(ask.url) if self._async_transport is None else None
        wanted = asyncio.get_running_loop(), proxy.url if proxy else None
        with self._guard:
            for ended in [known for known in self._by_loop if known[0].is_closed()]:
                del self._by_loop[ended]
            if wanted not in self._by_loop:
                self._by_loop[wanted] = httpx.AsyncClient(
                    verify=self._trusted if self._async_transport is None else True,
                    transport=self._async_transport,
                    proxy=proxy,
                    trust_env=False,
                    cookies=_no_cookies(),
                    limits=httpx.Limits(keepalive_expiry=KEPT_S),
                    event_hooks={"response": [_forget_redirect_async]},
                )
            return self._by_loop[wanted]


def _no_cookies() -> CookieJar:
    """A jar that takes nothing and does not even read: OAuth needs no cookies, and they are one more thing to parse."""
    return CookieJar(DefaultCookiePolicy(netscape=False, rfc2965=False))


def _forget_redirect(response: httpx.Response) -> None:
    """httpx builds the next request even where it is not to be sent, and fails on a bad Location: the answer was here."""
    response.headers.pop("Location", None)


async def _forget_redirect_async(response: httpx.Response) -> None:
    _forget_redirect(response)
