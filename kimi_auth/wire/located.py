"""An OAuth server whose endpoints may be at other origins: its metadata (RFC 8414) names them, or the platform does."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING

from kimi_auth.clock import Clock
from kimi_auth.support.language import tr
from kimi_auth.support.urls import host_of

from .answers import Answer, CodeOutcome, DeviceCode, Endpoints, ExchangeOutcome, Grant, PollOutcome, RevokeOutcome
from .clients import Clients
from .contract import TokenHint
from .decode import JsonObject
from .discovery import Search, endpoint, other_origins, search, searched, searched_async
from .failures import UnpinnedError, UnsendableError
from .interpret import code_answer, exchange_answer, poll_answer, revoke_answer
from .oauth import OAuthClient
from .request import CONNECT_TIMEOUT_S, Request
from .response import RawResponse

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

    from .loop_clients import LoopClients

__all__ = ["LocatedClient"]

METADATA_DEADLINE_S = 10.0


class LocatedClient:
    """An `OAuthServer` behind the issuer in `endpoints`; other arguments, threads and loops as for `OAuthClient`.

    Keeps the endpoints that it found for its lifetime. If the metadata is not available, it sends nothing else.

    A sign-in accepts https origins other than the issuer's own from the metadata, and lists them in its `DeviceCode`.
    A stored token goes to such an origin only if `pinned` contains it: the sign-in binds a login to these origins, and
    metadata that changes later cannot send the token to another host. The device authorization endpoint may be
    anywhere, because its request carries no secret.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        headers: Mapping[str, str],
        *,
        transport: http_libraries.Transport | None = None,
        async_transport: http_libraries.AsyncTransport | None = None,
        clock: Clock | None = None,
        pinned: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._endpoints = endpoints
        self._headers = dict(headers)
        self._clients = Clients(transport, async_transport, clock)
        self._transport = transport
        self._async_transport = async_transport
        self._guard = threading.Lock()
        self._pinned = pinned
        self._found: OAuthClient | None = None
        self._located = endpoints
        self._granted = ""

    async def request_code(self) -> Answer[CodeOutcome, DeviceCode]:
        found = await self._locate_async()
        if isinstance(found, RawResponse):
            return code_answer(found)
        answer = await found.request_code()
        if answer.value is None:
            return answer
        to = self._located
        origins = other_origins(to.issuer, to.token_url, to.revocation_url)
        return answer._replace(value=answer.value._replace(origins=origins))

    async def poll(self, device_code: str) -> Answer[PollOutcome, Grant]:
        found = await self._locate_async()
        if isinstance(found, RawResponse):
            return poll_answer(found)
        answer = await found.poll(device_code)
        if answer.value is not None:
            self._granted = answer.value.refresh_token or answer.value.access_token
        return answer

    def exchange(
        self, refresh_token: str, *, connect_timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Answer[ExchangeOutcome, Grant]:
        found = self._locate(METADATA_DEADLINE_S, connect_timeout_s)
        if isinstance(found, RawResponse):
            return exchange_answer(found)
        if refused := self._unpinned(self._located.token_url):
            return exchange_answer(refused)
        return found.exchange(refresh_token, connect_timeout_s=connect_timeout_s)

    async def exchange_async(
        self, refresh_token: str, through: LoopClients, *, connect_timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Answer[ExchangeOutcome, Grant]:
        """As `OAuthClient.exchange_async`, at the located endpoint."""
        found = await self._locate_async()
        if isinstance(found, RawResponse):
            return exchange_answer(found)
        if refused := self._unpinned(self._located.token_url):
            return exchange_answer(refused)
        return await found.exchange_async(refresh_token, through, connect_timeout_s=connect_timeout_s)

    def revoke(self, token: str, hint: TokenHint, *, deadline_s: float = 5.0) -> Answer[RevokeOutcome, None]:
        ends_at_s = self._clients.clock.monotonic_s() + deadline_s
        found = self._locate(deadline_s, min(deadline_s, CONNECT_TIMEOUT_S))
        if isinstance(found, RawResponse):
            return revoke_answer(found)
        # A grant that could not be stored is not bound to anything yet. It may return to the server that issued it.
        if token != self._granted and (refused := self._unpinned(self._located.revocation_url)):
            return revoke_answer(refused)
        left_s = ends_at_s - self._clients.clock.monotonic_s()
        return found.revoke(token, hint, deadline_s=max(left_s, 0.0))

    async def aclose(self) -> None:
        await self._clients.aclose()
        if self._found is not None:
            await self._found.aclose()

    def _unpinned(self, url: str) -> RawResponse | None:
        """The response to report for an endpoint that this login is not bound to. None if it is bound."""
        is_bound = set(self._pinned()).issuperset(other_origins(self._endpoints.issuer, url))
        return None if is_bound else RawResponse(host_of(url), failure=UnpinnedError)

    def _locate(self, deadline_s: float, connect_timeout_s: float) -> OAuthClient | RawResponse:
        ends_at_s = self._clients.clock.monotonic_s() + deadline_s

        def send(url: str) -> RawResponse:
            left_s = max(ends_at_s - self._clients.clock.monotonic_s(), 0.0)
            request = Request("GET", url, self._headers, deadline_s=left_s, connect_timeout_s=connect_timeout_s)
            return self._clients.send(request)

        return self._known() or self._keep(searched(self._search(), send))

    async def _locate_async(self) -> OAuthClient | RawResponse:
        def send(url: str) -> Awaitable[RawResponse]:
            return self._clients.send_async(Request("GET", url, self._headers, deadline_s=METADATA_DEADLINE_S))

        return self._known() or self._keep(await searched_async(self._search(), send))

    def _known(self) -> OAuthClient | RawResponse | None:
        """The client, if it was found before or the platform names the endpoints."""
        return self._found or (self._keep(self._endpoints) if self._endpoints.token_url else None)

    def _search(self) -> Search[Endpoints]:
        message = tr("it has no metadata for this issuer with the endpoints of the device grant (RFC 8414)")
        missing = RawResponse(host_of(self._endpoints.issuer), failure=UnsendableError, message=message)
        return search(self._endpoints.issuer, lambda metadata: _endpoints_in(metadata, self._endpoints), missing)

    def _keep(self, found: Endpoints | RawResponse) -> OAuthClient | RawResponse:
        if isinstance(found, RawResponse):
            return found
        with self._guard:
            # Two threads may search at once; the first result counts for both.
            if self._found is None:
                self._located = found
                self._found = OAuthClient(
                    found,
                    self._headers,
                    transport=self._transport,
                    async_transport=self._async_transport,
                    clock=self._clients.clock,
                    pinned=self._pinned,
                )
            return self._found


def _endpoints_in(metadata: JsonObject, known: Endpoints) -> Endpoints | None:
    """`known` as the server's metadata locates its endpoints; None if it names no device or no token endpoint."""
    device = endpoint(metadata, known.issuer, "device_authorization_endpoint")
    token = endpoint(metadata, known.issuer, "token_endpoint")
    if not (device and token):
        return None
    named = endpoint(metadata, known.issuer, "revocation_endpoint") if known.discover_revocation else ""
    return known._replace(
        device_authorization_url=device,
        token_url=token,
        revocation_url=known.revocation_url or named,
        discover_revocation=False,
    )
