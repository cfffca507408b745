"""Each adapter in the real library that it is for, against the emulator: fresh, after a 401, and forty 401s at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import httpx2
import mcp
import openai
import pytest
import requests
import uvicorn
from house.patience import NO_LIMIT_S
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from serving.conftest import Standstill
from websockets.asyncio.server import serve
from websockets.exceptions import InvalidStatus

from kimi_auth import BearerAuth, Session
from kimi_auth.clients import (
    AiohttpMiddleware,
    AnthropicCredentials,
    AsyncAnthropicCredentials,
    RequestsAuth,
    WebsocketAuth,
)
from kimi_auth.session import components_of
from kimi_auth.testing import Emulator
from kimi_auth.token import Token

MANY = 40


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """The service of the test: a login by device grant, and an API that knows which tokens live."""
    with Emulator(approve="auto", approve_after_s=0, interval_s=0) as running:
        yield running


@pytest.fixture
def login(emulator: Emulator, tmp_path: Path) -> Session:
    """A session that is signed in there."""
    session = Session(tmp_path / "share", environ=emulator.env, clock=Standstill())
    grant, store = emulator.state.issue(), components_of(session).store
    issuer = emulator.oauth_host
    pair = Token(grant.access_token, grant.refresh_token, time.time() + 900, 900, grant.scope, "Bearer", issuer)
    with store.locked(NO_LIMIT_S):
        store.put(pair)
    return session


# --- clients that ask the models API, each as a program would make it --------------------------------------------------

Ask = Callable[[], Awaitable[object]]
"""One request; raises what the library raises for an answer that is not good."""


@asynccontextmanager
async def by_httpx2(login: Session) -> AsyncIterator[Ask]:
    async with httpx2.AsyncClient(auth=BearerAuth(login), trust_env=False, timeout=NO_LIMIT_S) as client:

        async def ask() -> object:
            return (await client.get(f"{login.api_origin}/models")).raise_for_status()

        yield ask


@asynccontextmanager
async def by_openai(login: Session) -> AsyncIterator[Ask]:
    http = httpx2.AsyncClient(auth=BearerAuth(login), trust_env=False, timeout=NO_LIMIT_S)
    async with openai.AsyncOpenAI(api_key="-", base_url=login.api_origin, http_client=http, max_retries=0) as client:

        async def ask() -> object:
            return await client.models.list()

        yield ask


@asynccontextmanager
async def by_anthropic(login: Session) -> AsyncIterator[Ask]:
    async with anthropic.AsyncAnthropic(
        base_url=login.api_origin.removesuffix("/v1"),
        credentials=AsyncAnthropicCredentials(login),
        timeout=NO_LIMIT_S,
        max_retries=1,
    ) as client:

        async def ask() -> object:
            return await client.models.list()

        yield ask


@asynccontextmanager
async def by_anthropic_in_threads(login: Session) -> AsyncIterator[Ask]:
    with (
        anthropic.Anthropic(
            base_url=login.api_origin.removesuffix("/v1"),
            credentials=AnthropicCredentials(login),
            timeout=NO_LIMIT_S,
            max_retries=1,
        ) as client,
        in_threads(client.models.list) as ask,
    ):
        yield ask


@asynccontextmanager
async def by_requests(login: Session) -> AsyncIterator[Ask]:
    with requests.Session() as client:
        client.trust_env = False
        client.auth = RequestsAuth(login)
        client.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=MANY))

        def get() -> None:
            client.get(f"{login.api_origin}/models", timeout=NO_LIMIT_S).raise_for_status()

        with in_threads(get) as ask:
            yield ask


@asynccontextmanager
async def by_aiohttp(login: Session) -> AsyncIterator[Ask]:
    async with aiohttp.ClientSession(middlewares=[AiohttpMiddleware(login)]) as client:

        async def ask() -> object:
            async with client.get(f"{login.api_origin}/models") as response:
                response.raise_for_status()
                return await response.read()

        yield ask


@contextmanager
def in_threads(work: Callable[[], object]) -> Iterator[Ask]:
    with ThreadPoolExecutor(MANY) as pool:

        async def ask() -> object:
            return await asyncio.get_running_loop().run_in_executor(pool, work)

        yield ask


@asynccontextmanager
async def by_mcp(login: Session) -> AsyncIterator[Ask]:
    """One client of the emulator's MCP server, connected; each question is a call of its tool."""
    url = f"{login.api_origin}/mcp"
    async with (
        httpx2.AsyncClient(auth=BearerAuth(login), trust_env=False, timeout=NO_LIMIT_S) as http,
        mcp.Client(streamable_http_client(url, http_client=http)) as client,
    ):

        async def ask() -> object:
            return await client.call_tool("echo", {"text": "hello"})

        yield ask


@asynccontextmanager
async def by_mcp_connecting(login: Session) -> AsyncIterator[Ask]:
    """A client for each call: a 401 meets the first message that the SDK sends."""
    url = f"{login.api_origin}/mcp"
    async with httpx2.AsyncClient(auth=BearerAuth(login), trust_env=False, timeout=NO_LIMIT_S) as http:

        async def ask() -> object:
            async with mcp.Client(streamable_http_client(url, http_client=http)) as client:
                return await client.call_tool("echo", {"text": "hello"})

        yield ask


WAYS = [
    by_httpx2,
    by_openai,
    by_anthropic,
    by_anthropic_in_threads,
    by_requests,
    by_aiohttp,
    by_mcp,
    by_mcp_connecting,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.removeprefix("by_"))
def test_a_401_under_way(way: Any, login: Session, emulator: Emulator) -> None:
    """A token that the server drops costs one renewal and no error."""

    async def run() -> None:
        async with way(login) as ask:
            await ask()
            assert emulator.state.counts["refreshes"] == 0
            emulator.state.expire_access()
            await ask()
            assert emulator.state.counts["refreshes"] == 1

    asyncio.run(run())


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.removeprefix("by_"))
def test_a_token_that_is_refused_again(
    way: Any, login: Session, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A new client whose first token is refused within 30 s of a renewal that another 401 caused gets the 401 and no
    rotation; a warning in the log says why, and for how long, since an SDK's own error may not even name the 401."""
    emulator.state.expire_access()
    assert login.rejected_sync(login.access_token_sync())
    emulator.state.expire_access()

    async def run() -> None:
        async with way(login) as ask:
            await ask()

    with caplog.at_level("WARNING", "kimi_auth"), pytest.raises(Exception):  # noqa: B017,PT011 - each library has its own
        asyncio.run(run())
    assert emulator.state.counts["refreshes"] == 1
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("soon after it was renewed" in it and "not tried again for 30 s" in it for it in said)


MUST_SHOW = (by_openai, by_anthropic, by_mcp, by_mcp_connecting)
FORTY = [it if it in MUST_SHOW else pytest.param(it, marks=pytest.mark.prove) for it in WAYS]


@pytest.mark.parametrize("first", [False, True], ids=["under way", "first token"])
@pytest.mark.parametrize("way", FORTY, ids=lambda way: way.__name__.removeprefix("by_"))
def test_forty_401s_at_once(way: Any, first: bool, login: Session, emulator: Emulator) -> None:
    """However many requests are refused together, also before a client had any answer: one rotation, and each is answered."""

    async def run() -> None:
        if first:
            emulator.state.expire_access()
        async with way(login) as ask:
            if not first:
                await ask()
                emulator.state.expire_access()
            await asyncio.gather(*(ask() for _ in range(MANY)))

    asyncio.run(run())
    assert emulator.state.counts["refreshes"] == 1


# --- MCP: a server of the real SDK, behind a check of the token --------------------------------------------------------


@contextmanager
def mcp_server(emulator: Emulator) -> Iterator[str]:
    """The URL of a server with one tool, which answers 401 to every token that the emulator does not accept."""
    server = MCPServer("of the test")

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    inner = server.streamable_http_app(json_response=True, stateless_http=True)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            bearer = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
            if emulator.state.judge(bearer) != "ok":
                await send({"type": "http.response.start", "status": 401, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
        await inner(scope, receive, send)

    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="on"))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        threading.Event().wait(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/mcp"
    running.should_exit = True
    thread.join()


def test_an_mcp_client(login: Session, emulator: Emulator) -> None:
    """The SDK's own transport, with our auth: calls of a tool survive a 401, and forty of them cost one rotation."""

    async def run(url: str) -> None:
        auth = BearerAuth(login, origin=url)
        async with (
            httpx2.AsyncClient(auth=auth, trust_env=False, timeout=NO_LIMIT_S) as http,
            mcp.Client(streamable_http_client(url, http_client=http)) as client,
        ):
            assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
            emulator.state.expire_access()
            sums = await asyncio.gather(*(client.call_tool("add", {"a": n, "b": 1}) for n in range(MANY)))
            assert [it.structured_content for it in sums] == [{"result": n + 1} for n in range(MANY)]

    with mcp_server(emulator) as url:
        asyncio.run(run(url))
    assert emulator.state.counts["refreshes"] == 1


# --- a callable as the key ----------------------------------------------------------------------------------------------


def test_a_callable_as_the_key(login: Session, emulator: Emulator) -> None:
    """openai asks it before each request: the token that ended is not sent."""
    key, url = login.access_token_sync, login.api_origin
    with openai.OpenAI(api_key=key, base_url=url, timeout=NO_LIMIT_S, max_retries=0) as client:
        client.models.list()
        emulator.state.expire_access()
        login.access_token_sync(refresh=True)
        client.models.list()
    assert emulator.state.counts["refreshes"] == 1


def test_a_client_that_is_kept_fresh(login: Session, emulator: Emulator) -> None:
    """openai's client, which reads its key for each request, has each new token; where it sends elsewhere it is refused."""
    with openai.OpenAI(api_key="-", base_url=login.api_origin, timeout=NO_LIMIT_S, max_retries=0) as client:
        login.attach(client)
        client.models.list()
        emulator.state.expire_access()
        login.access_token_sync(refresh=True)
        client.models.list()
    with openai.OpenAI(api_key="-") as client, pytest.raises(ValueError, match="base_url"):
        login.attach(client)
    assert emulator.state.counts["refreshes"] == 1


def test_a_provider_for_a_loop(login: Session) -> None:
    """An async client takes the session's own method."""

    async def run() -> None:
        key, url = login.access_token, login.api_origin
        async with openai.AsyncOpenAI(api_key=key, base_url=url, timeout=NO_LIMIT_S, max_retries=0) as client:
            await client.models.list()

    asyncio.run(run())


# --- WebSockets -------------------------------------------------------------------------------------------------------


def test_a_websocket(login: Session, emulator: Emulator) -> None:
    """A handshake that is refused is made once more with a newer token; another origin gets none."""
    saw: list[str | None] = []

    def check(connection: Any, request: Any) -> Any:
        saw.extend(request.headers.get_all("Authorization") or [None])
        authorization = saw[-1]
        bearer = (authorization or "").removeprefix("Bearer ")
        return None if emulator.state.judge(bearer) == "ok" else connection.respond(401, "no\n")

    async def echo(connection: Any) -> None:
        await connection.send(await connection.recv())

    async def run() -> None:
        async with serve(echo, "127.0.0.1", 0, process_request=check, open_timeout=NO_LIMIT_S) as server:
            uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
            auth = WebsocketAuth(login, origin=uri.replace("ws:", "http:"))
            emulator.state.expire_access()
            own = {"X-Own": "yes", "authorization": "Bearer of-the-caller"}
            async with await auth.connect(uri, additional_headers=own, open_timeout=NO_LIMIT_S) as connection:
                await connection.send("hello")
                assert await connection.recv() == "hello"
            elsewhere = WebsocketAuth(login)
            assert await elsewhere.headers(uri) == {}
            with pytest.raises(InvalidStatus):
                await elsewhere.connect(uri, open_timeout=NO_LIMIT_S)
            with pytest.raises(InvalidStatus):
                await elsewhere.connect(uri, additional_headers=own, open_timeout=NO_LIMIT_S)

    asyncio.run(run())
    assert emulator.state.counts["refreshes"] == 1
    assert [it and it.startswith("Bearer ") and it != "Bearer of-the-caller" for it in saw] == [True, True, None, False]
