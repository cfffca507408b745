"""The requests that are served, and to whom: the guards, the check of handle, secret or user, a walk of the grant, and its answer.

| request | at the owner's socket | at a grant's socket | over TCP |
|---|---|---|---|
| `POST /api/oauth/token`, `/api/oauth/revoke` | a handle | a handle of that grant | a handle |
| `GET /v1/token`, `POST /v1/rejected` | the owner | its secret | a grant's secret |
| `GET /metrics` | the owner | | a grant's secret |
| `/api/*` (`more`: `proxied`) | the owner | its secret | a grant's secret |
| `/healthz`, `/readyz`, `/openapi.json`, metadata | everyone whom the socket admits | | everyone on this machine |

A router of the same shape may be added beside these (`more`): it gets the `Service`, whose `admitted` says whose request it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Scope, Send

from . import oauth, tokens
from .api_errors import Refusal
from .guards import BodyTooLarge, Guarded, refuse
from .proxied import refuse_as_api
from .service import Denied, Endpoint, Service, caller_of, json_response

__all__ = ["build_app"]


def build_app(service: Service, *, hosts: Sequence[str] = (), more: Sequence[BaseRoute] = ()) -> ASGIApp:
    """The whole service behind its guards. `hosts`: names beside the loopback ones by which it is reached over TLS."""

    def route(method: str, path: str, endpoint: Endpoint) -> Route:
        async def view(request: Request) -> Response:
            try:
                return await endpoint(service, request)
            except Denied as denied:
                return denied.response()

        return Route(path, view, methods=[method])

    rows: tuple[tuple[str, str, Endpoint], ...] = (*oauth.ENDPOINTS, *tokens.ENDPOINTS)
    routes = [*(route(*row) for row in rows), *more]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error, BodyTooLarge: _too_large})
    app.router.redirect_slashes = False
    return _Guarded(app, service, hosts)


class _Guarded(Guarded):
    """The guards, whose refusals are counted and written down."""

    def __init__(self, app: ASGIApp, service: Service, hosts: Sequence[str]) -> None:
        super().__init__(app, hosts=hosts, body_max={"/": 64 * 1024, "/api/oauth/": 64 * 1024, "/api/": 32 << 20})
        self._service = service

    async def answer(self, scope: Scope, send: Send, refusal: Refusal) -> None:
        """The app's answer to a request that the guards refused: clients of the proxied API expect the form of its errors."""
        is_of_api = scope["path"].startswith("/api/") and not scope["path"].startswith("/api/oauth/")
        await (refuse_as_api if is_of_api else refuse)(send, refusal)

    def on_refusal(self, scope: Scope, refusal: Refusal) -> None:
        self._service.refused(caller_of(Request(scope)), refusal.code)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405."""
    status = getattr(error, "status_code", 404)
    headers: Any = getattr(error, "headers", None)
    return json_response({"error": "invalid_request", "error_description": "not served here"}, status, headers)


async def _too_large(request: Request, error: Exception) -> Response:  # what Starlette would call a crash
    return json_response(
        {"error": "too_large", "error_description": "the body is too large"}, 413, {"Connection": "close"}
    )
