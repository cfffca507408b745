"""The proxy as a route of `kimi-auth serve`: each request is a walk of its grant, and asks for a path that the grant covers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from kimi_auth.clients.source import TokenSource

from . import api_errors
from .api_headers import keys_in
from .api_paths import EVERYTHING, PREFIX
from .contracts import Wish
from .guards import BodyTooLarge, too_large
from .proxy import BODY_BYTES_MAX, ENDED, Proxy
from .server import door_of
from .service import Denied, Service, caller_of

__all__ = ["Source", "refuse_as_api", "routes_of"]


class Source(TokenSource, Protocol):
    """A source that knows the API that its tokens are for; a `Session` is one."""

    @property
    def api_origin(self) -> str:
        """The API's base URL."""


def routes_of(source: Source, proxy: Proxy | None = None) -> Callable[[Service], Sequence[BaseRoute]]:
    """The proxy as a route that `serve` takes as `more`: `/api/*` with the tokens of this source. `proxy`: one that the
    caller closes."""
    passed_on = proxy or Proxy(source, source.api_origin)
    return lambda service: [Route(f"{PREFIX}/{{path:path}}", _Proxied(service, passed_on))]


class _Proxied:
    """The proxy behind grants."""

    def __init__(self, service: Service, proxy: Proxy) -> None:
        self._service = service
        self._proxy = proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        target = self._proxy.target(scope)
        if isinstance(target, api_errors.Refusal):
            await api_errors.refuse(send, target)
            return
        try:
            grant_id = await self._admitted(request)
            wish = Wish(what="proxied", about=f"{request.method} {target.path}")
            found = await self._service.ask(grant_id, caller_of(request), wish, status=401)
        except Denied as denied:
            shaped = api_errors.Refusal(
                denied.status, denied.code, denied.description, retry_after_s=denied.retry_after_s or None
            )
            await api_errors.refuse(send, shaped)
            return
        allowed = found.grant.allowed if found.grant else EVERYTHING
        try:
            served = await self._proxy.serve(
                scope, receive, send, allowed=allowed, stands=self._service.standing(grant_id)
            )
        except BodyTooLarge:  # raised by the guards, while the body was being read
            await refuse_as_api(send, too_large(BODY_BYTES_MAX))
            return
        if served.code in {"path_not_allowed", ENDED}:
            self._service.refused(caller_of(request), served.code, grant_id)
        self._service.counts["answered", str(served.status)] += 1

    async def _admitted(self, request: Request) -> str:
        """The id of the grant that a request's API key stands for, "" for the owner at a socket of theirs. Raises Denied."""
        door = door_of(request.scope)
        if door.uids is not None and not door.grant:
            return ""
        keys = keys_in(request.scope["headers"], request.scope["query_string"])
        return await self._service.grant_of_key(request, keys[0].decode("latin-1") if keys else "")


async def refuse_as_api(send: Send, refusal: api_errors.Refusal) -> None:
    """Sends a refusal of the guards on the proxy's route in the form of the API's errors. The connection is closed, for
    its request was not read."""
    await api_errors.refuse(send, refusal._replace(closes=True))
