"""The token endpoint for everything that is no OAuth client, with its description, and what an operator looks at."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kimi_auth._version import __version__
from kimi_auth.support.loops import in_thread
from kimi_auth.token import described, key_fingerprint

from .contracts import Wish
from .service import Denied, Endpoint, Service, caller_of, json_response

__all__ = ["ENDPOINTS"]

SECONDS_MAX = 10 * 365 * 86_400.0


async def token(service: Service, request: Request) -> Response:
    """The token endpoint gives the current access token; `min_ttl`: with so much life left, `not_fp` and `wait`: once
    it is another one, or so many seconds have passed."""
    grant_id = await service.admitted(request)
    query = request.query_params
    wish = Wish(min_ttl_s=_seconds(query.get("min_ttl", "0"), "min_ttl"))
    wait_s, has_fp = _seconds(query.get("wait", "0"), "wait"), query.get("not_fp", "")
    if wait_s and has_fp:
        await service.login.changed(has_fp, wait_s)
    return await _answer(service, request, grant_id, wish)


async def rejected(service: Service, request: Request) -> Response:
    """The token endpoint gives another access token instead of the one with the fingerprint `fp`, which the API refused
    or which ends soon; the same one again where no other may be had now."""
    grant_id = await service.admitted(request)
    try:
        told = json.loads(await request.body())
        fp = told["fp"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Denied(400, "invalid_request", 'the body must be JSON: {"fp": "…"}') from None
    if not isinstance(fp, str) or not 0 < len(fp) <= 64:
        raise Denied(400, "invalid_request", "fp is the fingerprint of an access token")
    return await _answer(service, request, grant_id, Wish(fp))


async def _answer(service: Service, request: Request, grant_id: str, wish: Wish) -> Response:
    ctx = await service.ask(grant_id, caller_of(request), wish, status=401)
    assert ctx.token is not None
    left_s = service.login.left_s(ctx.token)
    said = described(ctx.token, service.platform, ctx.token.expires_at_s - left_s)
    return json_response({**said, "fp": key_fingerprint(ctx.token.access_token), "scope": ctx.token.scope})


async def healthy(service: Service, request: Request) -> Response:
    """Tells an operator that the process answers: 200."""
    return json_response({"status": "ok", "version": __version__})


async def ready(service: Service, request: Request) -> Response:
    """Tells an operator whether requests are accepted: 200, and 503 from the moment that the server drains."""
    is_ready = not service.is_stopping()
    return json_response({"status": "ready" if is_ready else "draining"}, 200 if is_ready else 503)


async def metrics(service: Service, request: Request) -> Response:
    """Tells an operator the counts by outcome, without the name of a grant: OpenMetrics 1.0."""
    await service.admitted(request)
    lines = [
        "# TYPE kimi_auth_login info",
        f'kimi_auth_login_info{{state="{await in_thread(service.login.state)}",version="{__version__}"}} 1',
    ]
    for name, label, about in _FAMILIES:
        lines += [f"# TYPE kimi_auth_{name} counter", f"# HELP kimi_auth_{name} {about}"]
        lines += [
            f'kimi_auth_{name}_total{{{label}="{value}"}} {count}'
            for (kind, value), count in sorted(service.counts.items())
            if kind == name
        ]
    text = "\n".join([*lines, "# EOF", ""])
    return Response(text, headers={"Cache-Control": "no-store"}, media_type=OPEN_METRICS)


OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_FAMILIES = (
    ("token", "to", "Access tokens handed out."),
    ("proxied", "to", "Requests that were passed on to the API."),
    ("answered", "status", "Answers to them; 499: the client hung up."),
    ("refused", "why", "Requests refused."),
    ("unavailable", "why", "Requests for which there was no token."),
    ("revoked", "how", "Grants ended by a request."),
)


async def openapi(service: Service, request: Request) -> Response:
    """OpenAPI 3.1 of the token endpoint, for generators of clients."""
    return json_response(DESCRIPTION)


ENDPOINTS: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/v1/token", token),
    ("POST", "/v1/rejected", rejected),
    ("GET", "/metrics", metrics),
    ("GET", "/healthz", healthy),
    ("GET", "/readyz", ready),
    ("GET", "/openapi.json", openapi),
)


def _seconds(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= SECONDS_MAX:
        raise Denied(400, "invalid_request", f"{name} is a number of seconds, zero or more")
    return value


def _query(name: str, kind: str, about: str) -> dict[str, object]:
    return {"name": name, "in": "query", "description": about, "schema": {"type": kind}}


def _errors(*statuses: int) -> dict[str, Any]:
    said = {
        400: "the request is not understood",
        401: "no secret, a wrong one, or one of a grant that has ended",
        429: "asked too often; see Retry-After",
        503: "no token now; see Retry-After",
    }
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(status): {"description": said[status], "content": content} for status in statuses}


_TOKEN = {"description": "a token", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Token"}}}}
_WHO: list[dict[str, list[str]]] = [{"secret": []}, {}]
DESCRIPTION: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "kimi-auth serve",
        "version": __version__,
        "description": "Access tokens of one login. At the owner's socket no secret is needed; elsewhere a grant's.",
    },
    "paths": {
        "/v1/token": {
            "get": {
                "operationId": "token",
                "summary": "The current access token",
                "security": _WHO,
                "parameters": [
                    _query("min_ttl", "number", "life that it must have left, in seconds"),
                    _query("not_fp", "string", "with `wait`: answer once the token has another fingerprint"),
                    _query("wait", "number", "how long to wait for another one, in seconds; 55 at most"),
                ],
                "responses": {"200": _TOKEN, **_errors(400, 401, 429, 503)},
            }
        },
        "/v1/rejected": {
            "post": {
                "operationId": "rejected",
                "summary": "Another access token instead of one that the API refused",
                "security": _WHO,
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"type": "object", "required": ["fp"], "properties": {"fp": {"type": "string"}}}
                        }
                    },
                },
                "responses": {"200": _TOKEN, **_errors(400, 401, 429, 503)},
            }
        },
    },
    "components": {
        "securitySchemes": {"secret": {"type": "http", "scheme": "bearer"}},
        "schemas": {
            "Token": {
                "type": "object",
                "required": ["access_token", "token_type", "expires_at", "expires_in", "platform", "fp"],
                "properties": {
                    "access_token": {"type": "string"},
                    "token_type": {"type": "string"},
                    "expires_at": {"type": "number", "description": "unix seconds"},
                    "expires_in": {"type": "number", "description": "seconds"},
                    "platform": {"type": "string"},
                    "fp": {"type": "string", "description": "fingerprint of the access token"},
                    "scope": {"type": "string"},
                },
            },
            "Error": {
                "type": "object",
                "required": ["error", "error_description"],
                "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
            },
        },
    },
}
