"""The proxy as a route of `kimi-auth serve`: each request is a walk of its grant, and asks for a path that the grant covers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from kimi_auth.session import Session

from . import api_errors
from .api_headers import keys_in
from .api_paths import EVERYTHING, PREFIX
from .contracts import Wish
from .guards import Refusal
from .proxy import Proxy
from .server import door_of
from .service import Denied, Service, caller_of

__all__ = ["refuse_as_api", "routes_of"]


def routes_of(session: Session, proxy: Proxy | None = None) -> Callable[[Service], Sequence[BaseRoute]]:
    """What `serve` takes as `more`: `/api/*` with the tokens of this session. `proxy`: one that the caller closes."""
    passed_on = proxy or Proxy(session, session.api_origin)
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
        served = await self._proxy.serve(scope, receive, send, allowed=allowed)
        self._service.counts["answered", str(served.status)] += 1

    async def _admitted(self, request: Request) -> str:
        """The id of the grant whose secret a request has as its API key, "" for the owner at a socket of theirs. Raises Denied."""
        door = door_of(request.scope)
        if door.uids is not None and not door.grant:
            return ""
        keys = keys_in(request.scope["headers"], request.scope["query_string"])
        return await self._service.grant_of(request, keys[0].decode("latin-1") if keys else "", status=401)


async def refuse_as_api(send: Send, refusal: Refusal) -> None:
    """Sends a refusal of the guards in the form of the API's errors. The connection is closed, for its request was not read."""
    shaped = api_errors.Refusal(refusal.status, refusal.word, refusal.message, closes=True)
    await api_errors.refuse(send, shaped)
