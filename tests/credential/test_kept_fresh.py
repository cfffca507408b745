"""`Session.kept_fresh` from any beginning: signed out, offline, revoked; and which key clients hold when no login serves."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from kimi_auth.clients import BearerAuth
from kimi_auth.clock import VirtualClock
from kimi_auth.credential.token_refresh import token_from
from kimi_auth.errors import NotSignedIn, Revoked, StorageError, Unreachable
from kimi_auth.session import Session
from kimi_auth.store import MemoryStore, Snapshot
from kimi_auth.testing import SimulatedServer
from kimi_auth.token import Token
from kimi_auth.wire import Answer

OFFLINE: Answer[Any, Any] = Answer("not_processed", error=Unreachable("no connection"))
STATIC = "sk-static"
LATER_S = 130.0
"""Past every backoff and back-off of a network that has come back."""


class World:
    """A session, its server and its clock."""

    def __init__(self, share_dir: Path) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.server = SimulatedServer(self.clock)
        self.share_dir = share_dir
        self.session = self.another()

    def another(self) -> Session:
        return Session(self.share_dir, environ={}, clock=self.clock, store=self.store, server=self.server)

    def sign_in(self, *, age_s: float = 0.0) -> Token:
        token = token_from(self.server.issue(), sent_at_s=self.clock.wall_s(), issuer="https://auth.kimi.com")
        with self.store.locked(0):
            self.store.put(token)
        self.clock.advance(age_s)
        return token

    @property
    def stored(self) -> str:
        token = self.store.read().token
        return token.access_token if token else ""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Renewals run in the caller's thread, as at exit, so that virtual time cannot pass while they do."""
    start = threading.Thread.start

    def choosy(thread: threading.Thread) -> None:
        if thread.name == "kimi-auth renewal":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", choosy)
    return World(tmp_path)


class Client:
    """An openai style client."""

    def __init__(self, api_key: str) -> None:
        self.api_key = api_key


class Provider:
    """A kosong style provider."""

    def __init__(self, api_key: str) -> None:
        self.client = Client(api_key)


# --- how a block begins ----------------------------------------------------------------------------------------------


def never(world: World) -> None:
    """Signed out."""


def out(world: World) -> None:
    world.sign_in()
    world.session.logout_sync()


def revoked(world: World) -> None:
    world.sign_in(age_s=1000)
    world.server.end_logins()


def corrupt(world: World) -> None:
    world.sign_in()
    world.store.spoil()


BEGINNINGS: dict[str, tuple[Callable[[World], None], str]] = {
    "never signed in": (never, "absent"),
    "signed out": (out, "absent"),
    "revoked": (revoked, "revoked"),
    "corrupt": (corrupt, "corrupt"),
}


@pytest.mark.parametrize(("begin", "state"), BEGINNINGS.values(), ids=BEGINNINGS)
def test_begins_without_a_login(world: World, begin: Callable[[World], None], state: str) -> None:
    """Nothing is raised: clients have their static key or nothing, and a later login reaches them."""
    begin(world)
    client, provider, told = Client(STATIC), Provider(""), list[str]()

    async def main() -> None:
        async with world.session.kept_fresh(client, provider, told.append) as session:
            assert session.status().state == state
            assert (client.api_key, provider.client.api_key, told[-1:]) == (STATIC, "", [""])
            await world.clock.sleep_async(7)
            token = world.sign_in().access_token
            await world.clock.sleep_async(2)
            assert {client.api_key, provider.client.api_key, told[-1]} == {token}

    asyncio.run(main())


def test_begins_offline(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A token that has run out and no network: clients keep what they have, it is said, and the first answer heals it."""
    old = world.sign_in(age_s=1000).access_token
    client = Client(old)
    away = True

    def exchange(*args: Any, **options: Any) -> Any:
        return OFFLINE if away else real(*args, **options)

    real, world.server.exchange = world.server.exchange, exchange  # type: ignore[method-assign]

    async def main() -> None:
        nonlocal away
        async with world.session.kept_fresh(client):
            assert client.api_key == old
            await world.clock.sleep_async(600)
            assert client.api_key == old
            away = False
            await world.clock.sleep_async(LATER_S)
            assert client.api_key == world.stored != old

    with caplog.at_level(logging.INFO, "kimi_auth"):
        asyncio.run(main())
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said
    assert all("not kept fresh" in line for line in said)
    assert old not in caplog.text


def test_a_bug_still_ends_the_entry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that is no expected failure is not swallowed."""
    monkeypatch.setattr("kimi_auth.credential.age.Refresher.look", lambda *_: 1 / 0)

    async def main() -> None:
        async with world.session.kept_fresh():
            raise AssertionError("the block began")

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())


# --- how a login ends while clients run ------------------------------------------------------------------------------


async def here(world: World, _bearer: str) -> None:
    await world.session.logout()


async def elsewhere(world: World, _bearer: str) -> None:
    world.another().logout_sync()
    await world.clock.sleep_async(2)


async def by_the_server(world: World, bearer: str) -> None:
    """The server ends the login, and a client is told so by a 401."""
    world.server.end_logins()
    assert await world.session.rejected(bearer) is None


async def by_the_server_at_renewal(world: World, _bearer: str) -> None:
    """The server ends the login, and no request notices before the token has run out."""
    world.server.end_logins()
    await world.clock.sleep_async(1000)


ENDS = (here, elsewhere, by_the_server, by_the_server_at_renewal)


@pytest.mark.parametrize("static", ["", STATIC])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_login_ends(world: World, end: Any, static: str) -> None:
    """Every kind of client has its static key back, or nothing; no client keeps a token that has ended."""
    token = world.sign_in().access_token
    client, provider, told = Client(static), Provider(static), list[str]()
    raw = httpx.AsyncClient(headers={"Authorization": f"Bearer {static}"} if static else {})
    from_before = Client(token)  # built with the token itself, as most programs do it

    async def held() -> list[str]:
        request = raw.build_request("GET", world.session.api_origin)
        for hook in raw.event_hooks["request"]:
            await hook(request)
        header = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return [client.api_key, provider.client.api_key, header, from_before.api_key, told[-1]]

    async def main() -> None:
        async with raw, world.session.kept_fresh(client, provider, raw, told.append, from_before):
            assert await held() == [token] * 5
            await end(world, token)
            assert await held() == [static, static, static, "", ""]

    asyncio.run(main())


KEY_OF_THE_CONFIG = "sk-of-the-config"
CONFIG = f"""
[providers."managed:kimi-code"]
type = "kimi"
base_url = "https://api.kimi.com/coding/v1"
api_key = "{KEY_OF_THE_CONFIG}"
oauth = {{ storage = "file", key = "oauth/kimi-code" }}
"""


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_the_key_of_the_config(world: World, end: Any) -> None:
    """The platform's static key in config.toml serves clients that have none of their own, once no login does; a logout
    takes it out."""
    (world.share_dir / "config.toml").write_text(CONFIG)
    token = world.sign_in().access_token
    mine, none, provider, told = Client(STATIC), Client(""), Provider(""), list[str]()
    sent: list[str] = []

    def platform(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Authorization"].removeprefix("Bearer "))
        return httpx.Response(200 if world.server.is_live(sent[-1]) or sent[-1] == KEY_OF_THE_CONFIG else 401)

    async def main() -> None:
        api = httpx.AsyncClient(auth=BearerAuth(world.session), transport=httpx.MockTransport(platform))
        async with api, world.session.kept_fresh(mine, none, provider, told.append):
            assert (await api.get(world.session.api_origin)).status_code == 200
            await end(world, token)
            if end in {here, elsewhere}:
                assert world.session.__static_key__() == ""
                with pytest.raises(NotSignedIn):
                    await api.get(world.session.api_origin)
                assert (mine.api_key, none.api_key, provider.client.api_key, told[-1]) == (STATIC, "", "", "")
            else:
                key = KEY_OF_THE_CONFIG
                assert (await api.get(world.session.api_origin)).status_code == 200
                assert (mine.api_key, none.api_key, provider.client.api_key, told[-1]) == (STATIC, key, key, "")

    asyncio.run(main())
    assert sent == ([token] if end in {here, elsewhere} else [token, KEY_OF_THE_CONFIG])


def test_a_config_that_cannot_be_read_has_no_key(world: World) -> None:
    """Then there is none; work goes on without it."""
    (world.share_dir / "config.toml").write_text("= no")
    assert world.session.__static_key__() == ""


# --- a rejected bearer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["async", "sync"])
def test_why_there_is_no_other_token(world: World, caplog: pytest.LogCaptureFixture, how: str) -> None:
    """None says that there is none; the log says why, with the next step and without the token."""
    bearer = world.sign_in().access_token
    world.server.end_logins()
    with caplog.at_level(logging.INFO, "kimi_auth.session"):
        if how == "async":
            assert asyncio.run(world.session.rejected(bearer)) is None
        else:
            assert world.session.rejected_sync(bearer) is None
    (record,) = [record for record in caplog.records if record.name == "kimi_auth.session"]
    assert "sign in again: kimi-auth login" in record.getMessage()
    assert bearer not in caplog.text
    with pytest.raises(Revoked):  # nor is the rejected one given out again, though its time has not come
        world.session.access_token_sync()


def test_a_file_that_cannot_be_read_just_now(world: World) -> None:
    """A process that is out of descriptors, or a share that is away for a moment: clients keep the token that works."""
    first = world.sign_in().access_token
    client = Client("")
    unreadable = Snapshot("corrupt", (77,), problem=StorageError("cannot read it: Too many open files"))

    async def main() -> None:
        async with world.session.kept_fresh(client):
            stored, world.store._found = world.store._found, unreadable
            await world.clock.sleep_async(LATER_S)
            assert client.api_key == first
            world.store._found = stored
            await world.clock.sleep_async(LATER_S)
            assert client.api_key == first

    asyncio.run(main())
