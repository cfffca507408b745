"""What agents ask for beside chat completions: Anthropic messages that echo, and an MCP server with one tool that does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from .api import api_error, bearer_checked, json_checked, text_of
from .authorization_server import State
from .call import Answer, Call, json_answer

PROTOCOLS: Final = ("2025-11-25", "2025-06-18", "2025-03-26")
"""Versions of MCP that the server speaks: those with a handshake, the newest first."""

ECHO: Final = {
    "name": "echo",
    "description": "Says again what it was told.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}


# --- Anthropic messages ----------------------------------------------------------------------------------------------


@bearer_checked
@json_checked
def messages(state: State, body: dict[str, Any]) -> Answer:
    """An Anthropic message that answers with the last user message, whole or as server-sent events."""
    model, said = body.get("model"), body.get("messages")
    if model not in [known.id for known in state.models]:
        return _refusal(404, "not_found_error", f"model: {model}")
    if not isinstance(said, list) or not all(isinstance(message, dict) for message in said):
        return _refusal(400, "invalid_request_error", "messages: a list of objects is required.")
    texts = [text_of(message) for message in said if message.get("role") == "user"]
    if not texts:
        return _refusal(400, "invalid_request_error", "messages: there is no user message to echo.")
    usage = {
        "input_tokens": sum(len(text_of(message).split()) for message in said),
        "output_tokens": len(texts[-1].split()),
    }
    message = {
        "id": "msg_emulated",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": texts[-1]}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    if body.get("stream") is not True:
        return json_answer(message, headers={})
    chunks = tuple(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in _events(message))
    return Answer(200, chunks, "text/event-stream", {"Cache-Control": "no-cache"})


def _events(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The message as Anthropic streams it: its head, its one block of text, its end."""
    usage: Mapping[str, int] = message["usage"]
    start: dict[str, Any] = {"content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 0}}
    yield {"type": "message_start", "message": {**message, **start}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    text = {"type": "text_delta", "text": message["content"][0]["text"]}
    yield {"type": "content_block_delta", "index": 0, "delta": text}
    yield {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


def _refusal(status: int, kind: str, message: str) -> Answer:
    """An error in the shape that Anthropic clients read."""
    return json_answer({"type": "error", "error": {"type": kind, "message": message}}, status, headers={}, outcome=kind)


# --- MCP -------------------------------------------------------------------------------------------------------------


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
