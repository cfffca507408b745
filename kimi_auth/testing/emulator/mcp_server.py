"""An MCP server with one tool, which echoes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .api import api_error, bearer_checked, json_checked
from .authorization_server import State
from .call import Answer, Call, json_answer

PROTOCOLS: Final = ("2025-11-25", "2025-06-18", "2025-03-26")
"""Versions of MCP that the server speaks: those with a handshake, the newest first."""

ECHO: Final = {
    "name": "echo",
    "description": "Says again what it was told.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}


@bearer_checked
@json_checked
def mcp(state: State, body: dict[str, Any]) -> Answer:
    """One message of MCP's streamable HTTP transport, without sessions: a JSON answer for a request, 202 for the rest."""
    method, number = body.get("method"), body.get("id")
    if body.get("jsonrpc") != "2.0" or not isinstance(method, str):
        return _rpc(number, error=(-32600, "This is no JSON-RPC 2.0 request."))
    if number is None:
        return Answer(202, outcome="notified")
    params = body.get("params")
    result = _result(method, params if isinstance(params, Mapping) else {})
    if result is None:
        return _rpc(number, error=(-32601, f"This server has no {method}."))
    return _rpc(number, result=result)


@bearer_checked
def no_stream(state: State, call: Call) -> Answer:
    """The server sends nothing of its own accord and keeps no session: GET and DELETE are 405 in MCP's transport."""
    return api_error(405, "invalid_request_error", "This MCP server has no stream and no sessions.", {"Allow": "POST"})


def _result(method: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
    if method == "initialize":
        asked = params.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in PROTOCOLS else PROTOCOLS[0],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "kimi-auth-emulator", "version": "1"},
        }
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": [ECHO]}
    if method == "tools/call":
        given = params.get("arguments")
        text = given.get("text") if isinstance(given, Mapping) else None
        is_known = params.get("name") == "echo" and isinstance(text, str)
        said = text if is_known else "There is one tool: echo, with a text."
        return {"content": [{"type": "text", "text": said}], "isError": not is_known}
    return None


def _rpc(number: object, *, result: object = None, error: tuple[int, str] | None = None) -> Answer:
    end = {"result": result} if error is None else {"error": {"code": error[0], "message": error[1]}}
    outcome = "ok" if error is None else "rpc_error"
    return json_answer({"jsonrpc": "2.0", "id": number, **end}, headers={}, outcome=outcome)
