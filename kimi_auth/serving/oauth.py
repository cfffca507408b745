"""The OAuth endpoints for sandboxes: RFC 6749 §6 with handles as refresh tokens, RFC 7009, RFC 8414.

There is no device grant: a sandbox gets its handle from the owner, in a credential file.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from kimi_auth.token import key_fingerprint

from .contracts import Wish
from .service import NO_STORE, Denied, Endpoint, Service, caller_of, json_response

__all__ = ["ENDPOINTS"]

FORM = "application/x-www-form-urlencoded"


async def token(service: Service, request: Request) -> Response:
    """RFC 6749 §6 for a sandbox. The same handle may come any number of times; the answer has the handle of the pair it brings."""
    form = await _form(service, request)
    if _required(form, "grant_type") != "refresh_token":
        raise Denied(400, "unsupported_grant_type", "handles are renewed here, and nothing else is granted")
    text = _required(form, "refresh_token")
    grant_id = await service.grant_of(request, text)
    handle = service.handles.read(text)
    assert handle is not None
    ctx = await service.ask(grant_id, caller_of(request), Wish(handle.has_fp))
    assert ctx.token is not None
    found = ctx.token
    answer: dict[str, object] = {
        "access_token": found.access_token,
        "refresh_token": service.handles.handle(grant_id, key_fingerprint(found.access_token)),
        "token_type": "Bearer",
        "expires_in": int(service.login.left_s(found)),
    }
    return json_response({**answer, "scope": found.scope} if found.scope else answer)


async def revoke(service: Service, request: Request) -> Response:
    """RFC 7009 §2 for a sandbox: 200, whether or not the token is known. A handle ends its grant; the login of the owner stays."""
    form = await _form(service, request)
    text = _required(form, "token")
    if service.handles.read(text) is None:
        return Response(status_code=200, headers=NO_STORE)  # an access token, for one: it is the owner's to revoke
    grant_id = await service.grant_of(request, text)
    _, ctx = await service.life.revoke(grant_id, caller_of(request))
    if ctx.error is not None:
        raise service.unavailable(ctx.error)
    service.counts["revoked", "by handle"] += 1
    return Response(status_code=200, headers=NO_STORE)


async def device_authorization(_: Service, request: Request) -> Response:
    """RFC 8628 is not offered: a sandbox that wants to sign in is told where it can."""
    raise Denied(400, "unauthorized_client", "sandboxes sign in on the host: kimi-auth serve grant NAME")


async def metadata(_: Service, request: Request) -> Response:
    """The metadata of RFC 8414 §2 for a sandbox's client, under the address that the client used."""
    issuer = str(request.base_url).rstrip("/")
    return json_response(
        {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/api/oauth/token",
            "revocation_endpoint": f"{issuer}/api/oauth/revoke",
            "response_types_supported": [],
            "grant_types_supported": ["refresh_token"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
        }
    )


ENDPOINTS: tuple[tuple[str, str, Endpoint], ...] = (
    ("POST", "/api/oauth/token", token),
    ("POST", "/api/oauth/revoke", revoke),
    ("POST", "/api/oauth/device_authorization", device_authorization),
    ("GET", "/.well-known/oauth-authorization-server", metadata),
)


async def _form(service: Service, request: Request) -> Mapping[str, str]:
    """The form of a request; no parameter may come twice (RFC 6749 §3.2), and a named client must be the login's."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Denied(400, "invalid_request", f"the body must be {FORM}")
    try:
        pairs = parse_qsl((await request.body()).decode(), errors="strict", max_num_fields=20)
    except ValueError:
        raise Denied(400, "invalid_request", "the body is not a form in UTF-8") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Denied(400, "invalid_request", "a parameter is given more than once")
    if form.get("client_id", service.client_id) != service.client_id:
        raise Denied(401, "invalid_client", "this login belongs to another client")
    return form


def _required(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise Denied(400, "invalid_request", f"the parameter {name} is missing")
    return form[name]
