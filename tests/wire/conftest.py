"""What the tests of the wire share: a clock that stands still, scripted transports, and raw servers on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import httpx2
import pytest
from house.libraries import in_library
from house.patience import NO_LIMIT_S, joined

from kimi_auth.wire import Answer, Endpoints, OAuthClient, fetch_account, fetch_models, fetch_models_sync

HOST = "https://auth.test"
NOW_S = 1_800_000_000.0


class StillClock:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s

    def boottime_s(self) -> float:
        return self.now_s

    def boot_id(self) -> str:
        return "boot"

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.now_s += seconds


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream, httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that gives its chunks and then fails."""

    def __init__(
        self, *chunks: bytes, failure: Exception | None = None, between: Callable[[], None] | None = None
    ) -> None:
        self._chunks, self._failure, self._between = chunks, failure, between

    def in_library(self, library: Any) -> Broken:
        return Broken(*self._chunks, failure=in_library(self._failure, library), between=self._between)

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            yield chunk
            if self._between:
                self._between()
        if self._failure:
            raise self._failure

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


@dataclass
class World:
    """A client whose network is a script: each request is kept and gets `reply`, in the classes of `library`."""

    reply: Reply
    library: Any = httpx
    clock: StillClock = field(default_factory=StillClock)
    requests: list[httpx.Request] = field(default_factory=list)
    revoked_codes: frozenset[str] = frozenset({"invalid_grant", "login_gone"})
    revocation_url: str = f"{HOST}/revoke"
    host: str = HOST
    headers: dict[str, str] = field(default_factory=lambda: {"X-Msh-Platform": "kimi_cli"})
    plain_http: bool = False
    resource: str = ""
    audience: str = ""
    client_secret: str = ""
    auth_method: Any = "client_secret_basic"

    def handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        reply = self.reply(request) if callable(self.reply) else self.reply
        reply = in_library(reply, self.library)
        if isinstance(reply, Exception):
            raise reply
        return reply  # type: ignore[no-any-return]

    @property
    def transport(self) -> Any:
        return self.library.MockTransport(self.handle)

    @property
    def oauth(self) -> OAuthClient:
        endpoints = Endpoints(
            issuer=self.host,
            device_authorization_url=f"{self.host}/device",
            token_url=f"{self.host}/token",
            client_id="client",
            revocation_url=self.revocation_url,
            revoked_codes=self.revoked_codes,
            resource=self.resource,
            audience=self.audience,
            client_secret=self.client_secret,
            auth_method=self.auth_method,
        )
        return OAuthClient(
            endpoints,
            self.headers,
            transport=self.transport,
            async_transport=self.transport,
            clock=self.clock,
            plain_http=self.plain_http,
        )

    def ask(self, request: str, secret: str = "s3cret-of-the-request") -> Answer[Any, Any]:
        """The answer to one request, by the name of its table."""
        match request:
            case "device code":
                return asyncio.run(self.oauth.request_code())
            case "poll":
                return asyncio.run(self.oauth.poll(secret))
            case "exchange":
                return self.oauth.exchange(secret)
            case "revoke":
                return self.oauth.revoke(secret, "refresh_token")
            case "models":
                return asyncio.run(self.models(secret))
            case "models by etag":
                return self.models_sync(secret, etag='"v1"')
            case "account":
                transport = self.library.MockTransport(self.handle)
                asked = fetch_account(f"{self.host}/me", secret, self.headers, clock=self.clock, transport=transport)
                return asyncio.run(asked)
        raise KeyError(request)

    async def models(self, bearer: str, **more: Any) -> Answer[Any, Any]:
        async with self.library.AsyncClient(transport=self.transport) as client:
            return await fetch_models(self.host, bearer, self.headers, client=client, clock=self.clock, **more)

    def models_sync(self, bearer: str, **more: Any) -> Answer[Any, Any]:
        with self.library.Client(transport=self.transport) as client:
            return fetch_models_sync(self.host, bearer, self.headers, client=client, clock=self.clock, **more)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback servers are reached directly, whatever the environment says."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def world(library: Any) -> Callable[..., World]:
    """Worlds whose programs have loaded one library, first the one and then the other."""
    return partial(World, library=library)


@pytest.fixture
def broken() -> type[Broken]:
    return Broken


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


Talk = Callable[[socket.socket], None]


@dataclass
class RawServer:
    """A server of raw bytes on loopback. `connections` counts those it accepted."""

    url: str
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


def read_request(peer: socket.socket) -> bytes:
    """One request, head and body by Content-Length; b"" when the peer has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = peer.recv(65536)
        if not chunk:
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += peer.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def next_request() -> Callable[[socket.socket], bytes]:
    return read_request


@pytest.fixture
def raw_server() -> Iterator[Callable[[Talk], RawServer]]:
    """Starts servers that read one request and hand the connection to a function of the test."""
    stop = threading.Event()
    threads: list[threading.Thread] = []
    listeners: list[socket.socket] = []

    def start(talk: Talk) -> RawServer:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0.01)
        server = RawServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
        listeners.append(listener)

        def serve() -> None:
            while not stop.is_set():
                try:
                    peer, _ = listener.accept()
                except TimeoutError:
                    continue
                server.connections += 1
                with peer:
                    peer.settimeout(NO_LIMIT_S)
                    try:
                        server.requests.append(read_request(peer))
                        talk(peer)
                    except OSError:
                        pass

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return server

    yield start
    stop.set()
    for thread in threads:
        joined(thread)
    for listener in listeners:
        listener.close()
