"""The emulator's HTTP shell: routes, guards, faults and the request log around the endpoint functions.

It reads each request completely, applies at most one scripted fault, processes the request at once, and answers after
its latency. A dropped connection is a real one: the shell closes the server's transport, which the scope holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kimi_auth.serving.guards import host_refusal, is_from_browser
from kimi_auth.support.urls import is_loopback

from . import admin, anthropic_messages, api, approval, mcp_server, oauth, page
from .authorization_server import State
from .call import Answer, Call, Endpoint, json_answer
from .faults import Fault
from .records import fingerprint

BODY_BYTES_MAX: Final = 1 << 20
OURS: Final = {"Server": "kimi-auth-emulator"}

# name (of the endpoint in faults and in the log), method, path, function
ENDPOINTS: Final[tuple[tuple[str, str, str, Endpoint], ...]] = (
    ("metadata", "GET", "/.well-known/oauth-authorization-server", oauth.metadata),
    ("device", "POST", "/api/oauth/device_authorization", oauth.device_authorization),
    ("token", "POST", "/api/oauth/token", oauth.token),
    ("revoke", "POST", "/api/oauth/revoke", oauth.revoke),
    ("models", "GET", "/coding/v1/models", api.models),
    ("chat", "POST", "/coding/v1/chat/completions", api.chat),
    ("messages", "POST", "/coding/v1/messages", anthropic_messages.messages),
    ("mcp", "POST", "/coding/v1/mcp", mcp_server.mcp),
    ("mcp", "GET", "/coding/v1/mcp", mcp_server.no_stream),
    ("mcp", "DELETE", "/coding/v1/mcp", mcp_server.no_stream),
    ("search", "POST", "/coding/v1/search", api.search),
    ("fetch", "POST", "/coding/v1/fetch", api.fetch),
    ("usages", "GET", "/coding/v1/usages", api.usages),
    ("me", "GET", "/coding/v1/me", api.me),
    ("page", "GET", "/device", approval.show),
    ("page", "POST", "/device", approval.decide),
)
ADMIN: Final[tuple[tuple[str, str, Endpoint], ...]] = (
    ("GET", "/_emulator/state", admin.state_of),
    ("DELETE", "/_emulator/faults", admin.clear_faults),
    *(("POST", f"/_emulator/{name}", admin.command(run)) for name, run in admin.COMMANDS.items()),
)


def build_app(state: State, base_url: str, env: Mapping[str, str], *, allow_remote: bool = False) -> Starlette:
    """The emulator's whole service over `state`, answering as `base_url`.

    Unless `allow_remote`, it refuses a Host header that does not name this machine, so that no web page can reach the
    emulator by a name of its own (DNS rebinding). The test bench answers only loopback clients that are not browsers.
    """

    def index(_: State, call: Call) -> Answer:
        text = page.index(env)
        return Answer(200, (text.encode(),), "text/html; charset=utf-8", page.SECURITY_HEADERS)

    def serve(endpoint: Endpoint, name: str | None) -> Callable[[Request], Awaitable[Response]]:
        async def view(request: Request) -> Response:
            if not allow_remote and host_refusal(request.headers.raw) is not None:
                return _error(request, 421, "this host name is not the emulator's")
            if name is None and not _may_test(request):
                return _response(json_answer({"error": "forbidden"}, 403))
            try:
                call = await _read(request, base_url)
            except OverflowError:
                return _error(request, 413, f"the body exceeds {BODY_BYTES_MAX} bytes")
            return _response(endpoint(state, call)) if name is None else await _serve(state, name, endpoint, call)

        return view

    routes = [Route(path, serve(fn, name), methods=[method]) for name, method, path, fn in ENDPOINTS]
    routes += [Route(path, serve(fn, None), methods=[method]) for method, path, fn in ADMIN]
    routes.append(Route("/", serve(index, "page"), methods=["GET"]))
    return Starlette(routes=routes, exception_handlers={HTTPException: _http_error})


async def _serve(state: State, name: str, endpoint: Endpoint, call: Call) -> Response:
    grant = oauth.grant_name(call) if name == "token" else None
    fault = state.take_fault(name, grant)
    answer = endpoint(state, call) if fault is None or fault.processes else Answer(outcome="not_processed")
    given = answer if fault is None else _scripted(fault, answer)
    state.record(
        {
            "at_s": state.now_s(),
            "endpoint": name,
            "method": call.method,
            "grant": grant,
            "outcome": answer.outcome,
            "status": None if fault and fault.drop in ("before", "after") else given.status,
            "fault": fault.describe() if fault else None,
            "tokens": {role: fingerprint(value) for role, value in answer.tokens.items()},
        }
    )
    await asyncio.sleep((fault.latency_s if fault else 0) + (state.settings.latency_s if name == "token" else 0))
    return _response(given) if fault is None or fault.drop is None else _Cut(given, fault.drop)


def _scripted(fault: Fault, real: Answer) -> Answer:
    """The answer that the emulator's app sends: the scripted one, or one made from the real one."""
    changed = real
    if fault.status is not None:
        changed = Answer(status=fault.status, headers=fault.headers)
    if fault.content is not None:
        changed = replace(changed, chunks=(fault.content,), media_type=fault.media_type)
    return changed


def _response(answer: Answer) -> Response:
    headers = {**OURS, **answer.headers}
    if answer.media_type and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = answer.media_type
    if len(answer.chunks) < 2:
        return Response(b"".join(answer.chunks), answer.status, headers)
    return StreamingResponse(_each(answer.chunks), answer.status, headers)


async def _each(chunks: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class _Cut(Response):
    """A connection that breaks: without a byte, or after the whole body under a Content-Length one byte too long."""

    def __init__(self, answer: Answer, drop: str) -> None:
        self.sends_body = drop == "during"
        super().__init__(b"".join(answer.chunks), answer.status, _response(answer).headers)
        self.headers["Content-Length"] = str(len(self.body) + 1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.sends_body:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": bytes(self.body), "more_body": True})
        scope["state"]["transport"].close()  # flushes the bytes sent so far first
        await receive()  # the request was read completely, so the next event is the disconnect


async def _read(request: Request, base_url: str) -> Call:
    """The request that the shell was sent, as data; raises OverflowError for a body beyond BODY_BYTES_MAX."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise OverflowError
    return Call(request.method, base_url, request.headers, request.query_params, request.cookies, bytes(body))


def _may_test(request: Request) -> bool:
    """False for web pages, which browsers mark: only programs on this machine may use the test bench."""
    is_near = request.client is not None and is_loopback(request.client.host)
    return is_near and not is_from_browser(request.headers.raw)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405."""
    known = cast("HTTPException", error)
    return _error(request, known.status_code, known.detail, known.headers)


def _error(request: Request, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error of the shell, in the format of the requested part of the service."""
    path = request.scope["path"]
    said = f"{request.method} {path}: {text}"
    if path.startswith("/api/oauth/"):
        answer = oauth.oauth_error("invalid_request", said)
    else:
        answer = api.api_error(status, "invalid_request_error", said)
    return _response(replace(answer, status=status, headers={**answer.headers, **(headers or {})}))


def describe_env(base_url: str, share_dir: str | None = None) -> dict[str, str]:
    """The environment that points the Kimi CLI, and kimi-auth, at the routes of this emulator."""
    env = {"KIMI_CODE_OAUTH_HOST": base_url, "KIMI_CODE_BASE_URL": f"{base_url}/coding/v1"}
    return {**env, "KIMI_SHARE_DIR": share_dir} if share_dir else env
