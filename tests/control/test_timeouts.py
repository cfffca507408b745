"""Every call that waits takes `timeout_s`, ends when that is over, and loses nothing."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth import CodeExpired, PlatformModels, Session, SilentView, Token, Unreachable, drain
from kimi_auth.testing import Emulator, Fault, MemoryStore, SimulatedServer, SystemClock

SOON_S = 0.05

# An attachment waits for nothing; a future has a timeout of its own.
NO_WAIT = {"attach", "status", "sync_in_background"}


@pytest.mark.parametrize("owner", [Session, PlatformModels])
def test_every_method_that_waits_takes_a_timeout(owner: type) -> None:
    """Of the public methods only those that wait for nothing have no `timeout_s`, and it may be left out everywhere."""
    for name, method in inspect.getmembers(owner, inspect.isfunction):
        if name.startswith("_") or name in NO_WAIT:
            continue
        parameter = inspect.signature(method).parameters.get("timeout_s")
        assert parameter is not None, name
        assert parameter.default is None, name
    assert "timeout_s" in inspect.signature(drain).parameters


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A service on which no person approves anything."""
    with Emulator(approve="page", interval_s=1) as running:
        yield running


def signed_in(emulator: Emulator, share_dir: Path) -> Session:
    session = Session(share_dir, environ=emulator.env)
    given = emulator.state.issue()
    store = session._store
    with store.locked(None):
        store.put(Token(given.access_token, given.refresh_token, time.time() + 900, 900, issuer=emulator.oauth_host))
    return session


def test_a_login_that_is_not_approved_in_time(emulator: Emulator, tmp_path: Path) -> None:
    """CodeExpired, and nothing is stored; with and without an event loop."""
    session = Session(tmp_path, environ=emulator.env)
    with pytest.raises(CodeExpired, match="not finished within"):
        session.login_sync(SilentView(), timeout_s=SOON_S)
    with pytest.raises(CodeExpired):
        asyncio.run(session.login(SilentView(), timeout_s=SOON_S))
    assert session.status().state == "absent"


def test_a_blocking_login_in_a_running_loop(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """RuntimeError, which names the call to await; no coroutine is left behind."""
    session = Session(tmp_path, environ={})

    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"await session\.login\(\)"):
            session.login_sync(SilentView())

    asyncio.run(main())
    gc.collect()
    assert [str(warning.message) for warning in recwarn if "never awaited" in str(warning.message)] == []


def test_a_login_that_is_stored_when_its_time_is_over_stands(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models did not come in time: the report says that they are pending, and the login works."""
    reached = threading.Event()

    async def hang(*_: object, **__: object) -> Any:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("kimi_auth.signing.discover", hang)
    monkeypatch.setattr("kimi_auth.login.device_login.INTERVAL_FACTOR", 0.01)
    emulator.state.settings.approve, emulator.state.settings.approve_after_s = "auto", 0.0
    emulator.state.settings.interval_s = 0.0
    session = Session(tmp_path, environ=emulator.env)
    monkeypatch.setattr("kimi_auth.signing.within", _until(reached))
    report = session.login_sync(SilentView(), timeout_s=NO_LIMIT_S)
    assert (report.state, bool(report.error)) == ("models_pending", True)
    assert session.status().fp == report.fp
    assert session.access_token_sync()


def _until(reached: threading.Event) -> Callable[..., Awaitable[Any]]:
    """`within`, whose time is over once `reached` is set."""

    async def within(_: float, wait: Callable[[], Awaitable[Any]]) -> Any:
        task = asyncio.ensure_future(wait())
        while not task.done() and not reached.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            raise TimeoutError from None

    return within


def test_models_of_a_slow_platform(emulator: Emulator, tmp_path: Path) -> None:
    """Each of the calls ends with an error that passes by itself; nothing is written."""
    session = signed_in(emulator, tmp_path)
    emulator.state.inject(Fault("models", times=None, latency_s=600.0))
    models = session.models

    async def main() -> None:
        with pytest.raises(Unreachable, match="did not list its models within"):
            await models.fetch(timeout_s=SOON_S)
        with pytest.raises(Unreachable):
            await models.sync(timeout_s=SOON_S)
        found = await models.fetch_catalogue(timeout_s=SOON_S)
        assert found.error is not None
        assert found.error.is_transient
        for synced in await models.sync_all(finishes=True, timeout_s=SOON_S):
            assert isinstance(synced.error, Unreachable)
        verdict = await models.verify(timeout_s=SOON_S)
        assert (verdict.says, isinstance(verdict.error, Unreachable)) == ("unknown", True)

    asyncio.run(main())
    assert not (tmp_path / "config.toml").exists()


def slow(tmp_path: Path) -> tuple[Session, threading.Event]:
    """A session whose server answers an exchange and a revocation when the event is set; its token has expired."""
    clock, gate = SystemClock(), threading.Event()

    class Slow(SimulatedServer):
        def exchange(self, *given: Any, **named: Any) -> Any:
            gate.wait()
            return super().exchange(*given, **named)

        def revoke(self, *given: Any, **named: Any) -> Any:
            gate.wait()
            return super().revoke(*given, **named)

    server, store = Slow(clock), MemoryStore(clock)
    given = server.issue()
    with store.locked(None):
        store.put(Token(given.access_token, given.refresh_token, clock.wall_s() - 1, 900))
    return Session(tmp_path, environ={}, store=store, server=server), gate


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
def test_a_logout_goes_on_without_its_caller(tmp_path: Path, is_async: bool) -> None:
    """Unreachable when the time is over; the sign-out ends in its thread."""
    session, gate = slow(tmp_path)
    try:
        with pytest.raises(Unreachable, match="the sign-out goes on"):
            asyncio.run(session.logout(timeout_s=SOON_S)) if is_async else session.logout_sync(timeout_s=SOON_S)
    finally:
        gate.set()
    assert drain()
    assert session.status().state == "absent"


def test_kept_fresh_begins_when_its_time_is_over(tmp_path: Path) -> None:
    """The block begins without a token, and the renewal that goes on reaches the client."""
    session, gate = slow(tmp_path)

    class Client:
        api_key = ""

    async def main() -> str:
        client = Client()
        async with session.kept_fresh(client, timeout_s=SOON_S):
            assert client.api_key == ""
            gate.set()
            while not client.api_key:
                await asyncio.sleep(0.001)
        return client.api_key

    assert asyncio.run(main()) == "access-2"


@pytest.mark.parametrize("timeout_s", [-1.0, float("inf"), float("nan")])
def test_seconds_that_no_caller_can_wait_for(tmp_path: Path, timeout_s: float) -> None:
    """ValueError, before anything is asked."""
    session, _ = slow(tmp_path)

    async def kept_fresh() -> None:
        async with session.kept_fresh(timeout_s=timeout_s):
            raise AssertionError("it must not begin")

    for call in (
        lambda: session.access_token(timeout_s=timeout_s),
        lambda: session.rejected("bearer", timeout_s=timeout_s),
        lambda: session.login(SilentView(), timeout_s=timeout_s),
        lambda: session.logout(timeout_s=timeout_s),
        lambda: session.models.fetch(timeout_s=timeout_s),
        lambda: session.models.sync_all(timeout_s=timeout_s),
        lambda: session.models.verify(timeout_s=timeout_s),
        kept_fresh,
    ):
        with pytest.raises(ValueError, match="timeout_s is"):
            asyncio.run(call())
