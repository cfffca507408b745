"""The HTTP clients of one server: one per request in threads, one per event loop."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from kimi_auth.clock import Clock, SystemClock
from kimi_auth.support.http_libraries import library_for
from kimi_auth.support.imports import undisturbed
from kimi_auth.support.once import once

from .http import send_sync
from .request import Request
from .response import RawResponse
from .transports import Transport, no_cookies, settings_for

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

    from .loop_clients import LoopClients

__all__ = ["Clients"]


class Clients:
    """Sends requests. `transport` and `async_transport` replace the network; this object never closes them.

    Each request is sent with httpx2 where the program has loaded it, else with httpx; a given transport decides itself.

    Each request of a thread uses a connection of its own and closes it: the request carries a single-use token, and
    the server may be closing a kept connection at that moment.
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

    @once
    def of_loops(self) -> LoopClients:
        """The clients of event loops."""
        from .loop_clients import LoopClients  # with asyncio, which a thread does without

        return LoopClients(self._async_transport, self.clock)

    def send(self, request: Request) -> RawResponse:
        """Sends over a client of its own in this thread; see `send_sync`."""
        return send_sync(partial(self._lend, request), request, self.clock)

    async def send_async(self, request: Request) -> RawResponse:
        """Sends over the client of this event loop; see `LoopClients`."""
        return await self.of_loops.send(request)

    async def aclose(self) -> None:
        """Closes the clients of this event loop; the next request opens new ones."""
        await self.of_loops.aclose()

    def _lend(self, request: Request) -> AbstractContextManager[http_libraries.Client]:
        with undisturbed():  # both libraries load their greater part with the first transport
            library = library_for(self._transport)
            client: AbstractContextManager[http_libraries.Client] = library.Client(
                transport=Transport(
                    self._transport, lambda: library.HTTPTransport(**settings_for(request.url, library))
                ),
                trust_env=False,
                cookies=no_cookies(),
            )
        return client
