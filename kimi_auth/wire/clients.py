"""The HTTP clients of one server: one per request in threads, one per event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Self

from kimi_auth.clock import Clock, SystemClock
from kimi_auth.http_libraries import library_for, loaded

from .certificates import are_read, trusted
from .failures import UnsendableError
from .http import send_async, send_sync
from .proxies import proxy_for
from .request import Request
from .response import RawResponse

if TYPE_CHECKING:
    from kimi_auth import http_libraries

__all__ = ["Clients", "get_ready", "is_ready", "open_transport"]

KEPT_S = 900.0
"""How long an event loop's connection may be idle. Longer than any wait between two polls."""


_complete: set[str] = set()
"""The libraries that have loaded what they load late."""


def is_ready() -> bool:
    """True if a request from an event loop finds everything loaded that it needs."""
    library = next(iter(loaded()), None)
    return library is not None and library.__name__ in _complete and are_read()


def get_ready() -> None:
    """Loads in a thread what would stop an event loop for 20 to 150 ms at its first request: the certificates, and the
    modules that httpx and httpx2 load late, some with the first transport and some with the first connection.

    The connection goes to port 0 of this machine, where no program can listen, so it fails at once.
    """
    library = library_for()
    with suppress(UnsendableError, library.HTTPError):  # certificates: said again, as the answer, by the request itself
        asyncio.run(_connect_to_nothing(library))
    _complete.add(library.__name__)


async def _connect_to_nothing(library: Any) -> None:
    async with library.AsyncHTTPTransport(verify=trusted(), trust_env=False) as transport:
        await transport.handle_async_request(library.Request("GET", "http://127.0.0.1:0/"))


def open_transport(url: str, library: Any, *, connections: int, idle_s: float) -> http_libraries.AsyncTransport:
    """A transport of `library` for the server of `url`, through the proxy and with the certificates of this environment. It keeps
    up to `connections` open, each for `idle_s` seconds without a request. Raises UnsendableError."""
    limits = library.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=idle_s)
    opened: http_libraries.AsyncTransport = library.AsyncHTTPTransport(**_settings(url, library), limits=limits)
    return opened


def _settings(url: str, library: Any) -> dict[str, Any]:
    """Certificates and proxy for a request to `url`. Raises UnsendableError.

    `trust_env=False`: `proxy_for` chooses the proxy for each URL, with our exemption for loopback, and `trusted` the
    certificates.
    """
    proxy = proxy_for(url, library)
    if proxy is not None and proxy.url.scheme == "https":
        proxy.ssl_context = trusted()
    return {"verify": trusted(), "proxy": proxy, "trust_env": False}


class Clients:
    """Sends requests. `transport` and `async_transport` replace the network; this object never closes them.

    Each request is sent with httpx2 where the program has loaded it, else with httpx; a given transport decides itself.

    Each request of a thread uses a connection of its own and closes it: the request carries a single-use token, and
    the server may be closing a kept connection at that moment. An event loop keeps its connections until `aclose`, and
    never reads certificates itself.
    """

    def __init__(
        self,
        transport: http_libraries.Transport | None = None,
        async_transport: http_libraries.AsyncTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self._transport = transport
        self._async_transport = async_transport
        self._guard = threading.Lock()
        self._by_loop: dict[tuple[asyncio.AbstractEventLoop, object], http_libraries.AsyncClient] = {}

    def send(self, request: Request) -> RawResponse:
        """Sends in this thread; see `send_sync`."""
        return send_sync(partial(self._lend, request), request, self.clock)

    async def send_async(self, request: Request) -> RawResponse:
        """Sends in this event loop; see `send_async`."""
        if self._async_transport is None and not is_ready():
            await asyncio.to_thread(get_ready)
        return await send_async(partial(self._of_this_loop, request), request, self.clock)

    async def aclose(self) -> None:
        """Closes the connections of this event loop; the next request opens new ones."""
        loop = asyncio.get_running_loop()
        with self._guard:
            closing = [self._by_loop.pop(known) for known in list(self._by_loop) if known[0] is loop]
        for client in closing:
            await client.aclose()

    def _lend(self, request: Request) -> AbstractContextManager[http_libraries.Client]:
        library = library_for(self._transport)
        client: AbstractContextManager[http_libraries.Client] = library.Client(
            transport=_Transport(self._transport, lambda: library.HTTPTransport(**_settings(request.url, library))),
            trust_env=False,
            cookies=_no_cookies(),
        )
        return client

    def _of_this_loop(self, request: Request) -> http_libraries.AsyncClient:
        library = library_for(self._async_transport)
        settings = _settings(request.url, library) if self._async_transport is None else {}
        proxy = settings.get("proxy")
        wanted = asyncio.get_running_loop(), proxy.url if proxy else None
        with self._guard:
            # A loop that was closed without `aclose` has no way left to close its connections; the garbage collector
            # does.
            for ended in [known for known in self._by_loop if known[0].is_closed()]:
                del self._by_loop[ended]
            if wanted not in self._by_loop:
                limits = library.Limits(keepalive_expiry=KEPT_S)
                self._by_loop[wanted] = library.AsyncClient(
                    transport=_AsyncTransport(
                        self._async_transport, lambda: library.AsyncHTTPTransport(**settings, limits=limits)
                    ),
                    trust_env=False,
                    cookies=_no_cookies(),
                )
            return self._by_loop[wanted]


class _Transport:
    """A transport whose responses are safe for the client. Closes the one that it made, never a `given` one.

    The clients of both libraries call these four methods and ask for no base class.
    """

    def __init__(self, given: http_libraries.Transport | None, make: Callable[[], http_libraries.Transport]) -> None:
        self._inner = given or make()
        self._owns = given is None

    def handle_request(self, request: Any) -> http_libraries.Response:
        return _safe(self._inner.handle_request(request))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._owns:
            self._inner.close()


class _AsyncTransport:
    """The same for an event loop."""

    def __init__(
        self, given: http_libraries.AsyncTransport | None, make: Callable[[], http_libraries.AsyncTransport]
    ) -> None:
        self._inner = given or make()
        self._owns = given is None

    async def handle_async_request(self, request: Any) -> http_libraries.Response:
        return _safe(await self._inner.handle_async_request(request))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        if self._owns:
            await self._inner.aclose()


def _safe(response: http_libraries.Response) -> http_libraries.Response:
    """Without Location: the client builds the next request even if redirects are off, and raises for a bad URL. Without the
    reason phrase: the server chooses it, it may repeat a secret, and the client logs it at INFO."""
    response.headers.pop("Location", None)
    response.extensions.pop("reason_phrase", None)
    return response


def _no_cookies() -> CookieJar:
    """A jar that stores and parses nothing: OAuth needs no cookies, and a server could attack the parser."""
    return CookieJar(DefaultCookiePolicy(netscape=False, rfc2965=False))
