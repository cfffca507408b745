"""The HTTP clients of one server: one per request in threads, one per event loop."""

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
"""How long an event loop's connection may be idle. Longer than any wait between two polls."""


class Clients:
    """Sends requests. `transport` and `async_transport` replace the network; this object never closes them.

    Each request of a thread uses a connection of its own and closes it: the request carries a single-use token, and
    the server may be closing a kept connection at that moment. An event loop keeps its connections until `aclose`. The
    trusted certificates are read once, because reading them takes longer than a request.
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
        """Closes the connections of this event loop; the next request opens new ones."""
        loop = asyncio.get_running_loop()
        with self._guard:
            closing = [self._by_loop.pop(known) for known in list(self._by_loop) if known[0] is loop]
        for client in closing:
            if self._async_transport is None:
                await client.aclose()

    def _lend(self, ask: Ask) -> AbstractContextManager[httpx.Client]:
        # `trust_env=False`: `proxy_for` chooses the proxy for each URL, with our exemption for loopback. `_trusted`
        # still honours SSL_CERT_FILE and SSL_CERT_DIR.
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
            # A loop that was closed without `aclose` has no way left to close its connections; the garbage collector
            # does.
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
    """A jar that stores and parses nothing: OAuth needs no cookies, and a server could attack the parser."""
    return CookieJar(DefaultCookiePolicy(netscape=False, rfc2965=False))


def _forget_redirect(response: httpx.Response) -> None:
    """httpx builds the next request even if redirects are off, and raises for a bad Location. Without the header it
    returns the answer."""
    response.headers.pop("Location", None)


async def _forget_redirect_async(response: httpx.Response) -> None:
    _forget_redirect(response)
