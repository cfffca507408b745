"""The HTTP clients of one server in event loops: one for each loop and proxy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from kimi_auth.clock import Clock
from kimi_auth.support.http_libraries import library_for, loaded
from kimi_auth.support.imports import undisturbed

from .certificates import are_read, trusted
from .failures import UnsendableError
from .http import send_async
from .request import Request
from .response import RawResponse
from .transports import no_cookies, safe, settings_for

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

__all__ = ["LoopClients", "get_ready", "is_ready", "open_transport"]

KEPT_S = 900.0
"""How long an event loop's connection may be idle. Longer than any wait between two polls."""


_complete: set[str] = set()
"""The libraries that have loaded what they load late."""


def is_ready() -> bool:
    """True if the clients of event loops find everything loaded that a request needs."""
    library = next(iter(loaded()), None)
    return library is not None and library.__name__ in _complete and are_read()


def get_ready() -> None:
    """Gets the clients of event loops ready: loads in a thread what would stop a loop for 20 to 150 ms at its first request,
    the certificates and the modules that httpx and httpx2 load late, some with the first transport and some with the first
    connection.

    The connection goes to port 0 of this machine, where no program can listen, so it fails at once.
    """
    with undisturbed():
        library = library_for()
        with suppress(UnsendableError, library.HTTPError):  # certificates: said again, as the answer, by the request
            asyncio.run(_connect_to_nothing(library))
    _complete.add(library.__name__)


async def _connect_to_nothing(library: Any) -> None:
    async with library.AsyncHTTPTransport(verify=trusted(), trust_env=False) as transport:
        await transport.handle_async_request(library.Request("GET", "http://127.0.0.1:0/"))


def open_transport(url: str, library: Any, *, connections: int, idle_s: float) -> http_libraries.AsyncTransport:
    """A transport of `library` for a client in an event loop, to the server of `url`, through the proxy and with the
    certificates of this environment. It keeps `connections` open at most, each for `idle_s` seconds without a request.
    Raises UnsendableError."""
    limits = library.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=idle_s)
    opened: http_libraries.AsyncTransport = library.AsyncHTTPTransport(**settings_for(url, library), limits=limits)
    return opened


class LoopClients:
    """Sends requests from event loops. A loop keeps its connections until `aclose`, and never reads certificates itself. Without
    `keeps`, a connection serves one request, as a single-use token wants it."""

    def __init__(self, given: http_libraries.AsyncTransport | None, clock: Clock, *, keeps: bool = True) -> None:
        self._given = given
        self._keeps = keeps
        self._clock = clock
        self._guard = threading.Lock()
        self._by_loop: dict[tuple[asyncio.AbstractEventLoop, object, object], http_libraries.AsyncClient] = {}

    async def send(self, request: Request) -> RawResponse:
        """Sends over this event loop's client; see `send_async`."""
        if self._given is None and not is_ready():
            await asyncio.to_thread(get_ready)
        return await send_async(partial(self._of_this_loop, request), request, self._clock)

    async def aclose(self) -> None:
        """Closes the client of this event loop and proxy; the next request opens new ones."""
        loop = asyncio.get_running_loop()
        with self._guard:
            closing = [self._by_loop.pop(known) for known in list(self._by_loop) if known[0] is loop]
        for client in closing:
            await client.aclose()

    def _of_this_loop(self, request: Request) -> http_libraries.AsyncClient:
        library = library_for(self._given)
        settings = settings_for(request.url, library) if self._given is None else {}
        proxy = settings.get("proxy")
        wanted = asyncio.get_running_loop(), proxy.url if proxy else None, settings.get("verify")
        with self._guard:
            # A loop that was closed without `aclose` has no way left to close its connections; the garbage collector
            # does.
            for ended in [known for known in self._by_loop if known[0].is_closed()]:
                del self._by_loop[ended]
            if wanted not in self._by_loop:
                limits = library.Limits(keepalive_expiry=KEPT_S, max_keepalive_connections=None if self._keeps else 0)
                self._by_loop[wanted] = library.AsyncClient(
                    transport=_AsyncTransport(
                        self._given, lambda: library.AsyncHTTPTransport(**settings, limits=limits)
                    ),
                    trust_env=False,
                    cookies=no_cookies(),
                )
            return self._by_loop[wanted]


class _AsyncTransport:
    """`transports.Transport` for an event loop."""

    def __init__(
        self, given: http_libraries.AsyncTransport | None, make: Callable[[], http_libraries.AsyncTransport]
    ) -> None:
        self._inner = given or make()
        self._owns = given is None

    async def handle_async_request(self, request: Any) -> http_libraries.Response:
        return safe(await self._inner.handle_async_request(request))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        if self._owns:
            await self._inner.aclose()
