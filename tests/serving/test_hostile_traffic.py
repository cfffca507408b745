"""Traffic that is made to exhaust a server, or to outlast its limits: heads, bodies and answers without end, from either side."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from house.patience import NO_LIMIT_S, joined, until

from kimi_auth.serving import server as serving_server
from kimi_auth.serving import service as serving_service
from kimi_auth.serving.command_proxy import CommandProxy
from kimi_auth.serving.proxied import routes_of
from kimi_auth.testing import StaticTokens
from kimi_auth.testing.emulator import Emulator
from serving.api import Api, Asked, fine
from serving.conftest import Looks, Serving, there, to_the_end


class Raw:
    """An API that answers each connection with the same bytes, and closes it."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}/coding/v1"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(self.said)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        joined(self._thread)


@pytest.fixture
def raw_api() -> Iterator[Callable[[bytes], Raw]]:
    made: list[Raw] = []

    def make(said: bytes) -> Raw:
        made.append(Raw(said))
        return made[-1]

    yield make
    for one in made:
        one.close()


@contextlib.contextmanager
def client_of(url: str) -> Iterator[socket.socket]:
    """A connection to a server."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=NO_LIMIT_S) as made:
        yield made


def head(proxy: CommandProxy, *fields: str, target: str = "/api/models", method: str = "GET") -> bytes:
    """A request's head with the key and these fields."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", f"X-Api-Key: {proxy.secret}", *fields, "", ""]
    return "\r\n".join(lines).encode()


@pytest.fixture
def api() -> Iterator[Api]:
    with Api(fine) as found:
        yield found


@pytest.fixture
def proxy(api: Api) -> Iterator[CommandProxy]:
    with CommandProxy(StaticTokens(api_origin=api.base)) as found:
        yield found


LARGE = {
    "one field of 40 kB": (["X-Own: " + "x" * 40_000], "/api/models", 431),
    "forty fields of 1 kB": ([f"X-Own-{at}: {'x' * 1000}" for at in range(40)], "/api/models", 431),
    "two hundred fields": ([f"X-{at}: 1" for at in range(200)], "/api/models", 431),
    "a long line": ([], "/api/models?" + "x" * 9_000, 414),
}


@pytest.mark.parametrize("pieces", [1, 8])
@pytest.mark.parametrize(("fields", "target", "status"), LARGE.values(), ids=LARGE)
def test_a_large_head(proxy: CommandProxy, api: Api, fields: list[str], target: str, status: int, pieces: int) -> None:
    """A head of too many bytes or fields, or with too long a line, is refused however many pieces it comes in."""
    sent = head(proxy, *fields, target=target)
    size = len(sent) // pieces + 1
    with client_of(proxy.url) as client:
        with contextlib.suppress(ConnectionError):  # it may be refused before its last piece
            for at in range(0, len(sent), size):
                client.sendall(sent[at : at + size])
        got = to_the_end(client)
    assert got.split(b" ", 2)[1:2] in ([b"%d" % status], [b"400"] if pieces > 1 else [], [] if pieces > 1 else [b""])
    assert api.requests == []


def test_a_large_head_behind_another_request(proxy: CommandProxy, api: Api) -> None:
    """The same for one that waits in the buffer behind a plain one."""
    with client_of(proxy.url) as client:
        client.sendall(head(proxy) + head(proxy, "X-Own: " + "x" * 40_000))
        got = to_the_end(client)
    assert [part.split(b" ", 1)[0] for part in got.split(b"HTTP/1.1 ")[1:]] == [b"200", b"431"]
    assert len(api.requests) == 1


def test_a_head_that_drips(serving: Serving, looks: Looks) -> None:
    """A head that comes byte by byte, each in time, is not waited for longer than one that does not come."""
    serving.start_here()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(serving.owner))

        def drips(_: float) -> bool:
            try:
                client.sendall(b"G")
            except OSError:
                return True
            time.sleep(0.005)
            return False

        client.sendall(b"GET /healthz HTTP/1.1\r\nX-")
        looks.begin(serving.server)
        until(drips, "the end of the connection")


@pytest.mark.parametrize("extension", [b"", b";" + b"x" * 900], ids=["chunks of one byte", "extensions"])
def test_a_body_that_holds_little(
    proxy: CommandProxy, api: Api, monkeypatch: pytest.MonkeyPatch, extension: bytes
) -> None:
    """A body whose bytes on the wire are mostly not its content ends at a bound of its own, though its content is below its limit."""
    monkeypatch.setattr(serving_server, "WIRE_BYTES_MAX", 100_000)
    chunk = b"1" + extension + b"\r\nx\r\n"
    with client_of(proxy.url) as client:
        client.sendall(head(proxy, "Transfer-Encoding: chunked", method="POST", target="/api/files"))
        with contextlib.suppress(ConnectionError):  # it is closed while we still send
            for _ in range(1_000_000 // len(chunk)):
                client.sendall(chunk)
            client.sendall(b"0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert client.recv(65536) == b""
    assert api.requests == []


def test_the_bound_is_of_each_request(proxy: CommandProxy, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many requests on one connection are bounded each, not together."""
    monkeypatch.setattr(serving_server, "WIRE_BYTES_MAX", 2_000)
    with client_of(proxy.url) as client:
        for _ in range(20):
            client.sendall(head(proxy))
            got = b""
            while not got.endswith(b"0\r\n\r\n"):
                got += client.recv(65536)
            assert got.startswith(b"HTTP/1.1 200 ")
    assert len(api.requests) == 20


async def endless(asked: Asked, receive: Any, send: Any) -> None:
    """An answer that goes on until its reader has gone."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    while await connected(receive):
        await send({"type": "http.response.body", "body": b"data: {}\n\n" * 1000, "more_body": True})


async def connected(receive: Any) -> bool:
    """Whether the reader is there."""
    try:
        message = await asyncio.wait_for(receive(), 0.01)
    except TimeoutError:
        return True
    return bool(message["type"] != "http.disconnect")


def test_a_client_that_reads_nothing(looks: Looks) -> None:
    """A client that asks for an endless answer and reads none of it keeps neither its connection nor the one to the API."""
    with Api(endless) as api, CommandProxy(StaticTokens(api_origin=api.base)) as proxy, client_of(proxy.url) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(head(proxy))
        until(lambda tick_s: len(api.requests) == 1 or time.sleep(min(tick_s, 0.02)), "the request")
        looks.begin(proxy._server)
        until(
            lambda tick_s: not api._server.server_state.tasks or time.sleep(min(tick_s, 0.02)),
            "the end of the request to the API",
        )


@pytest.mark.parametrize(
    ("said", "status"),
    [
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 502, id="101"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, id="103"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Own: " + b"x" * 200_000 + b"\r\n\r\n", 502, id="a large head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 502, id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Own: a\rX-Other: b\r\nContent-Length: 0\r\n\r\n", 502, id="a bare CR"),
        pytest.param(b"nonsense\r\n\r\n", 502, id="no HTTP"),
        pytest.param(
            b"HTTP/1.1 503 Busy\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n",
            503,
            id="Retry-After",
        ),
        pytest.param(b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", 299, id="299"),
    ],
)
def test_an_api_that_answers_oddly(
    raw_api: Callable[[bytes], Raw], said: bytes, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """What an API says that is no whole answer becomes an error of the proxy, and nothing is printed about it."""
    with CommandProxy(StaticTokens(api_origin=raw_api(said).base)) as proxy, client_of(proxy.url) as client:
        client.sendall(head(proxy, "Connection: close"))
        got = to_the_end(client)
    assert got.startswith(b"HTTP/1.1 %d " % status), got[:200]
    assert capfd.readouterr().err == ""


async def slow_stream(asked: Asked, receive: Any, send: Any) -> None:
    """A stream of an event every 20 ms, until its reader has gone."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    while await connected(receive):
        await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})


@pytest.mark.parametrize("door", ["tcp", "unix"])
def test_a_grant_that_is_revoked_during_a_stream(
    emulator: Emulator, serving: Serving, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    """The answer that is running ends with its grant, at a port that other grants go on to use as at its own socket; the client cannot take it
    for complete, and the request to the API ends."""
    monkeypatch.setattr(serving_service, "STANDS_S", 0.05)
    with Api(slow_stream) as api:
        serving.env["KIMI_CODE_BASE_URL"] = api.base
        session = serving.session
        url = serving.serve_here(session, routes_of(session), listen=("127.0.0.1", 0))["url"]
        box, other = serving.grant("agent"), serving.grant("other")
        sent = f"GET /api/models HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {box.secret}\r\n\r\n".encode()
        with contextlib.ExitStack() as kept:
            if door == "tcp":
                client = kept.enter_context(client_of(url))
            else:
                client = kept.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(box.socket_dir / "kimi.sock"))
            client.sendall(sent)
            got = client.recv(65536)
            while b"data:" not in got:
                got += client.recv(65536)
            serving.revoke("agent")
            assert not (got + to_the_end(client)).endswith(b"0\r\n\r\n")
            until(lambda _: not api._server.server_state.tasks, "the end of the request to the API")
        assert serving.get_token(other).status_code == 200


def test_more_sandboxes_than_descriptors(serving: Serving) -> None:
    """Where the usual limit of descriptors is below the number of grants and their clients, the server raises it as far as the system lets
    it: each grant is served."""
    boxes = [serving.grant(f"agent-{number}") for number in range(45)]
    serving.start(descriptors=48)
    for box in boxes:
        there(box.socket_dir / "kimi.sock")
    with ThreadPoolExecutor(30) as pool:
        assert {each.status_code for each in pool.map(serving.get_token, boxes)} == {200}
    assert serving.end() == (0, "")
