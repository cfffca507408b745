"""The OAuth server of a platform over HTTP: device grant (RFC 8628), refresh (RFC 6749 §6), revocation (RFC 7009)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from kimi_auth.clock import Clock
from kimi_auth.support.language import tr
from kimi_auth.support.urls import host_of

from .answers import Answer, CodeOutcome, DeviceCode, Endpoints, ExchangeOutcome, Grant, PollOutcome, RevokeOutcome
from .clients import Clients
from .contract import TokenHint
from .discovery import endpoint, other_origins, search, searched
from .failures import NoEndpointError, NotSentError, UnpinnedError
from .interpret import code_answer, exchange_answer, poll_answer, revoke_answer
from .request import CONNECT_TIMEOUT_S, DEADLINE_S, Request
from .response import RawResponse

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

    from .loop_clients import LoopClients

__all__ = ["OAuthClient"]

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
# Long, because giving up leaves the token in doubt. Shorter than the wait for a silent owner of a claim (75 s, WAIT_S
# in store/claims.py), so that a recovery does not overtake a request.
EXCHANGE_DEADLINE_S = 60.0


class OAuthClient:
    """An `OAuthServer` behind `endpoints`; a public client, unless they have a secret.

    `headers` go with every request. `transport` and `async_transport` replace the network (tests); otherwise the
    environment sets proxies and certificates. Refuses plain http except on loopback, unless `plain_http`. `pinned`
    returns the origins, other than the issuer's own, where discovered endpoints may be. Methods never raise for the
    behaviour of a server or a network. Threads and event loops may share it; in each loop that used it, `await
    aclose()` before the loop ends.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        headers: Mapping[str, str],
        *,
        transport: http_libraries.Transport | None = None,
        async_transport: http_libraries.AsyncTransport | None = None,
        clock: Clock | None = None,
        plain_http: bool = False,
        pinned: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._endpoints = endpoints
        self._headers = dict(headers)
        self._clients = Clients(transport, async_transport, clock)
        self._plain_http = plain_http
        self._pinned = pinned

    async def request_code(self) -> Answer[CodeOutcome, DeviceCode]:
        """Starts a device login (RFC 8628 §3.1)."""
        form = self._form(scope=self._endpoints.scope)
        return code_answer(await self._clients.send_async(self._post(self._endpoints.device_authorization_url, form)))

    async def poll(self, device_code: str) -> Answer[PollOutcome, Grant]:
        """Asks once whether the login was approved (RFC 8628 §3.4). The caller waits between polls."""
        form = self._form(device_code=device_code, grant_type=DEVICE_GRANT)
        request = self._post(self._endpoints.token_url, form, secret=device_code)
        return poll_answer(await self._clients.send_async(request))

    def exchange(
        self, refresh_token: str, *, connect_timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Answer[ExchangeOutcome, Grant]:
        """Spends `refresh_token` over HTTP (RFC 6749 §6). Blocks this thread for 60 s at most, after the name is resolved."""
        response = self._clients.send(self._exchanging(refresh_token, connect_timeout_s))
        return exchange_answer(response, self._endpoints.revoked_codes)

    async def exchange_async(
        self, refresh_token: str, through: LoopClients, *, connect_timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Answer[ExchangeOutcome, Grant]:
        """As `exchange` (RFC 6749 §6), in an event loop. `through`: connections that many clients share, each for one
        request: a kept one may be closing at that moment, and the token would be in doubt."""
        response = await through.send(self._exchanging(refresh_token, connect_timeout_s))
        return exchange_answer(response, self._endpoints.revoked_codes)

    def _exchanging(self, refresh_token: str, connect_timeout_s: float) -> Request:
        form = self._form(grant_type="refresh_token", refresh_token=refresh_token)
        return self._post(
            self._endpoints.token_url,
            form,
            secret=refresh_token,
            deadline_s=EXCHANGE_DEADLINE_S,
            connect_timeout_s=connect_timeout_s,
        )

    def revoke(self, token: str, hint: TokenHint, *, deadline_s: float = 5.0) -> Answer[RevokeOutcome, None]:
        """Asks the OAuth server to revoke `token` (RFC 7009), at the endpoint of the platform or of the server's metadata.
        Blocks for `deadline_s` at most."""
        ends_at_s = self._clients.clock.monotonic_s() + deadline_s
        found = self._endpoints.revocation_url or self._discover(ends_at_s)
        if isinstance(found, RawResponse):
            return revoke_answer(found)
        # Not `_form`: RFC 7009 §2.1 knows neither `resource` nor `audience`.
        form = {"client_id": self._endpoints.client_id, "token": token, "token_type_hint": hint}
        return revoke_answer(self._send_before(ends_at_s, self._post(found, form, secret=token)))

    async def aclose(self) -> None:
        """Closes the OAuth server's connections of this event loop; no others stay open between requests."""
        await self._clients.aclose()

    def _discover(self, ends_at_s: float) -> str | RawResponse:
        """The endpoint for a revocation (RFC 7009) in the server's metadata, or the response to report for the
        revocation, which was never sent."""
        issuer = self._endpoints.issuer
        missing = RawResponse(host_of(issuer), failure=NoEndpointError)
        if not self._endpoints.discover_revocation:
            return missing
        found = searched(
            search(issuer, lambda metadata: endpoint(metadata, issuer, "revocation_endpoint") or None, missing),
            lambda url: self._send_before(ends_at_s, Request("GET", url, self._headers, plain_http=self._plain_http)),
        )
        # Metadata may have changed since the sign-in; a token goes only to an origin that the login is bound to.
        if isinstance(found, str) and not set(self._pinned()).issuperset(other_origins(issuer, found)):
            return RawResponse(host_of(found), failure=UnpinnedError)
        return found

    def _send_before(self, ends_at_s: float, request: Request) -> RawResponse:
        left_s = ends_at_s - self._clients.clock.monotonic_s()
        if left_s <= 0:
            return RawResponse(request.host, failure=NotSentError, message=tr("no time was left"))
        return self._clients.send(request._replace(deadline_s=left_s, connect_timeout_s=min(left_s, CONNECT_TIMEOUT_S)))

    def _form(self, **fields: str) -> dict[str, str]:
        """The form of a request for a code or for tokens: client, API and `fields`. Leaves out empty fields."""
        to = self._endpoints
        form = {"client_id": to.client_id, **fields, "resource": to.resource, "audience": to.audience}
        return {name: value for name, value in form.items() if value}

    def _post(
        self,
        url: str,
        form: Mapping[str, str],
        *,
        secret: str = "",
        deadline_s: float = DEADLINE_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> Request:
        ours = self._endpoints.client_secret
        headers = self._headers
        if ours and self._endpoints.auth_method == "client_secret_post":
            form = {**form, "client_secret": ours}
        elif ours:
            headers = {**headers, "Authorization": _basic(self._endpoints.client_id, ours)}
        return Request(
            "POST",
            url,
            headers,
            form,
            deadline_s=deadline_s,
            connect_timeout_s=connect_timeout_s,
            secrets=tuple(filter(None, (secret, ours))),
            plain_http=self._plain_http,
        )


def _basic(client_id: str, secret: str) -> str:
    """RFC 6749 §2.3.1: both parts are form-encoded before they are joined."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
