"""Anthropic messages that echo what they were told, whole or as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .api import bearer_checked, json_checked, text_of
from .authorization_server import State
from .call import Answer, json_answer


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
