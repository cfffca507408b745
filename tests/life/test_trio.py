"""Tokens under trio: the real trio, and anyio on it, at the emulator; each renewal, rejection and patience as under asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest
import trio
from house.patience import NO_LIMIT_S, until
from servers.fixtures import Pool
from servers.real_server import RealServer

from kimi_auth import BearerAuth, NotSignedIn, Unreachable, drain
from kimi_auth.login.view import SilentView
from kimi_auth.session import Session
from kimi_auth.support.http_libraries import library_for
from life.world import Home, Person, SharedTime

LOOPS: dict[str, Callable[[Callable[[], Awaitable[Any]]], Any]] = {
    "trio": trio.run,
    "anyio on trio": partial(anyio.run, backend="trio"),
    "anyio on asyncio": partial(anyio.run, backend="asyncio"),
}


class Login(Home):
    """A login at the emulator, and the clock that both share."""

    server: RealServer

    @property
    def exchanges(self) -> int:
        return self.watcher.activities["exchange"]


@pytest.fixture
def login(life: Home, server_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Login:
    server = server_pool.get("emulator")
    for variable, value in server.env.items():
        monkeypatch.setenv(variable, value)
    login = Login(share_dir=life.share_dir, clock=SharedTime(server.advance))
    login.server = server
    report = asyncio.run(login.session().login(Person(("waiting", server.approve))))
    assert report.state == "signed_in"
    return login


async def ask(session: Session, times: int = 1) -> list[int]:
    """The statuses of so many requests at once, with one client of the library that is loaded."""
    url = f"{session.api_origin}/models"
    statuses: list[int] = []
    async with (
        library_for().AsyncClient(auth=BearerAuth(session), trust_env=False, timeout=NO_LIMIT_S) as client,
        anyio.create_task_group() as group,
    ):

        async def one() -> None:
            statuses.append((await client.get(url)).status_code)

        for _ in range(times):
            group.start_soon(one)
    return statuses


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)
def test_a_day(login: Login, run: Any) -> None:
    """Fresh, expiring, expired and rejected, with twenty tasks at once: every request is answered, each renewal is one."""
    session = login.session()
    assert run(partial(ask, session)) == [200]
    assert login.exchanges == 0
    login.clock.sleep(400)
    assert run(partial(ask, session, 20)) == [200] * 20
    drain()
    assert login.exchanges == 1
    login.clock.sleep(1000)
    assert run(partial(ask, session, 20)) == [200] * 20
    assert login.exchanges == 2
    login.server.advance(900)
    assert run(partial(ask, session, 20)) == [200] * 20
    assert login.exchanges == 3
    first = session.access_token_sync()
    assert run(partial(session.access_token, refresh=True)) != first


@pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)
def test_patience_and_cancellation(login: Login, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    """A caller whose patience ends, or who is cancelled, leaves at once; the renewal goes on and is on disk at the end."""
    import threading

    session = login.session()
    login.clock.sleep(1000)
    before = login.record["access_token"]
    gate, asked = threading.Event(), threading.Event()
    server = session._components.server
    exchange = server.exchange

    def slowly(*args: Any, **more: Any) -> Any:
        asked.set()
        gate.wait()
        return exchange(*args, **more)

    monkeypatch.setattr(server, "exchange", slowly)

    async def leave() -> None:
        with pytest.raises(Unreachable):
            await session.access_token(timeout_s=0)
        with anyio.move_on_after(0.05) as scope:
            await session.access_token()
        assert scope.cancelled_caught

    run(leave)
    until(lambda tick_s: asked.wait(tick_s) or None, "the exchange")
    gate.set()
    drain()
    assert login.record["access_token"] != before
    assert login.exchanges == 1


@pytest.mark.parametrize("name", ["login", "kept_fresh"])
def test_what_needs_asyncio_says_so(login: Login, name: str) -> None:
    """What trio cannot run says at once what to use there, and nothing has happened."""

    async def use() -> None:
        if name == "login":
            await login.session().login(SilentView(), force=True)
        else:
            async with login.session().kept_fresh():
                pass

    with pytest.raises(RuntimeError, match=f"{name} needs asyncio; under trio, BearerAuth"):
        trio.run(use)


def test_signed_out(login: Login) -> None:
    """Signing out works under trio, and the next call raises NotSignedIn."""
    session = login.session()
    assert trio.run(session.logout).state == "absent"
    with pytest.raises(NotSignedIn):
        trio.run(session.access_token)
