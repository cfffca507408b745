"""The coding API: what it answers a good bearer, and how it turns the others away."""

from __future__ import annotations

import json
from typing import Any

import pytest

API = "/coding/v1"
ENDPOINTS = [
    ("GET", "/models", None),
    ("POST", "/chat/completions", {"model": "kimi-for-coding", "messages": [{"role": "user", "content": "hi"}]}),
    ("POST", "/messages", {"model": "kimi-for-coding", "messages": [{"role": "user", "content": "hi"}]}),
    ("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "ping"}),
    ("POST", "/search", {"text_query": "x"}),
    ("POST", "/fetch", {"url": "https://example.com"}),
    ("GET", "/usages", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ENDPOINTS)
def test_bearer_is_checked(visitor: Any, clock: Any, method: str, path: str, body: object) -> None:
    """Every endpoint answers 401 to a missing, unknown, expired or revoked token, 402 without membership, and takes a static
    key that it was given."""
    headers = visitor.bearer()

    def ask(**other: str) -> tuple[int, str | None, str | None]:
        answer = visitor.http.request(method, f"{API}{path}", json=body, headers=other or headers)
        error = answer.json()["error"]["type"] if answer.status_code != 200 and answer.content else None
        return answer.status_code, error, answer.headers.get("www-authenticate")

    rejected = (401, "invalid_authentication_error", 'Bearer error="invalid_token"')
    assert ask() == (200, None, None)
    assert ask(authorization="") == (401, "invalid_authentication_error", "Bearer")
    assert ask(authorization="Basic eDp5") == (401, "invalid_authentication_error", "Bearer")
    assert ask(authorization="Bearer nobody") == rejected
    visitor.state.membership = False
    assert ask() == (402, "membership_required", None)
    assert ask(authorization="Bearer nobody") == rejected
    visitor.state.membership = True
    clock.pass_s(900)
    assert ask() == rejected
    headers = visitor.bearer()
    visitor.state.revoke_family()
    assert ask() == rejected
    visitor.state.api_keys.add("sk-emulated")
    assert ask(authorization="Bearer sk-emulated") == (200, None, None)


def test_models(visitor: Any) -> None:
    """The catalogue has the fields that clients map to capabilities."""
    body = visitor.http.get(f"{API}/models", headers=visitor.bearer()).json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["kimi-for-coding", "kimi-k2-thinking-turbo", "kimi-latest"]
    assert body["data"][0].items() >= {
        "context_length": 262_144, "supports_reasoning": True, "supports_image_in": True, "supports_video_in": True,
        "display_name": "Kimi for Coding",
    }.items()  # fmt: skip


def test_models_etag(visitor: Any) -> None:
    """RFC 9110 §13.1.2: a client that names the current tag, weakly or among others, gets 304 and no body."""
    headers = visitor.bearer()
    etag = visitor.http.get(f"{API}/models", headers=headers).headers["etag"]

    def status(tags: str) -> tuple[int, bytes]:
        answer = visitor.http.get(f"{API}/models", headers={**headers, "If-None-Match": tags})
        return answer.status_code, answer.content[:1]

    for tags in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        assert status(tags) == (304, b"")
    visitor.state.models = visitor.state.models[:1]
    assert status(etag) == (200, b"{")


@pytest.mark.parametrize(
    "content", ["Hello  big world", [{"type": "text", "text": "Hello  "}, {"type": "text", "text": "big world"}]]
)
def test_chat_echoes(visitor: Any, content: object) -> None:
    """The answer is the last user message, with the tokens counted."""
    messages = [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": content},
    ]
    request = {"model": "kimi-for-coding", "messages": messages}
    body = visitor.http.post(f"{API}/chat/completions", headers=visitor.bearer(), json=request).json()
    assert (body["object"], body["model"]) == ("chat.completion", "kimi-for-coding")
    assert body["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello  big world"}, "finish_reason": "stop"}
    ]
    assert body["usage"] == {"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9}


@pytest.mark.parametrize("apart", [False, True])
def test_chat_streams(visitor: Any, apart: bool) -> None:
    """Server-sent events: role, pieces, stop, usage (in a chunk of its own where asked for), [DONE]."""
    request: dict[str, Any] = {
        "model": "kimi-for-coding", "messages": [{"role": "user", "content": "Hello  big world"}], "stream": True,
    }  # fmt: skip
    if apart:
        request["stream_options"] = {"include_usage": True}
    answer = visitor.http.post(f"{API}/chat/completions", headers=visitor.bearer(), json=request)
    assert answer.headers["content-type"] == "text/event-stream"
    *events, end = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    chunks = [json.loads(event) for event in events]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert end == "[DONE]"
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "Hello  big world"
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert (len(chunks) > len(choices)) is apart
    assert chunks[-1]["usage"]["total_tokens"] == 6


@pytest.mark.parametrize(
    ("path", "content", "status", "kind"),
    [
        ("/chat/completions", '{"model": "gpt", "messages": []}', 404, "model_not_found"),
        ("/chat/completions", '{"model": ["kimi-latest"], "messages": []}', 404, "model_not_found"),
        ("/chat/completions", '{"model": "kimi-latest", "messages": "hi"}', 400, "invalid_request_error"),
        ("/chat/completions", '{"model": "kimi-latest", "messages": ["hi"]}', 400, "invalid_request_error"),
        ("/chat/completions", '{"model": "kimi-latest", "messages": []}', 400, "invalid_request_error"),
        ("/chat/completions", "not json", 400, "invalid_request_error"),
        ("/search", "[]", 400, "invalid_request_error"),
        ("/search", '{"text_query": 7}', 400, "invalid_request_error"),
        ("/fetch", '{"url": ""}', 400, "invalid_request_error"),
        ("/fetch", b"\xff", 400, "invalid_request_error"),
        ("/nowhere", "{}", 404, "invalid_request_error"),
        ("/models", "{}", 405, "invalid_request_error"),
    ],
)
def test_bad_requests(visitor: Any, path: str, content: str | bytes, status: int, kind: str) -> None:
    """A request that cannot be answered is an error in the openai shape."""
    answer = visitor.http.post(f"{API}{path}", headers=visitor.bearer(), content=content)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)


def test_search_and_fetch(visitor: Any) -> None:
    """Search and fetch name the query, and pretend no more; any text survives, even half a surrogate pair."""
    headers = visitor.bearer()
    found = visitor.http.post(f"{API}/search", headers=headers, json={"text_query": "rotating tokens"}).json()
    assert found["search_results"][0]["title"] == "Emulated result for: rotating tokens"
    page = visitor.http.post(f"{API}/fetch", headers=headers, content='{"url": "https://example.com/\\ud800"}')
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    assert "https://example.com/?" in page.text


def test_usages(visitor: Any) -> None:
    """A weekly quota and a window in minutes."""
    body = visitor.http.get(f"{API}/usages", headers=visitor.bearer()).json()
    assert body["usage"]["remaining"] == 1000
    assert body["limits"][0]["window"] == {"duration": 300, "timeUnit": "TIME_UNIT_MINUTE"}


@pytest.mark.parametrize("content", ["Hello big world", [{"type": "text", "text": "Hello big world"}]])
def test_messages_echo(visitor: Any, content: object) -> None:
    """An Anthropic message says the last user message again, whole or as events, with the tokens counted."""
    said = [{"role": "user", "content": "first"}, {"role": "user", "content": content}]
    request = {"model": "kimi-for-coding", "max_tokens": 9, "messages": said}
    headers = visitor.bearer()
    whole = visitor.http.post(f"{API}/messages", headers=headers, json=request).json()
    assert (whole["type"], whole["content"]) == ("message", [{"type": "text", "text": "Hello big world"}])
    assert whole["usage"] == {"input_tokens": 4, "output_tokens": 3}
    streamed = visitor.http.post(f"{API}/messages", headers=headers, json={**request, "stream": True}).text
    kinds, events = zip(*(event.split("\ndata: ") for event in streamed.split("\n\n") if event), strict=True)
    assert [kind.removeprefix("event: ") for kind in kinds] == [json.loads(event)["type"] for event in events]
    assert [kinds[0], kinds[-1]] == ["event: message_start", "event: message_stop"]
    assert json.loads(events[2])["delta"] == {"type": "text_delta", "text": "Hello big world"}


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"model": "gpt", "messages": []}, 404, "not_found_error"),
        ({"model": "kimi-latest", "messages": "hi"}, 400, "invalid_request_error"),
        ({"model": "kimi-latest", "messages": []}, 400, "invalid_request_error"),
    ],
)
def test_bad_messages(visitor: Any, body: object, status: int, kind: str) -> None:
    """A request without an answer is an error in the shape that Anthropic clients read."""
    answer = visitor.http.post(f"{API}/messages", headers=visitor.bearer(), json=body)
    assert (answer.status_code, answer.json()["type"], answer.json()["error"]["type"]) == (status, "error", kind)


def test_mcp(visitor: Any) -> None:
    """The MCP server shakes hands, lists its tool and runs it; a notification needs no answer, a stream there is none."""
    headers = visitor.bearer()

    def call(method: str, **params: object) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": "a", "method": method, "params": params}
        return dict(visitor.http.post(f"{API}/mcp", headers=headers, json=body).json())

    assert call("initialize", protocolVersion="2025-06-18")["result"]["protocolVersion"] == "2025-06-18"
    assert call("initialize", protocolVersion="1999-01-01")["result"]["protocolVersion"] == "2025-11-25"
    assert call("ping") == {"jsonrpc": "2.0", "id": "a", "result": {}}
    assert [tool["name"] for tool in call("tools/list")["result"]["tools"]] == ["echo"]
    said = call("tools/call", name="echo", arguments={"text": "hi"})["result"]
    assert said == {"content": [{"type": "text", "text": "hi"}], "isError": False}
    assert call("tools/call", name="other")["result"]["isError"] is True
    assert call("server/discover")["error"]["code"] == -32601
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert visitor.http.post(f"{API}/mcp", headers=headers, json=note).status_code == 202
    assert visitor.http.post(f"{API}/mcp", headers=headers, json={"id": 1}).json()["error"]["code"] == -32600
    for method in ("GET", "DELETE"):
        assert visitor.http.request(method, f"{API}/mcp", headers=headers).status_code == 405
        assert visitor.http.request(method, f"{API}/mcp").status_code == 401
