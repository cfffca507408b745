"""Where the adapters send a token, what they send again, and what they leave to the caller: against a server on loopback."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import anthropic
import httpx2
import pytest
import requests
from house.patience import NO_LIMIT_S

from kimi_auth import BearerAuth
from kimi_auth.clients import (
    AiohttpMiddleware,
    AnthropicCredentials,
    AsyncAnthropicCredentials,
    RequestsAuth,
    WebsocketAuth,
)
from kimi_auth.clients.bearers import Bearers
from kimi_auth.errors import KimiAuthError, NotSignedIn

FIRST, SECOND = "Bearer first", "Bearer second"
Seen = tuple[str, str, str | None, bytes]
"""Method, path, Authorization and body of a request."""


@dataclass
class Place:
    """A server: /here redirects to /x, /away to the other server, and /x accepts `second` only."""

    url: str = ""
    away: str = ""
    seen: list[Seen] = field(default_factory=list)


def served(place: Place) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self._body()
            authorization = self.headers["Authorization"]
            place.seen.append((self.command, self.path, authorization, body))
            location = {"/here": "/x", "/away": place.away + "/x"}.get(self.path, "")
            status = 307 if location else 200 if authorization == SECOND else 401
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"said\n")

        do_GET = do_POST = answer  # noqa: N815 - names of the base class

        def _body(self) -> bytes:
            if "Content-Length" in self.headers:
                return self.rfile.read(int(self.headers["Content-Length"]))
            whole = b""
            while "chunked" in self.headers.get("Transfer-Encoding", "") and (size := int(self.rfile.readline(), 16)):
                whole += self.rfile.read(size)
                self.rfile.readline()
            return whole

        def log_message(self, *_args: object) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    place.url = f"http://127.0.0.1:{server.server_port}"
    return server


@pytest.fixture
def places() -> Iterator[tuple[Place, Place]]:
    """The token's own origin, and another one."""
    home, other = Place(), Place()
    servers = [served(home), served(other)]
    home.away = other.url
    threads = [threading.Thread(target=it.serve_forever, kwargs={"poll_interval": 0.01}) for it in servers]
    for thread in threads:
        thread.start()
    yield home, other
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


Fetch = Callable[..., int]
"""`fetch(source, home, method, url, body)` gives the status."""


def by_requests(source: Any, home: str, method: str, url: str, body: Any = None) -> int:
    with requests.Session() as client:
        client.trust_env = False
        response = client.request(method, url, data=body, auth=RequestsAuth(source, origin=home), timeout=NO_LIMIT_S)
        assert response.content == b"said\n"
        return response.status_code


def by_aiohttp(source: Any, home: str, method: str, url: str, body: Any = None) -> int:
    async def run() -> int:
        async with (
            aiohttp.ClientSession(middlewares=[AiohttpMiddleware(source, origin=home)]) as client,
            client.request(method, url, data=body) as response,
        ):
            assert await response.read() == b"said\n"
            return response.status

    return asyncio.run(run())


both = pytest.mark.parametrize("fetch", [by_requests, by_aiohttp], ids=["requests", "aiohttp"])


@both
def test_one_retry(fetch: Fetch, scripted: Any, places: tuple[Place, Place]) -> None:
    """A 401 is reported once, and the request is sent once more; the second 401 is the caller's."""
    home, _ = places
    source = scripted()
    assert fetch(source, home.url, "GET", f"{home.url}/x") == 200
    assert [it[2] for it in home.seen] == [FIRST, SECOND]
    home.seen.clear()
    assert fetch(scripted(newer="third"), home.url, "GET", f"{home.url}/x") == 401
    assert [it[2] for it in home.seen] == [FIRST, "Bearer third"]
    home.seen.clear()
    assert fetch(scripted(newer=None), home.url, "GET", f"{home.url}/x") == 401
    assert [it[2] for it in home.seen] == [FIRST]


@both
def test_a_redirect(fetch: Fetch, scripted: Any, places: tuple[Place, Place]) -> None:
    """The token stays at home on every hop, and the refused hop is the one that is sent again, with its body."""
    home, other = places
    assert fetch(scripted(), home.url, "POST", f"{home.url}/here", b"body") == 200
    assert home.seen == [
        ("POST", "/here", FIRST, b"body"),
        ("POST", "/x", FIRST, b"body"),
        ("POST", "/x", SECOND, b"body"),
    ]
    source = scripted()
    assert fetch(source, home.url, "POST", f"{home.url}/away", b"body") == 401
    assert other.seen == [("POST", "/x", None, b"body")]
    assert source.asked == ["token"]


@both
def test_another_origin(fetch: Fetch, scripted: Any, places: tuple[Place, Place]) -> None:
    """A request elsewhere goes out unsigned, and its 401 says nothing about the token."""
    home, other = places
    source = scripted()
    assert fetch(source, home.url, "GET", f"{other.url}/x") == 401
    assert (other.seen, source.asked) == ([("GET", "/x", None, b"")], [])


def _read_from() -> io.BytesIO:
    file = io.BytesIO(b"--body")
    file.seek(2)
    return file


BODIES: list[tuple[str, Callable[[], Any]]] = [
    ("bytes", lambda: b"body"),
    ("text", lambda: "body"),
    ("a file", lambda: io.BytesIO(b"body")),
    ("a file that was read from", _read_from),
]


@both
@pytest.mark.parametrize("make", [pytest.param(row[1], id=row[0]) for row in BODIES])
def test_a_body_is_sent_again_whole(
    fetch: Fetch, scripted: Any, places: tuple[Place, Place], make: Callable[[], Any]
) -> None:
    """The second request has the bytes of the first."""
    home, _ = places
    assert fetch(scripted(), home.url, "POST", f"{home.url}/x", make()) == 200
    assert [it[3] for it in home.seen] == [b"body", b"body"]


def _chunks() -> Iterator[bytes]:
    yield b"bo"
    yield b"dy"


async def _async_chunks() -> Any:
    for chunk in _chunks():
        yield chunk


@pytest.mark.parametrize(("fetch", "make"), [(by_requests, _chunks), (by_aiohttp, _async_chunks)])
def test_a_spent_body_is_told(
    fetch: Fetch, make: Any, scripted: Any, places: tuple[Place, Place], caplog: pytest.LogCaptureFixture
) -> None:
    """It is not sent short: the caller gets the 401, and the log says why; the source knows of it."""
    home, _ = places
    source = scripted()
    assert fetch(source, home.url, "POST", f"{home.url}/x", make()) == 401
    assert [it[3] for it in home.seen] == [b"body"]
    assert source.asked == ["token", "rejected first"]
    assert "is consumed" in caplog.text
    assert "second" not in caplog.text


@both
def test_without_a_token(fetch: Fetch, scripted: Any, places: tuple[Place, Place]) -> None:
    """Nothing is sent, and the caller learns why; a static key serves where there is one."""
    home, _ = places
    source = scripted(NotSignedIn("nobody"), None)
    with pytest.raises(NotSignedIn):
        fetch(source, home.url, "GET", f"{home.url}/x")
    assert home.seen == []
    source.__static_key__ = lambda: "second"
    assert fetch(source, home.url, "GET", f"{home.url}/x") == 200


def test_an_upgrade_to_tls_is_another_origin(scripted: Any) -> None:
    """requests keeps the header on the way from http to https of one host; there it is taken off first."""
    saw: list[str | None] = []

    class Upgrade(requests.adapters.BaseAdapter):
        def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
            saw.append(request.headers.get("Authorization"))
            response = requests.Response()
            response.status_code = 307 if len(saw) == 1 else 200
            response.headers["Location"] = "https://localhost/"
            response.url, response.request, response.connection = str(request.url), request, self
            response.raw = io.BytesIO()
            return response

        def close(self) -> None:
            """Nothing is open."""

    with requests.Session() as client:
        client.trust_env = False
        client.mount("http://", Upgrade())
        client.mount("https://", Upgrade())
        client.get("http://localhost/", auth=RequestsAuth(scripted(), origin="http://localhost"))
    assert saw == [FIRST, None]


@pytest.mark.parametrize("kind", [AnthropicCredentials, AsyncAnthropicCredentials])
def test_an_anthropic_client_that_sends_elsewhere(kind: Any, scripted: Any) -> None:
    """It is refused when it is made or copied, before it has a token."""
    client = anthropic.Anthropic if kind is AnthropicCredentials else anthropic.AsyncAnthropic
    source = scripted()
    with pytest.raises(ValueError, match="base_url"):
        client(credentials=kind(source, origin="https://api.kimi.com"))
    assert source.asked == []
    made = client(base_url="https://api.kimi.com/coding", credentials=kind(source, origin="https://api.kimi.com"))
    with pytest.raises(ValueError, match="base_url"):
        made.copy(base_url="https://api.example")


def test_an_anthropic_client_that_changes_its_base_url(scripted: Any) -> None:
    """With `BearerAuth` in its HTTP client each request is looked at: a 401 is answered, and no other host sees a token."""
    saw: list[tuple[str, str | None, str | None]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        saw.append((request.url.host, request.headers.get("authorization"), request.headers.get("x-api-key")))
        return httpx2.Response(401 if len(saw) == 1 else 200, json={"data": []})

    auth = BearerAuth(scripted(), origin="https://api.kimi.com")
    http = anthropic.DefaultHttpxClient(auth=auth, transport=httpx2.MockTransport(answer))
    with anthropic.Anthropic(
        base_url="https://api.kimi.com/coding", auth_token="unused", http_client=http, max_retries=0
    ) as client:
        client.models.list()
        client.base_url = "https://api.example"
        client.models.list()
    assert saw == [
        ("api.kimi.com", FIRST, None),
        ("api.kimi.com", SECOND, None),
        ("api.example", "Bearer unused", None),
    ]


@pytest.mark.parametrize(
    "kind", [RequestsAuth, AiohttpMiddleware, AnthropicCredentials, AsyncAnthropicCredentials, WebsocketAuth]
)
def test_made_with_care(kind: Any, scripted: Any) -> None:
    """An origin has to be known, and takes TLS; a repr shows it and no token."""
    for origin in (None, "http://api.kimi.com"):
        with pytest.raises(ValueError, match=r"origin=|no bearer"):
            kind(scripted(), origin=origin)
    assert repr(kind(scripted(), origin="https://api.kimi.com")) == f"{kind.__name__}(origin='https://api.kimi.com')"


@pytest.mark.parametrize("given", [None, b"access", 7], ids=["none", "bytes", "number"])
def test_a_source_that_gives_no_text(given: Any, scripted: Any) -> None:
    """KimiAuthError, as for every token that no header can hold; as a newer token it counts as none."""
    bearers = Bearers(scripted(given), "https://api.kimi.com")
    with pytest.raises(KimiAuthError, match="not valid in a header"):
        bearers.token_sync()
    with pytest.raises(KimiAuthError, match="not valid in a header"):
        asyncio.run(bearers.token())
    assert Bearers(scripted("access", given), "https://api.kimi.com").other_sync("access") is None
