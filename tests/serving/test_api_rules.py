"""The proxy's rules as tables: which URLs reach the API, which header fields pass, and how its own errors look."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_auth import errors
from kimi_auth.serving.api_errors import Refusal, refusal_of, refuse
from kimi_auth.serving.api_headers import declared_length, keys_in, request_fields, response_fields
from kimi_auth.serving.api_paths import EVERYTHING, AllowedPaths, Target, target_of

BASE = "https://api.kimi.com/coding/v1"

# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("/api/chat/completions", "/chat/completions"),
        ("/api/v1/chat/completions", "/chat/completions"),
        ("/api/v1/messages", "/messages"),
        ("/api/models/", "/models/"),
        ("/api/files/a%20b", "/files/a%20b"),
        ("/api/files/%61", "/files/a"),
        ("/api/files/%C3%A9~x", "/files/%C3%A9~x"),
        ("/api/models/kimi:latest@1", "/models/kimi:latest@1"),
        ("/api/v1beta/models", "/v1beta/models"),
        ("/%61pi/models", "/models"),
    ],
)
def test_a_path_of_the_api(asked: str, sent: str) -> None:
    """A path below /api goes to the API in one spelling, with or without the version that some clients append."""
    assert target_of(asked.encode(), b"", has_version=True) == Target(sent, b"")


def test_a_base_without_version() -> None:
    """Where the API's base has no version, that of the path is a part of the path."""
    assert target_of(b"/api/v1/messages", b"", has_version=False) == Target("/v1/messages", b"")


ESCAPES = {
    "dots": "/api/../admin",
    "dots at the end": "/api/models/..",
    "one dot": "/api/./models",
    "encoded dots": "/api/%2e%2e/admin",
    "one encoded dot": "/api/.%2E/admin",
    "dots with a parameter": "/api/..;x/admin",
    "encoded slash": "/api/models%2f..%2fadmin",
    "backslash": "/api/..%5cadmin",
    "raw backslash": "/api/..\\admin",
    "encoded twice": "/api/%252e%252e/admin",
    "empty segment": "/api//admin",
    "empty first segment": "//evil.example/api/models",
    "absolute form": "http://evil.example/api/models",
    "absolute form of ours": "https://api.kimi.com/coding/v1/models",
    "asterisk": "*",
    "authority form": "evil.example:443",
    "NUL": "/api/models%00",
    "line break": "/api/models%0d%0aHost:%20evil.example",
    "question mark inside": "/api/models%3fx",
    "fragment": "/api/models%23x",
    "raw fragment": "/api/models#x",
    "half an escape": "/api/models%2",
    "user-info": "/api/@evil.example/..",
    "space": "/api/a b",
}


@pytest.mark.parametrize("asked", ESCAPES.values(), ids=ESCAPES)
def test_an_escape(asked: str) -> None:
    """A path that two servers could read differently is refused, whatever it hides behind."""
    found = target_of(asked.encode(), b"", has_version=True)
    assert isinstance(found, Refusal)
    assert (found.status, found.code) == (400, "bad_path")


@pytest.mark.parametrize(
    "asked", ["/", "/v1/models", "/apix/models", "/API/models", "/api", "/api/", "/api/v1", "/api/v1/"]
)
def test_not_of_the_api(asked: str) -> None:
    """A path that is not below /api, or names nothing there, is not found."""
    found = target_of(asked.encode(), b"", has_version=True)
    assert isinstance(found, Refusal)
    assert found.status in {400, 404}


def test_a_long_url() -> None:
    """A URL has an end."""
    found = target_of(b"/api/" + b"a" * 8192, b"", has_version=True)
    assert isinstance(found, Refusal)
    assert found.status == 414


@given(st.binary(max_size=40))
def test_whatever_is_asked(tail: bytes) -> None:
    """Whatever follows /api/, a plain path below the base is sent, or nothing."""
    found = target_of(b"/api/" + tail, b"", has_version=True)
    if isinstance(found, Target):
        parts = unquote(found.path, errors="surrogateescape").split("/")
        assert parts[0] == ""
        assert not {".", ".."} & set(parts)
        assert "" not in parts[1:-1]
        assert found.path.isascii()
        assert target_of(b"/api" + found.path.encode(), b"", has_version=False) == found


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("", ""),
        ("limit=3&after=x%2Fy", "limit=3&after=x%2Fy"),
        ("key=SECRET", ""),
        ("a=1&key=SECRET&b=2", "a=1&b=2"),
        ("%6bey=SECRET&a=1", "a=1"),
        ("KEY=SECRET&Access_Token=SECRET&api-key=SECRET&api_key=SECRET", ""),
        ("keys=1&monkey=2", "keys=1&monkey=2"),
    ],
)
def test_a_query(query: str, sent: str) -> None:
    """The query goes to the API without the parameters in which clients send a key."""
    assert target_of(b"/api/files", query.encode(), has_version=True) == Target("/files", sent.encode())


def test_a_query_with_a_line_break() -> None:
    """A query with characters that none may have is refused."""
    found = target_of(b"/api/files", b"a=\r\nb", has_version=True)
    assert isinstance(found, Refusal)


@pytest.mark.parametrize(
    ("entries", "path", "is_covered"),
    [
        (["*"], "/anything/at/all", True),
        (["/chat/completions"], "/chat/completions", True),
        (["/chat/completions"], "/chat/completions/", True),
        (["/chat/completions"], "/chat/completions/x", False),
        (["/chat/completions"], "/chat", False),
        (["/files/*"], "/files/a/b", True),
        (["/files/*"], "/files", False),
        (["/files", "/files/*"], "/files", True),
        (["/files/*"], "/filesystem", False),
        (["/models", "/messages"], "/messages", True),
        (["/Models"], "/models", False),
        ([], "/models", False),
    ],
)
def test_allowed_paths(entries: list[str], path: str, is_covered: bool) -> None:
    """A grant covers the paths that it lists, and those below an entry that ends in a star; nothing by prefix alone."""
    assert AllowedPaths(entries).covers(path) is is_covered
    found = target_of(b"/api" + path.encode(), b"", has_version=True, allowed=AllowedPaths(entries))
    assert isinstance(found, Target) is is_covered


def test_an_encoded_path_is_covered_as_what_it_means() -> None:
    """An allow-list cannot be passed by spelling a path differently."""
    allowed = AllowedPaths(["/models"])
    assert isinstance(target_of(b"/api/m%6fdels", b"", has_version=True, allowed=allowed), Target)
    assert isinstance(target_of(b"/api/%66iles", b"", has_version=True, allowed=allowed), Refusal)


@pytest.mark.parametrize("entry", ["", "models", "/", "/a//b", "/../x", "/a/", "/a*", "https://x/y", "/a/*/b", "/a?b"])
def test_an_entry_that_is_no_path(entry: str) -> None:
    """An allow-list with a mistake is refused when it is written, and not understood as something wider."""
    if entry in {"/a*", "/a/*/b"}:
        assert not AllowedPaths([entry]).covers("/a/x/b")  # a star inside is the character itself
        return
    with pytest.raises(ValueError, match="no path of an API"):
        AllowedPaths([entry])


def test_everything() -> None:
    """Without an allow-list every path of the API is covered."""
    assert EVERYTHING.covers("/chat/completions")


# --- header fields ---------------------------------------------------------------------------------------------------


def test_what_is_sent_to_the_api() -> None:
    """Keys, cookies, hop-by-hop fields and the way to the proxy stay here; the client's own fields go on, in their order."""
    fields = [
        (b"host", b"127.0.0.1:1"),
        (b"authorization", b"Bearer SECRET"),
        (b"x-api-key", b"SECRET"),
        (b"api-key", b"SECRET"),
        (b"x-goog-api-key", b"SECRET"),
        (b"cookie", b"a=SECRET"),
        (b"accept-encoding", b"gzip, br"),
        (b"connection", b"keep-alive, X-Hop"),
        (b"x-hop", b"1"),
        (b"keep-alive", b"5"),
        (b"te", b"trailers"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"websocket"),
        (b"expect", b"100-continue"),
        (b"content-length", b"999"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"proxy-authorization", b"Basic SECRET"),
        (b"user-agent", b"OpenAI/Python"),
        (b"anthropic-version", b"2023-06-01"),
        (b"accept", b"text/event-stream"),
        (b"content-type", b"application/json"),
    ]
    assert request_fields(fields, b"api.kimi.com", "bearer", 5) == [
        (b"host", b"api.kimi.com"),
        (b"user-agent", b"OpenAI/Python"),
        (b"anthropic-version", b"2023-06-01"),
        (b"accept", b"text/event-stream"),
        (b"content-type", b"application/json"),
        (b"content-length", b"5"),
        (b"authorization", b"Bearer bearer"),
    ]


def test_a_request_without_a_body_has_no_length() -> None:
    """A GET is sent as one."""
    assert request_fields([], b"h", "b", None) == [(b"host", b"h"), (b"authorization", b"Bearer b")]


def test_what_comes_back() -> None:
    """Cookies, hop-by-hop fields, permissions for web pages and ways around the proxy stay there."""
    fields = [
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"2"),
        (b"X-Request-Id", b"r1"),
        (b"Retry-After", b"3"),
        (b"Set-Cookie", b"a=1"),
        (b"Connection", b"close, X-Hop"),
        (b"X-Hop", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Alt-Svc", b'h3=":443"'),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Strict-Transport-Security", b"max-age=1"),
        (b"WWW-Authenticate", b"Bearer"),
    ]
    assert response_fields(fields, 200, f"{BASE}/models", BASE) == [
        (b"content-type", b"application/json"),
        (b"content-length", b"2"),
        (b"x-request-id", b"r1"),
        (b"retry-after", b"3"),
        (b"www-authenticate", b"Bearer"),
    ]


@pytest.mark.parametrize(
    ("location", "status", "given"),
    [
        (f"{BASE}/files/2", 307, "/api/files/2"),
        ("/coding/v1/files/2?x=1", 308, "/api/files/2?x=1"),
        ("2", 302, "/api/files/2"),
        ("https://evil.example/files", 307, None),
        ("//evil.example/files", 302, None),
        ("https://api.kimi.com:8443/coding/v1/files", 307, None),
        ("http://api.kimi.com/coding/v1/files", 307, None),
        ("https://api.kimi.com/coding/v1evil", 307, None),
        ("https://api.kimi.com/admin", 307, None),
        ("https://api.kimi.com@evil.example/", 301, None),
        ("", 302, "/api/files/1"),
        ("https://evil.example/files/2", 201, ""),
        (f"{BASE}/files/2", 201, "/api/files/2"),
    ],
)
def test_a_location(location: str, status: int, given: str | None) -> None:
    """A redirect within the API leads through the proxy; one that leaves it is an error, for a client would follow it."""
    found = response_fields([(b"location", location.encode())], status, f"{BASE}/files/1", BASE)
    if given is None:
        assert isinstance(found, Refusal)
        assert (found.status, found.code) == (502, "redirected")
    else:
        assert found == ([(b"location", given.encode())] if given else [])


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([], 0),
        ([(b"content-length", b"12")], 12),
        ([(b"transfer-encoding", b"chunked")], None),
    ],
)
def test_declared_length(fields: list[tuple[bytes, bytes]], length: int | None) -> None:
    """The length of a body is known before it is read, or not at all."""
    assert declared_length(fields) == length


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ([(b"authorization", b"Bearer SECRET")], b""),
        ([(b"authorization", b"bearer  SECRET ")], b""),
        ([(b"x-api-key", b"SECRET")], b""),
        ([(b"api-key", b"SECRET")], b""),
        ([(b"x-goog-api-key", b"SECRET")], b""),
        ([], b"key=SECRET"),
        ([], b"a=1&key=SEC%52ET"),
    ],
)
def test_a_key(fields: list[tuple[bytes, bytes]], query: bytes) -> None:
    """A key is found wherever clients of OpenAI, Anthropic, Azure and Google put theirs."""
    assert keys_in(fields, query) == [b"SECRET"]


# --- errors ----------------------------------------------------------------------------------------------------------


async def _sent(refusal: Refusal) -> tuple[int, dict[str, str], dict[str, object]]:
    messages = []

    async def send(message: object) -> None:
        messages.append(message)

    await refuse(send, refusal)  # type: ignore[arg-type]
    start, end = messages
    headers = {name.decode(): value.decode() for name, value in start["headers"]}  # type: ignore[index]
    return start["status"], headers, json.loads(end["body"])  # type: ignore[index]


@pytest.mark.parametrize(
    ("error", "status", "kind", "retries"),
    [
        (errors.NotSignedIn("not signed in"), 401, "authentication_error", "false"),
        (errors.Revoked("revoked"), 401, "authentication_error", "false"),
        (errors.Blocked("blocked"), 401, "authentication_error", "false"),
        (errors.Unreachable("no answer", retry_after_s=2.4), 503, "api_error", "true"),
        (errors.CredentialLocked("locked"), 503, "api_error", "true"),
        (errors.StoreUnwritable("full"), 500, "api_error", "false"),
        (errors.ConfigError("wrong"), 500, "api_error", "false"),
    ],
)
def test_an_error_of_the_login(error: errors.KimiAuthError, status: int, kind: str, retries: str) -> None:
    """A client sees kimi-auth's code and next step, and repeats a request only where waiting helps."""
    sent, headers, body = asyncio.run(_sent(refusal_of(error)))
    said = body["error"]
    assert (sent, body["type"], headers["x-should-retry"]) == (status, "error", retries)
    assert isinstance(said, dict)
    assert (said["type"], said["code"], said["hint"]) == (kind, error.code, error.hint)
    assert said["message"] == error.line
    assert headers.get("retry-after") == ("3" if error.retry_after_s else None)
    assert ("www-authenticate" in headers) == (status == 401)
    assert not any(name.startswith("access-control") for name in headers)
