"""An OAuth server whose endpoints may be at other origins: its metadata (RFC 8414) names them, or the platform does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import replace
from typing import cast

import httpx

from kimi_auth.clock import Clock

from .answers import Answer, CodeOutcome, DeviceCode, Endpoints, ExchangeOutcome, Grant, PollOutcome, RevokeOutcome
from .clients import Clients
from .contract import TokenHint
from .decode import JsonObject, json_object
from .discovery import endpoint, metadata_urls, other_origins, weather
from .http import CONNECT_TIMEOUT_S, Ask
from .oauth import OAuthClient
from .sanitize import host_of
from .tables import UnpinnedError, UnsendableError
from .verdict import RawResponse, code_answer, exchange_answer, poll_answer, revoke_answer

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
        transport: httpx.BaseTransport | None = None,
        async_transport: httpx.AsyncBaseTransport | None = None,
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
        return replace(
            answer, value=replace(answer.value, origins=other_origins(to.issuer, to.token_url, to.revocation_url))
        )

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
        if strange := self._unpinned(self._located.token_url):
            return exchange_answer(strange)
        return found.exchange(refresh_token, connect_timeout_s=connect_timeout_s)

    def revoke(self, token: str, hint: TokenHint, *, deadline_s: float = 5.0) -> Answer[RevokeOutcome, None]:
        ends_at_s = self._clients.clock.monotonic_s() + deadline_s
        found = self._locate(deadline_s, min(deadline_s, CONNECT_TIMEOUT_S))
        if isinstance(found, RawResponse):
            return revoke_answer(found)
        # A grant that could not be stored is not bound to anything yet. It may return to the server that issued it.
        if token != self._granted and (strange := self._unpinned(self._located.revocation_url)):
            return revoke_answer(strange)
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
        search, clock = self._search(), self._clients.clock
        ends_at_s = clock.monotonic_s() + deadline_s
        try:
            url = next(search)
            while True:
                left_s = max(ends_at_s - clock.monotonic_s(), 0.0)
                ask = Ask("GET", url, self._headers, deadline_s=left_s, connect_timeout_s=connect_timeout_s)
                url = search.send(self._clients.send(ask))
        except StopIteration as end:
            return cast("OAuthClient | RawResponse", end.value)

    async def _locate_async(self) -> OAuthClient | RawResponse:
        search = self._search()
        try:
            url = next(search)
            while True:
                url = search.send(
                    await self._clients.send_async(Ask("GET", url, self._headers, deadline_s=METADATA_DEADLINE_S))
                )
        except StopIteration as end:
            return cast("OAuthClient | RawResponse", end.value)

    def _search(self) -> Generator[str, RawResponse, OAuthClient | RawResponse]:
        """Yields addresses and receives their responses. Returns the client of the endpoints, or the response
        to report for the actual request, which was never sent."""
        if self._found is not None:
            return self._found
        if self._endpoints.token_url:
            return self._keep(self._endpoints)
        trouble = "it has no metadata for this issuer with the endpoints of the device grant (RFC 8414)"
        missed = RawResponse(host_of(self._endpoints.issuer), failure=UnsendableError, trouble=trouble)
        for url in metadata_urls(self._endpoints.issuer):
            seen = yield url
            metadata = json_object(seen.body) if seen.status == 200 else None  # RFC 8414 §3.2: nothing but a 200
            if found := _endpoints_in(metadata, self._endpoints):
                return self._keep(found)
            # The settings are wrong, so the second address would fail in the same way.
            if seen.failure is UnsendableError:
                return seen
            missed = weather(seen) or missed
            # The same host would fail again and use up the deadline.
            if seen.failure is not None:
                break
        return missed

    def _keep(self, found: Endpoints) -> OAuthClient:
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


def _endpoints_in(metadata: JsonObject | None, known: Endpoints) -> Endpoints | None:
    """`known` with the endpoints that the issuer's metadata names; None if it names no device or no token endpoint."""
    device = endpoint(metadata, known.issuer, "device_authorization_endpoint")
    token = endpoint(metadata, known.issuer, "token_endpoint")
    if not (device and token):
        return None
    named = endpoint(metadata, known.issuer, "revocation_endpoint") if known.discover_revocation else ""
    return replace(
        known,
        device_authorization_url=device,
        token_url=token,
        revocation_url=known.revocation_url or named,
        discover_revocation=False,
    )
