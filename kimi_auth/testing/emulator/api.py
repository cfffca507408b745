"""The coding API below `/coding/v1`: models, chat that echoes, search, fetch, usages and me. All need a bearer token."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from .authorization_server import State
from .call import Answer, Call, Endpoint, json_answer

CREATED_AT_S: Final = 1_700_000_000
REJECTIONS: Final = {
    "unknown": "This access token was never issued.",
    "expired": "The access token has expired.",
    "revoked": "The access token was revoked.",
}

BodyHandler = Callable[[State, dict[str, Any]], Answer]


def api_error(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An error of the emulated coding API, in the shape that openai clients read."""
    body = {"error": {"message": message, "type": kind, "code": kind}}
    return json_answer(body, status, headers=headers or {}, outcome=kind)


def bearer_checked(handler: Endpoint) -> Endpoint:
    """The emulated API answers 401 for a bearer that is not valid (RFC 6750 §3), then 402 while membership is switched off."""

    @functools.wraps(handler)
    def endpoint(state: State, call: Call) -> Answer:
        tokens = {"access_token": call.bearer} if call.bearer else {}
        verdict = state.judge(call.bearer)
        if verdict != "ok":
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"' if call.bearer else "Bearer"}
            answer = api_error(401, "invalid_authentication_error", REJECTIONS[verdict], challenge)
        elif not state.membership:
            answer = api_error(402, "membership_required", "This account has no active membership.")
        else:
            answer = handler(state, call)
        return Answer(answer.status, answer.chunks, answer.media_type, answer.headers, answer.outcome, tokens)

    return endpoint


def json_checked(handler: BodyHandler) -> Endpoint:
    """Passes the JSON object of a request to the emulated API to its handler; answers anything else with a 400."""

    @functools.wraps(handler)
    def endpoint(state: State, call: Call) -> Answer:
        try:
            body = json.loads(call.body)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            return api_error(400, "invalid_request_error", "The body must be a JSON object.")
        return handler(state, body)

    return endpoint


@bearer_checked
def models(state: State, call: Call) -> Answer:
    """`/models` of the emulated coding API: the catalogue, with an ETag (RFC 9110 §8.8.3) for If-None-Match."""
    value = {"object": "list", "data": [model.to_json() for model in state.models]}
    etag = f'"{hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    named = {tag.strip().removeprefix("W/") for tag in call.headers.get("if-none-match", "").split(",")}
    if named & {etag, "*"}:
        return Answer(304, headers=headers, outcome="not_modified")
    return json_answer(value, headers=headers)


@bearer_checked
@json_checked
def chat(state: State, body: dict[str, Any]) -> Answer:
    """An OpenAI chat completion that answers with the last user message, whole or as server-sent events."""
    model, messages = body.get("model"), body.get("messages")
    if model not in [known.id for known in state.models]:
        return api_error(404, "model_not_found", "The model does not exist; GET /coding/v1/models lists those that do.")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return api_error(400, "invalid_request_error", "messages must be a list of objects.")
    said = [text_of(message) for message in messages if message.get("role") == "user"]
    if not said:
        return api_error(400, "invalid_request_error", "messages has no user message to echo.")
    prompt_tokens = sum(len(text_of(message).split()) for message in messages)
    completion_tokens = len(said[-1].split())
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    options = body.get("stream_options")
    if body.get("stream") is True:
        apart = isinstance(options, dict) and options.get("include_usage") is True
        return _stream(str(model), said[-1], usage, apart=apart)
    choice = {"index": 0, "message": {"role": "assistant", "content": said[-1]}, "finish_reason": "stop"}
    return json_answer({**_completion(str(model), "chat.completion"), "choices": [choice], "usage": usage}, headers={})


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a chat's message, whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part)


def _completion(model: str, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-emulated", "object": kind, "created": CREATED_AT_S, "model": model}


def _stream(model: str, text: str, usage: Mapping[str, int], *, apart: bool) -> Answer:
    """A chat that streams: role, text, end, [DONE]. Usage comes with the end, or if `apart` in a chunk without choices,
    as OpenAI sends it."""
    words = text.split(" ")
    pieces = [word + " " for word in words[:-1]] + words[-1:]
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces), {}]
    head = _completion(model, "chat.completion.chunk")
    events: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]}
        for delta in deltas
    ]
    events[len(events) :] = [{**head, "choices": [], "usage": usage}] if apart else []
    events[-1]["usage"] = usage
    lines = [json.dumps(event, separators=(",", ":")) for event in events] + ["[DONE]"]
    chunks = tuple(f"data: {line}\n\n".encode() for line in lines)
    return Answer(200, chunks, "text/event-stream", {"Cache-Control": "no-cache"})


@bearer_checked
@json_checked
def search(state: State, body: dict[str, Any]) -> Answer:
    """The API's search: one invented result that names the query."""
    query = body.get("text_query")
    if not isinstance(query, str) or not query:
        return api_error(400, "invalid_request_error", "text_query must be a text.")
    result = {
        "site_name": "Emulator",
        "title": f"Emulated result for: {query}",
        "url": "https://example.com/emulated",
        "snippet": "The emulator searches nothing.",
        "content": "",
        "date": "",
        "icon": "",
        "mime": "text/html",
    }
    return json_answer({"search_results": [result]}, headers={})


@bearer_checked
@json_checked
def fetch(state: State, body: dict[str, Any]) -> Answer:
    """The API's fetch: Markdown that names the URL; nothing is fetched."""
    url = body.get("url")
    if not isinstance(url, str) or not url:
        return api_error(400, "invalid_request_error", "url must be a text.")
    text = f"# Emulated page\n\nThe emulator fetches nothing. You asked for: {url}\n"
    return Answer(200, (text.encode(errors="replace"),), "text/markdown; charset=utf-8")


@bearer_checked
def usages(state: State, call: Call) -> Answer:
    """The API's `/usages`: a weekly quota and a five-hour window, in requests."""
    return json_answer(
        {
            "usage": {"limit": 1000, "used": 0, "remaining": 1000},
            "limits": [
                {
                    "window": {"duration": 300, "timeUnit": "TIME_UNIT_MINUTE"},
                    "detail": {"limit": 200, "used": 0, "remaining": 200},
                }
            ],
        },
        headers={},
    )


@bearer_checked
def me(state: State, call: Call) -> Answer:
    """The API's `/me`: an invented account; `login` is the number of its login, so that a test can tell them apart."""
    return json_answer(
        {
            "user_id": "user-1000001",
            "nickname": "Emulated user",
            "region": "REGION_CN",
            "user_level_name": "Allegretto",
            "email": "user@example.com",
            "phone": "",
            "login": state.login_of(call.bearer),
        },
        headers={},
    )
