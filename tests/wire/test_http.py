"""Sending, against real sockets that misbehave: nothing holds us, nothing is lost that arrived, nothing raises."""

from __future__ import annotations

import asyncio
import datetime
import errno
import gzip
import ipaddress
import json
import logging
import socket
import ssl
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import httpx
import pytest
import zstandard
from house.patience import NO_LIMIT_S, OwnTime, joined, met, until
from house.ports import silent_port
from life.world import _wait_until_taken
from wire.sending import Send, in_loop, in_thread

from kimi_auth.clock import SystemClock
from kimi_auth.wire import Endpoints, OAuthClient, deadline, fetch_models, fetch_models_sync
from kimi_auth.wire.clients import Clients
from kimi_auth.wire.coding import BODY_MAX
from kimi_auth.wire.deadline import Deadline
from kimi_auth.wire.decode import INTERVAL_MAX_S
from kimi_auth.wire.failures import DeadlineError, UnsendableError
from kimi_auth.wire.proxies import proxy_for
from kimi_auth.wire.request import Request
from kimi_auth.wire.sanitize import NOT_SHOWN

PAIR = json.dumps({"access_token": "new-access", "refresh_token": "new-refresh"}).encode()
FORM = {"refresh_token": "s3cret"}


def answer(body: bytes, *, status: str = "200 OK", length: int | None = None, more: str = "") -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{more}\r\n".encode() + body


def ask_of(url: str, **more: Any) -> Request:
    return Request("POST", f"{url}/token", {}, FORM, secrets=("s3cret",))._replace(**more)


@pytest.fixture(params=[in_thread, in_loop])
def send(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, library: Any) -> Send:
    """Both ways of sending, over both libraries."""
    monkeypatch.setattr(deadline, "GRACE_S", 0.1)
    return request.param  # type: ignore[no-any-return]


on_httpx = pytest.mark.parametrize("library", ["httpx"], indirect=True)
"""For tests of the decoding of an answer, in which no library has a part."""


def oauth_at(url: str) -> OAuthClient:
    return OAuthClient(Endpoints(url, f"{url}/device", f"{url}/token", "client", revocation_url=f"{url}/revoke"), {})


def drip(data: bytes, begun: threading.Event | None = None) -> Callable[[socket.socket], None]:
    """Sends `data`, then one byte every 20 ms until the peer goes away. `begun`: set with the first one."""

    def talk(peer: socket.socket) -> None:
        peer.sendall(data)
        if begun is not None:
            begun.set()
        while True:
            peer.sendall(b"x")
            time.sleep(0.02)

    return talk


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", answer(b"", length=10_000), b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 "],
    ids=["nothing", "head", "body", "after a 100"],
)
def test_a_dripping_server_cannot_hold_us(raw_server: Any, send: Send, start: bytes) -> None:
    """The deadline is for the whole request, head and body, however often a byte comes."""
    own = OwnTime()
    seen = send(ask_of(raw_server(drip(start)).url, deadline_s=0.3))
    assert own.read() < 2
    assert seen.message == "no complete answer in time"


def test_a_silent_server_cannot_hold_us(raw_server: Any, send: Send) -> None:
    """A server that accepts and says nothing costs one deadline."""
    gone = threading.Event()
    seen = send(ask_of(raw_server(lambda peer: met(gone)).url, deadline_s=0.2))
    gone.set()
    assert (seen.message, seen.status) == ("no complete answer in time", 0)


def test_a_huge_body_is_not_read(raw_server: Any, send: Send) -> None:
    """Of a gigabyte one mebibyte is read, and the rest is not waited for."""
    sent = 0

    def talk(peer: socket.socket) -> None:
        nonlocal sent
        peer.sendall(answer(b"", length=1 << 30))
        while True:
            sent += peer.send(b"x" * 65_536)

    seen = send(ask_of(raw_server(talk).url))
    assert (seen.status, len(seen.body), seen.failure) == (200, BODY_MAX, None)
    assert sent < 64 * BODY_MAX


def test_a_body_that_breaks_after_the_whole_answer(raw_server: Any) -> None:
    """Tokens that arrived are tokens, though the connection broke after them."""
    server = raw_server(lambda peer: peer.sendall(answer(PAIR, length=len(PAIR) + 100)))
    got = oauth_at(server.url).exchange("s3cret")
    assert got.outcome == "tokens"
    assert got.value is not None
    assert got.value.refresh_token == "new-refresh"


def test_a_body_that_breaks_before_it_is_whole(library: Any, raw_server: Any, send: Send) -> None:
    """Half an answer is no answer, and what arrived is kept for the verdict."""
    seen = send(ask_of(raw_server(lambda peer: peer.sendall(answer(PAIR[:-5], length=len(PAIR)))).url))
    assert (seen.failure, seen.status, seen.body) == (library.RemoteProtocolError, 200, PAIR[:-5])


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_connection_reset_after_the_request(raw_server: Any) -> None:
    """The token went out and no answer came: it may be spent."""
    got = oauth_at(raw_server(reset).url).exchange("s3cret")
    assert got.outcome == "in_doubt"
    assert "the connection broke" in str(got.error) or "ended early" in str(got.error)


def test_a_connection_closed_after_the_request(library: Any, raw_server: Any, send: Send) -> None:
    """The same with an orderly close."""
    assert send(ask_of(raw_server(lambda peer: None).url)).failure is library.RemoteProtocolError


def test_nobody_listens(library: Any, send: Send) -> None:
    """A refused connection is surely not sent, and the message says why."""
    with silent_port() as port:
        seen = send(ask_of(f"http://127.0.0.1:{port}"))
        assert (seen.failure, seen.message) == (library.ConnectError, "Connection refused")
        assert oauth_at(f"http://127.0.0.1:{port}").exchange("s3cret").outcome == "not_processed"


def test_no_such_host(library: Any, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve is surely not sent."""

    def nowhere(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    seen = send(ask_of("https://auth.test"))
    assert (seen.failure, seen.message) == (library.ConnectError, "Name or service not known")


def from_the_system(*causes: Exception) -> httpx.ConnectError:
    """A ConnectError as asynchronous code gives it when every address of a host has failed."""
    attempts = OSError("All connection attempts failed")
    attempts.__cause__ = ExceptionGroup("attempts", causes) if len(causes) > 1 else causes[0]
    failure = httpx.ConnectError(str(attempts))
    failure.__context__ = attempts
    return failure


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (httpx.ConnectError("as it says"), "as it says"),
        (httpx.ConnectError(""), "no connection"),
        (from_the_system(OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")), "Connection refused"),
        (from_the_system(OSError(errno.ENETUNREACH, "x"), OSError(errno.ECONNREFUSED, "y")), "Network is unreachable"),
        (from_the_system(socket.gaierror(socket.EAI_AGAIN, "Try again later")), "Try again later"),
        (from_the_system(ssl.SSLError(1, "wrong version number")), "wrong version number"),
    ],
)
def test_the_reason_of_a_failed_connection(world: Any, failure: Exception, words: str) -> None:
    """People read what the system said first, not how many attempts were made."""
    assert world(failure).ask("exchange").message == words


@pytest.mark.parametrize(
    "location", ["/elsewhere", "http://127.0.0.1:1/", "http://[bad", "https://auth.test:port/", "\xff"]
)
def test_redirects_are_not_followed(raw_server: Any, send: Send, location: str) -> None:
    """A redirect is an answer like any other, even one that leads nowhere: the secret stays with the host it was for."""
    head = f"HTTP/1.1 307 Away\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    server = raw_server(lambda peer: peer.sendall(head))
    seen = send(ask_of(server.url))
    assert (seen.status, seen.failure) == (307, None)
    assert server.connections == 1


def test_compressed_answers(raw_server: Any, send: Send) -> None:
    """Plain bodies are asked for; a server that compresses all the same is understood, within the same bound."""
    packed = gzip.compress(PAIR)
    server = raw_server(lambda peer: peer.sendall(answer(packed, more="Content-Encoding: gzip\r\n")))
    assert send(ask_of(server.url)).body == PAIR
    assert b"accept-encoding: identity" in server.requests[0].lower()
    bomb = gzip.compress(b"x" * (64 * BODY_MAX))
    server = raw_server(lambda peer: peer.sendall(answer(bomb, more="Content-Encoding: gzip\r\n")))
    assert len(send(ask_of(server.url)).body) == BODY_MAX
    server = raw_server(lambda peer: peer.sendall(answer(b"junk", more="Content-Encoding: br\r\n")))
    seen = send(ask_of(server.url))
    assert (seen.status, seen.body, seen.coding) == (200, b"", "br")


BOMB = b"x" * (64 * BODY_MAX)


@on_httpx
@pytest.mark.parametrize(
    ("coding", "body", "plain"),
    [
        ("br", brotli.compress(PAIR), PAIR),
        ("BR", brotli.compress(PAIR), PAIR),
        ("zstd", zstandard.compress(PAIR), PAIR),
        ("zstd", zstandard.compress(PAIR[:20]) + zstandard.compress(PAIR[20:]), PAIR),
        ("gzip, br", brotli.compress(gzip.compress(PAIR, mtime=0)), PAIR),
        ("identity", PAIR, PAIR),
        ("br", brotli.compress(BOMB, quality=5), BOMB[:BODY_MAX]),
        ("zstd", zstandard.compress(BOMB), BOMB[:BODY_MAX]),
    ],
    ids=["br", "capitals", "zstd", "two frames", "two codings", "identity", "br bomb", "zstd bomb"],
)
def test_other_codings(raw_server: Any, send: Send, coding: str, body: bytes, plain: bytes) -> None:
    """With the packages of the extra `compression`, brotli and zstd are understood too, within the same bound."""
    server = raw_server(lambda peer: peer.sendall(answer(body, more=f"Content-Encoding: {coding}\r\n")))
    seen = send(ask_of(server.url))
    assert (seen.body == plain, seen.coding) == (True, "")


@on_httpx
@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "dcb"])
def test_a_coding_that_cannot_be_undone_is_named(
    raw_server: Any, send: Send, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    """Without those packages, or for a coding that has none, the answer says what it was encoded as."""
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    body = zstandard.compress(PAIR) if coding == "zstd" else brotli.compress(PAIR)
    server = raw_server(lambda peer: peer.sendall(answer(body, more=f"Content-Encoding: {coding}\r\n")))
    seen = send(ask_of(server.url))
    assert (seen.body, seen.coding) == (b"", coding)


@on_httpx
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", PAIR),
        ("br", PAIR),
        ("gzip", gzip.compress(PAIR[:20], mtime=0) + gzip.compress(PAIR[20:], mtime=0)),
        ("gzip", gzip.compress(PAIR, mtime=0) + b"behind it"),
        ("deflate", zlib.compress(PAIR)),
        ("deflate", zlib.compress(PAIR)[2:-4]),
        ("X-GZIP", gzip.compress(PAIR, mtime=0)),
    ],
    ids=[
        "unpacked already",
        "unpacked already, br",
        "two members",
        "bytes behind it",
        "zlib",
        "bare stream",
        "old name",
    ],
)
def test_a_label_that_is_not_true_costs_no_answer(raw_server: Any, send: Send, coding: str, body: bytes) -> None:
    """What proxies leave behind: a body that they have unpacked under its old label, members in a row, a bare stream."""
    server = raw_server(lambda peer: peer.sendall(answer(body, more=f"Content-Encoding: {coding}\r\n")))
    assert send(ask_of(server.url)).body == PAIR


def test_a_whole_object_is_not_waited_on(raw_server: Any) -> None:
    """In a thread, which closes its connection anyway: the pair is there, whatever the server still means to send."""
    gate = threading.Event()

    def dawdle(peer: Any) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + PAIR)
        met(gate)

    server = raw_server(dawdle)
    seen = Clients().send(ask_of(server.url))
    gate.set()
    assert (seen.failure, seen.body) == (None, PAIR)


@on_httpx
@pytest.mark.parametrize(
    ("header", "content_type", "charset"),
    [
        ("text/html; charset=GBK", "text/html", "GBK"),
        ('text/html;a=b ; Charset = "utf-16le"', "text/html", "utf-16le"),
        ("text/html; xcharset=a", "text/html", ""),
        ("text/s3cret", NOT_SHOWN, ""),
        ("", "", ""),
    ],
)
def test_what_kind_of_text(raw_server: Any, send: Send, header: str, content_type: str, charset: str) -> None:
    """The type of an answer and its charset are known, and a type that quotes a secret is not shown as it is."""
    server = raw_server(lambda peer: peer.sendall(answer(b"", more=f"Content-Type: {header}\r\n")))
    seen = send(ask_of(server.url))
    assert (seen.content_type, seen.charset) == (content_type, charset)


def test_what_is_no_http_is_not_quoted(library: Any, raw_server: Any, send: Send) -> None:
    """A server that answers bare JSON speaks no HTTP; the parser's complaint would hold the tokens, so ours stands there."""
    seen = send(ask_of(raw_server(lambda peer: peer.sendall(PAIR + b"\r\n\r\n")).url))
    assert seen.failure is library.RemoteProtocolError
    assert "new-" not in seen.message


def test_what_the_client_logs_has_no_secret(
    library: Any, raw_server: Any, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    """The libraries log the reason phrase of an answer, which the server chooses: one that repeats the token is not logged."""
    server = raw_server(lambda peer: peer.sendall(answer(b"{}", status="400 s3cret")))
    with caplog.at_level(logging.INFO):
        send(ask_of(server.url))
    assert [record.getMessage() for record in caplog.records if record.name == library.__name__] == [
        f'HTTP Request: POST {server.url}/token "HTTP/1.1 400 Bad Request"'
    ]
    assert "s3cret" not in caplog.text


def test_no_cookie_is_kept(raw_server: Any, next_request: Any) -> None:
    """Cookies are neither read nor sent."""
    reply = answer(b"{}", more="Set-Cookie: a=b; Path=/\r\n")
    seen: list[bytes] = []

    def talk(peer: socket.socket) -> None:
        peer.sendall(reply)
        seen.append(next_request(peer))
        peer.sendall(reply)

    async def run(url: str) -> None:
        client = oauth_at(url)
        await client.poll("d")
        await client.poll("d")
        await client.aclose()

    asyncio.run(run(raw_server(talk).url))
    assert b"POST" in seen[0]
    assert b"cookie" not in seen[0].lower()


def test_polls_share_a_connection_until_the_server_closes_it(raw_server: Any, next_request: Any) -> None:
    """A login polls over one connection; a server that closes it between two polls costs nothing but a new one."""
    pending = answer(b'{"error": "authorization_pending"}', status="400 Bad Request")

    closed = threading.Semaphore(0)

    def talk(peer: socket.socket) -> None:
        peer.sendall(pending)
        if next_request(peer):
            peer.sendall(pending)
        peer.shutdown(socket.SHUT_WR)
        _wait_until_taken(peer)
        closed.release()

    server = raw_server(talk)

    async def run() -> list[str]:
        client = oauth_at(server.url)
        outcomes: list[str] = []
        for _ in range(2):
            outcomes += [(await client.poll("d")).outcome, (await client.poll("d")).outcome]
            await asyncio.to_thread(until, lambda tick_s: closed.acquire(timeout=tick_s), "the server's close")
        await client.aclose()
        return outcomes

    assert asyncio.run(run()) == ["authorization_pending"] * 4
    assert server.connections == 2


def test_each_exchange_has_a_connection_of_its_own(raw_server: Any) -> None:
    """A single-use token never goes out on a kept connection that the server may be closing."""
    server = raw_server(lambda peer: peer.sendall(answer(PAIR)))
    client = oauth_at(server.url)
    assert [client.exchange("s3cret").outcome for _ in range(3)] == ["tokens"] * 3
    assert server.connections == 3


def test_one_client_in_several_event_loops(raw_server: Any) -> None:
    """Connections belong to the loop that opened them; another loop, and one after aclose, opens its own."""
    server = raw_server(lambda peer: peer.sendall(answer(b"{}", status="404 Not Found")))
    client = oauth_at(server.url)

    async def run() -> str:
        outcome = (await client.poll("d")).outcome
        await client.aclose()
        await client.aclose()
        return outcome

    assert [asyncio.run(run()) for _ in range(3)] == ["unreachable"] * 3
    assert server.connections == 3


def test_a_loop_that_ended_is_forgotten() -> None:
    """An unclosed client is dropped with its loop."""
    client = OAuthClient(
        Endpoints("https://a.test", "https://a.test/d", "https://a.test/t", "c"),
        {},
        async_transport=httpx.MockTransport(lambda request: httpx.Response(404)),
    )
    for _ in range(3):
        asyncio.run(client.poll("d"))
    assert len(client._clients.of_loops._by_loop) == 1


def test_cancellation_passes(raw_server: Any) -> None:
    """A cancelled poll ends at once and as a cancellation, not as an outcome."""

    async def run(url: str) -> None:
        client = oauth_at(url)
        poll = asyncio.ensure_future(client.poll("d"))
        await asyncio.to_thread(met, begun)
        poll.cancel()
        with pytest.raises(asyncio.CancelledError):
            await poll
        await client.aclose()

    begun = threading.Event()
    own = OwnTime()
    asyncio.run(run(raw_server(drip(b"HTTP/1.1 200 OK\r\nX: ", begun)).url))
    assert own.read() < 2


def test_an_outer_timeout_passes(raw_server: Any) -> None:
    """A timeout of the caller stays the caller's, though it looks like ours."""

    async def run(url: str) -> None:
        client = oauth_at(url)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.poll("d")
        await client.aclose()

    asyncio.run(run(raw_server(drip(b"")).url))


def test_each_read_gets_what_is_left(clock: Any) -> None:
    """A connection's reads share one deadline; past it there is one more second, once."""

    class Stream:
        def __init__(self) -> None:
            self.timeouts: list[float | None] = []

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            self.timeouts.append(timeout)
            return b"x" * max_bytes

    stream = Stream()
    read = stream.read
    limit = Deadline(ask_of("https://auth.test", deadline_s=60.0), clock)
    limit.watch("http11.send_request_body.complete", {"return_value": stream})
    assert stream.read == read
    limit.watch("connection.connect_tcp.complete", {"return_value": stream})
    assert stream.read(1, timeout=30.0) == b"x"
    clock.sleep(50)
    stream.read(1, timeout=30.0)
    stream.read(1)
    clock.sleep(500)
    stream.read(1, timeout=30.0)
    assert stream.timeouts == [30.0, 10.0, 10.0, deadline.GRACE_S]
    clock.sleep(deadline.GRACE_S)
    with pytest.raises(DeadlineError):
        stream.read(1, timeout=30.0)


class StoppedClock(SystemClock):
    """The process is stopped for a thousand seconds at its third look at the clock."""

    looks = 0

    def monotonic_s(self) -> float:
        self.looks += 1
        return 0.0 if self.looks <= 3 else 1000.0


def test_connecting_has_one_deadline(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses a name has, they share the time for connecting, and the handshake gets the rest of it."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [object()] * 4)
    limit = Deadline(ask_of("https://auth.test", deadline_s=60.0, connect_timeout_s=5.0), clock)
    connect: dict[str, Any] = {"host": "auth.test", "port": 443, "timeout": 5.0}
    limit.watch("connection.connect_tcp.started", connect)
    assert connect["timeout"] == 5.0 / 4
    clock.sleep(4.0)
    handshake: dict[str, Any] = {"timeout": 5.0}
    limit.watch("connection.start_tls.started", handshake)
    assert handshake["timeout"] == 1.0
    clock.sleep(4.0)
    limit.watch("connection.start_tls.started", handshake)
    assert 0 < handshake["timeout"] < 0.01


def test_a_name_with_many_dead_addresses(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over real sockets: four addresses whose queues are full cost one connect timeout, not four."""
    full, port = [], 0
    for number in range(2, 6):
        listener = socket.socket()
        listener.bind((f"127.0.0.{number}", port))
        port = listener.getsockname()[1]
        listener.listen(0)
        full.append(listener)
        for _ in range(4):
            peer = socket.socket()
            peer.setblocking(False)
            peer.connect_ex(listener.getsockname())
            full.append(peer)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{number}", port)) for number in range(2, 6)]
    usual = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: found if host == "dead.example" else usual(host, *a, **k)
    )
    own = OwnTime()
    seen = Clients().send(ask_of(f"https://dead.example:{port}", connect_timeout_s=0.8))
    took_s = own.read()
    for each in full:
        each.close()
    assert seen.failure is library.ConnectTimeout
    assert took_s < 2.0


def test_polls_keep_their_connection(library: Any) -> None:
    """An event loop's connections outlive the longest wait between two polls."""

    async def kept_s() -> float:
        clients = Clients()
        client = clients.of_loops._of_this_loop(ask_of("https://auth.test"))
        await clients.aclose()
        pool: Any = client._transport._inner  # type: ignore[union-attr]
        return float(pool._pool._keepalive_expiry)

    assert asyncio.run(kept_s()) > 1.2 * (INTERVAL_MAX_S + 30)


def test_what_arrived_while_the_process_was_stopped_counts(raw_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the deadline the answer that lies in the socket is still read to its end."""
    monkeypatch.setattr(deadline, "GRACE_S", NO_LIMIT_S)  # the clock stands, and the server's thread may be late
    body = b" " * 900_000 + PAIR
    seen = Clients(clock=StoppedClock()).send(ask_of(raw_server(lambda peer: peer.sendall(answer(body))).url))
    assert (seen.failure, seen.body) == (None, body)


def test_a_transport_without_sockets_keeps_the_deadline_too(world: Any, broken: Any) -> None:
    """Between two chunks the clock is looked at: one grace second past the end it is over, and the part that came is
    classified."""
    it = world(None)
    stream = broken(b'{"error":', *[b" "] * 100, between=lambda: it.clock.sleep(1.5))
    it.reply = httpx.Response(200, stream=stream)
    got = it.ask("exchange")
    assert got.outcome == "in_doubt"
    assert 60 <= it.clock.now_s - type(it.clock)().now_s < 64


# --- TLS and proxies -----------------------------------------------------------------------------------------------------


class WaitingClock(SystemClock):
    """It stands until `goes` is set, and is then past every deadline."""

    def __init__(self) -> None:
        self.goes = threading.Event()

    def monotonic_s(self) -> float:
        return super().monotonic_s() + 1000.0 if self.goes.is_set() else 0.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one PEM file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def tls_server(certificate: Path, next_request: Any) -> Iterator[Callable[[Callable[[ssl.SSLSocket], None]], str]]:
    """Starts TLS servers that serve one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    threads: list[threading.Thread] = []

    def start(talk: Callable[[ssl.SSLSocket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(NO_LIMIT_S)

        def serve() -> None:
            with listener:
                peer, _ = listener.accept()
                peer.settimeout(NO_LIMIT_S)
                try:
                    with context.wrap_socket(peer, server_side=True) as inside:
                        next_request(inside)
                        talk(inside)
                except OSError:
                    peer.close()

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return f"https://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for thread in threads:
        joined(thread)


def test_tls_with_a_certificate_of_the_environment(
    tls_server: Any, send: Send, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE is honoured, and a dripping server is bounded behind TLS as well."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert send(ask_of(tls_server(lambda peer: peer.sendall(answer(PAIR))))).body == PAIR
    clock = WaitingClock()
    seen = send(ask_of(tls_server(drip(b"HTTP/1.1 200 OK\r\nX: ", clock.goes)), deadline_s=60.0), clock)
    assert clock.goes.is_set()
    assert seen.message == "no complete answer in time"


AWAY = "https://auth.test/token"
PROXY = {"ALL_PROXY": "http://u:s3cret@proxy.test:3128"}


@pytest.mark.parametrize(
    ("url", "settings", "host"),
    [
        (AWAY, {}, None),
        (AWAY, PROXY, "proxy.test"),
        (AWAY, {"HTTPS_PROXY": "proxy.test:3128"}, "proxy.test"),
        (AWAY, {"HTTPS_PROXY": "http://one.test", **PROXY}, "one.test"),
        (AWAY, {"HTTP_PROXY": "http://proxy.test"}, None),
        ("http://auth.test/token", {"HTTP_PROXY": "http://proxy.test"}, "proxy.test"),
        ("http://localhost:8080/", PROXY, None),
        ("https://127.0.0.1/", PROXY, "proxy.test"),
        ("http://127.9.9.9:1/", PROXY, None),
        ("http://[::1]:8080/", PROXY, None),
        ("http://127.0.0.1/", {"ALL_PROXY": "http://user:s3cret/word@proxy.test"}, None),
        (AWAY, {**PROXY, "NO_PROXY": "other.test, auth.test"}, None),
        (AWAY, {**PROXY, "NO_PROXY": ".test"}, None),
        (AWAY, {**PROXY, "NO_PROXY": "localhost, *"}, None),
        ("https://auth.test:8443/", {**PROXY, "NO_PROXY": "auth.test:8443"}, None),
        ("https://[2001:db8::1]:8443/", {**PROXY, "NO_PROXY": "2001:db8::1"}, None),
        (
            AWAY,
            {**PROXY, "NO_PROXY": "fe80::/10,fd00::/8,[::1],\u00e9.example,@,a b,*:80,http://127.0.0.1"},
            "proxy.test",
        ),
    ],
)
def test_which_proxy(
    library: Any, url: str, settings: dict[str, str], host: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http to loopback needs no proxy, and no entry of NO_PROXY stops anything."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(url, library)
    assert (proxy.url.host if proxy else None) == host


@pytest.mark.parametrize(
    "address",
    [
        "http://user:s3cret/word@proxy.test:3128",
        "http://user:pa#s3cret@proxy.test:3128",
        "http://user:s3cret?x@proxy.test:3128",
        "gopher://u:s3cret@proxy.test",
        "http://u:s3cret@[::1",
        "http://u:s3cret@",
    ],
)
def test_a_proxy_that_cannot_be_used(library: Any, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, and nothing of its value: it may hold a password."""
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(UnsendableError) as raised:
        proxy_for(AWAY, library)
    assert "HTTPS_PROXY" in str(raised.value)
    assert not any(word in str(raised.value) for word in ("s3cret", "pa'", "user", "proxy.test"))
    assert proxy_for("http://127.0.0.1:1/", library) is None


PROXIED = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.mark.parametrize("settings", [{}, {"NO_PROXY": "fe80::/10,[::1]"}, dict.fromkeys(PROXIED, "http://u:s/p@[")])
def test_loopback_is_asked_directly(
    raw_server: Any, send: Send, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to this machine stays on it: the proxy never sees the refresh token, whatever the settings are."""
    proxy = raw_server(lambda peer: peer.sendall(answer(b"", status="403 Proxy")))
    for name, value in (dict.fromkeys(PROXIED, proxy.url) | settings).items():
        monkeypatch.setenv(name, value)
    server = raw_server(lambda peer: peer.sendall(answer(PAIR)))
    assert send(ask_of(server.url)).body == PAIR
    assert (proxy.connections, server.connections) == (0, 1)


def test_no_proxy_that_says_nothing_stops_nothing(
    library: Any, raw_server: Any, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An odd entry of NO_PROXY is passed over, with a proxy and without one."""
    monkeypatch.setenv("NO_PROXY", "fe80::/10,fd00::/8,[::1],\u00e9.example")
    refused = raw_server(lambda peer: peer.sendall(answer(b"", status="407 No")))
    monkeypatch.setenv("HTTPS_PROXY", refused.url)
    assert send(ask_of("https://auth.test")).failure is library.ProxyError
    monkeypatch.delenv("HTTPS_PROXY")
    with silent_port() as port:
        assert send(ask_of(f"http://localhost:{port}", plain_http=True)).failure is library.ConnectError


def test_a_proxy_that_refuses_the_tunnel(
    library: Any, raw_server: Any, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 407 on CONNECT: the token was not sent, and the message is the proxy's."""
    server = raw_server(lambda peer: peer.sendall(answer(b"", status="407 Proxy Authentication Required")))
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    seen = send(ask_of("https://auth.test"))
    assert (seen.failure, seen.message) == (library.ProxyError, "the proxy answers HTTP 407")
    assert server.requests[0].startswith(b"CONNECT auth.test:443")
    assert oauth_at("https://auth.test").exchange("s3cret").outcome == "not_processed"


def test_a_dripping_proxy_cannot_hold_us(raw_server: Any, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to CONNECT has the same deadline."""
    monkeypatch.setenv("HTTPS_PROXY", raw_server(drip(b"HTTP/1.1 200 OK\r\nX: ")).url)
    assert send(ask_of("https://auth.test", deadline_s=0.3)).message == "no complete answer in time"


# --- the models API, with clients of its own -----------------------------------------------------------------------------


def test_models_without_a_given_client(library: Any, raw_server: Any) -> None:
    """The models are fetched over a client that is opened for it and closed again, in a loop and in a thread."""
    listing = answer(b'{"data": []}', more='ETag: "v1"\r\n')
    server = raw_server(lambda peer: peer.sendall(listing))
    for got in (
        asyncio.run(fetch_models(server.url, "bearer", {"X-Msh-Platform": "kimi_cli"})),
        fetch_models_sync(server.url + "/", "bearer", {"X-Msh-Platform": "kimi_cli"}),
    ):
        assert got.outcome == "models"
        assert got.value is not None
        assert got.value.etag == '"v1"'
    assert all(request.startswith(b"GET /models HTTP/1.1") for request in server.requests)
