"""What httpx's clients make of BearerAuth: redirects, streams and history in memory, bodies and connections on loopback."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from house.libraries import LIBRARIES, in_library
from house.patience import NO_LIMIT_S

from kimi_auth.clients import NOT_RESENT, BearerAuth

HOME = "https://api.kimi.com"
FIRST, SECOND = "Bearer first", "Bearer second"


class Fetch:
    """One way to use a library: `fetch(auth, handler, **request)` gives the response, its body read. The handler's
    responses are httpx's, whichever library is used."""

    def __init__(self, library: Any, colour: str, *, stream: bool) -> None:
        self.library, self.colour, self.stream = library, colour, stream

    def __call__(self, auth: BearerAuth, handler: Any, method: str, url: str, **request: Any) -> httpx.Response:
        options: dict[str, Any] = {"auth": auth, "follow_redirects": True, "trust_env": False}
        if handler is not None:
            options["transport"] = self.library.MockTransport(lambda sent: in_library(handler(sent), self.library))
        work = self._sync if self.colour == "sync" else self._async
        return work(options, method, url, request)

    def _sync(self, options: dict[str, Any], method: str, url: str, request: dict[str, Any]) -> httpx.Response:
        with self.library.Client(timeout=NO_LIMIT_S, **options) as client:
            if not self.stream:
                return client.request(method, url, **request)
            with client.stream(method, url, **request) as response:
                b"".join(response.iter_raw())
                return response

    def _async(self, options: dict[str, Any], method: str, url: str, request: dict[str, Any]) -> httpx.Response:
        async def work() -> httpx.Response:
            async with self.library.AsyncClient(timeout=NO_LIMIT_S, **options) as client:
                if not self.stream:
                    return await client.request(method, url, **request)
                async with client.stream(method, url, **request) as response:
                    _ = [chunk async for chunk in response.aiter_raw()]
                    return response

        return asyncio.run(work())


@pytest.fixture(params=LIBRARIES.values(), ids=LIBRARIES)
def each(request: pytest.FixtureRequest) -> Any:
    """Each library, in a process that has loaded both."""
    return request.param


@pytest.fixture(params=["sync", "sync stream", "async", "async stream"])
def fetch(request: pytest.FixtureRequest, each: Any) -> Fetch:
    """Both clients of each library, with whole and with streamed responses."""
    colour, _, stream = request.param.partition(" ")
    return Fetch(each, colour, stream=bool(stream))


# --- redirects, in memory ---------------------------------------------------------------------------------------------

Hop = tuple[str, str, "str | None"]

ROUTES: dict[str, tuple[int, str]] = {
    f"{HOME}/here": (302, "/x"),
    f"{HOME}/keep": (307, "/x"),
    f"{HOME}/away": (307, "https://cdn.example/x"),
    f"{HOME}/port": (307, "https://api.kimi.com:8443/x"),
    f"{HOME}/round": (307, "https://cdn.example/back"),
    "https://cdn.example/back": (307, f"{HOME}/x"),
    "https://cdn.example/in": (307, f"{HOME}/x"),
    "http://api.kimi.com/plain": (307, f"{HOME}/x"),
}

REDIRECTS: list[tuple[str, str, str, list[Hop], int]] = [
    ("none", "POST", f"{HOME}/x", [("POST", f"{HOME}/x", FIRST), ("POST", f"{HOME}/x", SECOND)], 200),
    (
        "within the origin, to a GET",
        "POST",
        f"{HOME}/here",
        [("POST", f"{HOME}/here", FIRST), ("GET", f"{HOME}/x", FIRST), ("GET", f"{HOME}/x", SECOND)],
        200,
    ),
    (
        "within the origin, the POST kept",
        "POST",
        f"{HOME}/keep",
        [("POST", f"{HOME}/keep", FIRST), ("POST", f"{HOME}/x", FIRST), ("POST", f"{HOME}/x", SECOND)],
        200,
    ),
    (
        "to another host",
        "POST",
        f"{HOME}/away",
        [("POST", f"{HOME}/away", FIRST), ("POST", "https://cdn.example/x", None)],
        401,
    ),
    (
        "to another port",
        "POST",
        f"{HOME}/port",
        [("POST", f"{HOME}/port", FIRST), ("POST", "https://api.kimi.com:8443/x", None)],
        401,
    ),
    (
        "away and back again",
        "POST",
        f"{HOME}/round",
        [("POST", f"{HOME}/round", FIRST), ("POST", "https://cdn.example/back", None), ("POST", f"{HOME}/x", None)],
        401,
    ),
    (
        "from abroad",
        "POST",
        "https://cdn.example/in",
        [("POST", "https://cdn.example/in", None), ("POST", f"{HOME}/x", None)],
        401,
    ),
    (
        "from http",
        "POST",
        "http://api.kimi.com/plain",
        [("POST", "http://api.kimi.com/plain", None), ("POST", f"{HOME}/x", None)],
        401,
    ),
]


@pytest.mark.parametrize(("method", "url", "hops", "status"), [pytest.param(*row[1:], id=row[0]) for row in REDIRECTS])
def test_redirects(fetch: Fetch, scripted: Any, method: str, url: str, hops: list[Hop], status: int) -> None:
    """The token stays at home on every hop, the refused hop is the one that is retried, with its body."""
    seen: list[Hop] = []

    def handler(request: httpx.Request) -> httpx.Response:
        authorization = request.headers.get("Authorization")
        seen.append((request.method, str(request.url), authorization))
        assert request.content == (b"body" if request.method == "POST" else b"")
        if str(request.url) in ROUTES:
            code, location = ROUTES[str(request.url)]
            return httpx.Response(code, headers={"Location": location})
        return httpx.Response(200 if authorization == SECOND else 401, stream=httpx.ByteStream(b"said"))

    source = scripted()
    response = fetch(BearerAuth(source, origin=HOME), handler, method, url, content=b"body")
    assert seen == hops
    assert response.status_code == status
    assert source.asked.count("rejected first") == (status == 200)


def test_history_shows_the_401(fetch: Fetch, scripted: Any) -> None:
    """The refused response is in the history of the good one, as httpx does it for its own schemes."""
    statuses = iter([401, 200])
    response = fetch(
        BearerAuth(scripted(), origin=HOME),
        lambda _: httpx.Response(next(statuses), stream=httpx.ByteStream(b"said")),
        "GET",
        HOME,
    )
    assert [earlier.status_code for earlier in response.history] == [401]
    assert response.status_code == 200


# --- bodies and connections, on loopback ------------------------------------------------------------------------------

BODY_401 = b"u" * 200_000


@dataclass
class Loopback:
    """A server on 127.0.0.1: 401 with a long body unless the bearer is `second`; says what it got and on which connection."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    """The server runs for the length of a test, on a free port."""
    seen = Loopback()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            seen.bodies.append(self._body())
            seen.connections.append(self.client_address[1])
            good = self.headers["Authorization"] == SECOND
            answer = b"good" if good else BODY_401
            self.send_response(200 if good else 401)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _body(self) -> bytes:
            if "Content-Length" in self.headers:
                return self.rfile.read(int(self.headers["Content-Length"]))
            whole = b""
            while size := int(self.rfile.readline(), 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole

        def log_message(self, *_args: object) -> None:
            """Nothing on stderr."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # with the default of 5, the sixth of eight connections comes a second later

    server = Server(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield seen
    server.shutdown()
    thread.join()
    server.server_close()


def _file(content: bytes, skip: int = 0) -> io.BytesIO:
    file = io.BytesIO(content)
    file.seek(skip)
    return file


BODIES: list[tuple[str, Callable[[], dict[str, Any]]]] = [
    ("bytes", lambda: {"content": b"x" * 100_000}),
    ("json", lambda: {"json": {"messages": ["hello"]}}),
    ("form", lambda: {"data": {"a": "1"}}),
    ("multipart of bytes", lambda: {"files": {"f": ("n", b"x" * 100_000, "video/mp4")}, "data": {"purpose": "video"}}),
    ("multipart of a file", lambda: {"files": {"f": _file(b"x" * 100_000)}}),
    ("multipart of a file that was read from", lambda: {"files": {"f": _file(b"x" * 1_000, skip=500)}}),
]


@pytest.mark.parametrize("body", [pytest.param(row[1], id=row[0]) for row in BODIES])
def test_body_is_sent_again_whole(
    fetch: Fetch, scripted: Any, loopback: Loopback, body: Callable[[], dict[str, Any]]
) -> None:
    """The second request has the same bytes as the first, on the same connection, though the 401 had a long body."""
    response = fetch(BearerAuth(scripted(), origin=loopback.url), None, "POST", loopback.url, **body())
    assert response.status_code == 200
    assert len(loopback.bodies) == 2
    assert loopback.bodies[0] == loopback.bodies[1] != b""
    assert len(set(loopback.connections)) == 1


def _chunks() -> Iterator[bytes]:
    yield from (b"ab", b"cd")


async def _async_chunks() -> AsyncIterator[bytes]:
    for chunk in _chunks():
        yield chunk


class AsyncFile:
    """An open file of an async library, as httpx takes it: it is iterable, and `aread` is what httpx calls."""

    def __init__(self) -> None:
        self._file = io.BytesIO(b"abcd")

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("httpx reads a file with aread")

    async def aread(self, size: int) -> bytes:
        return self._file.read(size)


SPENT: dict[tuple[str, str], Callable[[], Any]] = {
    ("sync", "iterator"): _chunks,
    ("sync", "file"): lambda: io.BytesIO(b"abcd"),
    ("async", "iterator"): _async_chunks,
    ("async", "file"): AsyncFile,
}


@pytest.mark.parametrize("kind", ["iterator", "file"])
def test_spent_body_is_not_sent_again(fetch: Fetch, scripted: Any, loopback: Loopback, kind: str) -> None:
    """The server got it whole, once; the caller gets the 401 with its body unread, and the reason."""
    content = SPENT[fetch.colour, kind]()
    response = fetch(BearerAuth(scripted(), origin=loopback.url), None, "POST", loopback.url, content=content)
    assert loopback.bodies == [b"abcd"]
    assert response.status_code == 401
    assert NOT_RESENT in response.extensions
    assert fetch.stream or response.content == BODY_401


@pytest.mark.anyio
async def test_one_instance_serves_many_tasks(each: Any, scripted: Any, loopback: Loopback) -> None:
    """Requests that are refused together are each retried once, and know nothing of each other."""
    source = scripted()
    auth = BearerAuth(source, origin=loopback.url)
    async with each.AsyncClient(auth=auth, trust_env=False, timeout=NO_LIMIT_S) as client:
        responses = await asyncio.gather(*(client.post(loopback.url, content=b"%d" % n) for n in range(8)))
    assert [response.status_code for response in responses] == [200] * 8
    assert sorted(loopback.bodies) == sorted([b"%d" % n for n in range(8)] * 2)
    assert source.asked.count("rejected first") == 8


@pytest.mark.anyio
async def test_cancelled_while_it_asks(each: Any, scripted: Any) -> None:
    """A request that is cancelled while it waits for a newer token ends there, and is not sent again."""
    source, asked, sent = scripted(), asyncio.Event(), []

    async def rejected(_bearer: str) -> str:
        asked.set()
        await asyncio.Event().wait()
        return "second"

    def handler(request: Any) -> Any:
        sent.append(request)
        return each.Response(401)

    source.rejected = rejected
    async with each.AsyncClient(auth=BearerAuth(source, origin=HOME), transport=each.MockTransport(handler)) as client:
        request = asyncio.create_task(client.get(HOME))
        await asked.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    assert len(sent) == 1
