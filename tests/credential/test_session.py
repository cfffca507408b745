"""Session: what a program sees of all this. Files and HTTP are replaced by their contracts' other implementations."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory
from house.patience import NO_LIMIT_S, joined, met

from kimi_auth import drain
from kimi_auth.advisory import renew_if_due
from kimi_auth.clock import SystemClock, VirtualClock
from kimi_auth.credential.token_refresh import token_from
from kimi_auth.errors import (
    Blocked,
    ConfigError,
    CorruptCredential,
    KimiAuthError,
    NotSignedIn,
    Revoked,
    StoreUnwritable,
    Unreachable,
    WrongIssuer,
)
from kimi_auth.machine import Library
from kimi_auth.session import Session
from kimi_auth.store import MemoryStore
from kimi_auth.testing import SimulatedServer
from kimi_auth.token import Token
from kimi_auth.wire import Answer

ISSUER = "https://auth.kimi.com"
OFFLINE: Answer[Any, Any] = Answer("not_processed", error=Unreachable("no connection"))


class World:
    """A session, its server and its clock."""

    def __init__(self, share_dir: Path, clock: Any) -> None:
        self.clock = clock
        self.store = MemoryStore(clock)
        self.server = SimulatedServer(clock)
        self.share_dir = share_dir
        self.session = self.another()

    def another(self, **options: Any) -> Session:
        return Session(self.share_dir, environ={}, clock=self.clock, store=self.store, server=self.server, **options)

    def goes_wrong(self, answer: Answer[Any, Any], times: int = 50) -> None:
        """The next exchanges are answered so: more of them than one patience has room for."""
        for _ in range(times):
            self.server.fault("exchange", answer)

    def works_again(self) -> None:
        """No exchange goes wrong any more."""
        self.server._faults.clear()

    def sign_in(self, *, age_s: float = 0.0) -> Token:
        token = token_from(self.server.issue(), sent_at_s=self.clock.wall_s(), issuer=ISSUER)
        with self.store.locked(0):
            self.store.put(token)
        if age_s:
            self.clock.advance(age_s)
        return token

    @property
    def exchanges(self) -> int:
        return self.server.counts["exchange"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, VirtualClock())


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[tuple[World, FrozenDateTimeFactory]]:
    with freeze_time("2026-03-01 09:00:00", real_asyncio=True) as time:
        yield World(tmp_path, SystemClock()), time


def test_a_frozen_day_in_the_life_of_a_credential(frozen: tuple[World, FrozenDateTimeFactory]) -> None:
    """fresh → expiring → refreshing → fresh, a sleep of eight hours, → corrupt, → revoked: in milliseconds."""
    world, time = frozen
    session = world.session
    assert session.status().state == "absent"
    first = world.sign_in().access_token
    assert session.status().state == "fresh"
    assert session.access_token_sync() == first

    time.tick(timedelta(seconds=400))
    assert session.status().state == "expiring"
    assert session.access_token_sync() == first, "an expiring token is served at once"
    drain()
    assert session.status().state == "fresh"
    second = session.access_token_sync()
    assert second != first
    assert world.exchanges == 1

    time.tick(timedelta(hours=8))
    assert session.status().state == "expired"
    third = session.access_token_sync()
    assert third not in {first, second}
    assert world.exchanges == 2

    record = world.store.read()
    world.store.spoil()
    assert session.status().state == "corrupt"
    with pytest.raises(CorruptCredential):
        session.access_token_sync()
    with world.store.locked(0):
        assert record.token is not None
        world.store.put(record.token)

    world.server.end_logins()
    time.tick(timedelta(seconds=400))
    assert session.access_token_sync() == third, "an access token outlives the refusal of its renewal"
    drain()
    assert session.status().state == "usable"
    time.tick(timedelta(seconds=600))
    assert session.status().state == "revoked"
    with pytest.raises(Revoked):
        session.access_token_sync()
    assert world.exchanges == 3


RAISES: dict[str, tuple[Any, type[KimiAuthError]]] = {
    "nobody": (lambda world: None, NotSignedIn),
    "corrupt": (lambda world: world.store.spoil(), CorruptCredential),
    "offline": (lambda world: (world.sign_in(age_s=901), world.goes_wrong(OFFLINE)), Unreachable),
    "revoked": (lambda world: (world.sign_in(age_s=901), world.server.end_logins()), Revoked),
    "foreign": (
        lambda world: World.put(world, Token("a", "r", world.clock.wall_s() + 900, 900, issuer="https://x.example")),
        WrongIssuer,
    ),
    "full disk": (
        lambda world: (world.sign_in(age_s=901), setattr(world.store, "fail_writes", True)),
        StoreUnwritable,
    ),
}


def _put(world: World, token: Token) -> None:
    with world.store.locked(0):
        world.store.put(token)


World.put = _put  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", RAISES)
@pytest.mark.parametrize("how", ["sync", "async"])
def test_where_no_token_can_be_had_the_reason_is_raised(world: World, name: str, how: str) -> None:
    """Each end has its own error, with a sentence and a next step, in sync and in async code."""
    prepare, error = RAISES[name]
    prepare(world)
    ask = world.session.access_token_sync if how == "sync" else lambda: asyncio.run(world.session.access_token())
    with pytest.raises(error) as raised:
        ask()
    assert raised.value.hint
    assert "access-" not in raised.value.line


def test_soft_refusal_is_raised_as_such_and_insisting_tries_again(world: World) -> None:
    """403 HTML twice, a minute apart: Blocked, until a caller insists and the server answers."""
    world.sign_in(age_s=901)
    proxy: Answer[Any, Any] = Answer("unrecognized", error=Blocked("403, HTML"))
    world.goes_wrong(proxy)
    for pause_s, error in ((0.0, Unreachable), (61.0, Blocked), (0.0, Blocked)):
        world.clock.advance(pause_s)
        with pytest.raises(error):
            world.session.access_token_sync()
    world.works_again()
    assert world.session.access_token_sync(refresh=True)
    assert world.session.status().state == "fresh"


def test_refresh_means_another_pair(world: World) -> None:
    """`refresh=True` gives another pair than the one found at the start, with one exchange."""
    first = world.sign_in().access_token
    assert world.session.access_token_sync(refresh=True) != first
    assert world.exchanges == 1


def test_another_pair_that_cannot_be_had_is_an_error(world: World) -> None:
    """`refresh=True` while the server is unreachable: the reason, although the old token still works."""
    first = world.sign_in().access_token
    world.goes_wrong(OFFLINE)
    with pytest.raises(Unreachable):
        world.session.access_token_sync(refresh=True)
    assert world.session.access_token_sync() == first


def test_more_life_than_the_server_gives_is_one_rotation(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`min_ttl_s` above what the server gives: one rotation, then the token that there is, from every process, and one
    warning; a server that gives longer ones later is asked again."""
    monkeypatch.setattr("kimi_auth.supply._SAID", set())
    world.sign_in()
    with caplog.at_level(logging.WARNING, "kimi_auth.session"):
        for _ in range(5):
            for session in (world.session, world.another()):
                token = session._supply.token_sync(min_ttl_s=3600.0)
                assert token == world.store.read().token
            world.clock.advance(60)
    assert world.exchanges == 1
    assert [record.getMessage() for record in caplog.records] == [
        "the server's tokens live 900 s: the freshest one is used, with less left than the 3600 s asked for"
    ]
    world.clock.advance(100)  # 400 s old: the server makes fresher ones than this
    assert world.session._supply.token_sync(min_ttl_s=3600.0) != token
    assert world.exchanges == 2
    world.server.state.settings.access_ttl_s = 7200.0
    world.session.access_token_sync(refresh=True)
    world.clock.advance(3700)
    for session in (world.session, world.another()):
        session._supply.token_sync(min_ttl_s=3600.0)
    assert world.exchanges == 4
    world.server.state.settings.access_ttl_s = 900.0
    world.session.access_token_sync(refresh=True)
    for session in (world.session, world.another()):
        session._supply.token_sync(min_ttl_s=3600.0)
    assert world.exchanges == 6


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_seconds_that_are_none(world: World, seconds: float) -> None:
    """A time to live or a patience that no clock can measure is refused, before anything is asked."""
    world.sign_in(age_s=901)
    with pytest.raises(ValueError, match="not negative and finite"):
        world.session.access_token_sync(min_ttl_s=seconds)
    with pytest.raises(ValueError, match="not negative and finite"):
        asyncio.run(world.session.access_token(timeout_s=seconds))
    with pytest.raises(ValueError, match="not negative and finite"):
        world.session.rejected_sync("access-1", timeout_s=seconds)
    assert world.exchanges == 0
    with pytest.raises(ValueError, match=r"recheck_every_s is .* not negative and finite"):
        Session(world.share_dir, environ={}, recheck_every_s=seconds)


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_a_patience_that_is_none_while_a_token_is_held(world: World, seconds: float) -> None:
    """It is refused also where the token in memory would serve."""
    world.sign_in()
    world.session.access_token_sync()
    with pytest.raises(ValueError, match="not negative and finite"):
        world.session.access_token_sync(timeout_s=seconds)
    with pytest.raises(ValueError, match="not negative and finite"):
        asyncio.run(world.session.access_token(timeout_s=seconds))


@pytest.mark.parametrize("cancelled", [0, 1])
def test_thirty_two_rejections_are_one_rotation(world: World, cancelled: int) -> None:
    """32 coroutines report one bearer: one exchange, each has the new token; one that is cancelled harms no other."""
    bearer = world.sign_in().access_token

    async def main() -> list[Any]:
        tasks = [asyncio.ensure_future(world.session.rejected(bearer)) for _ in range(32)]
        await asyncio.sleep(0)
        for task in tasks[:cancelled]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(main())
    assert set(answers[cancelled:]) == {"access-2"}
    assert world.exchanges == 1


def test_a_rejected_token_without_a_successor_is_none(world: World) -> None:
    """Offline: there is nothing to retry with, in sync and in async code; the login is kept."""
    bearer = world.sign_in().access_token
    world.goes_wrong(OFFLINE)
    assert world.session.rejected_sync(bearer) is None
    assert asyncio.run(world.session.rejected(bearer)) is None
    assert world.session.status().state == "fresh"
    assert world.session.access_token_sync() == bearer, "at other URLs it may work"
    world.works_again()
    world.clock.advance(60)
    assert world.session.rejected_sync(bearer) == "access-2"


def test_a_url_that_rejects_every_token_takes_it_from_no_other_program(
    frozen: tuple[World, FrozenDateTimeFactory],
) -> None:
    """An hour of a program whose one URL answers 401, beside an innocent one: that one is never refused, and rotations for
    the other one's sake are 30 s, 60 s, ... apart."""
    world, time = frozen
    world.sign_in()
    guilty, innocent = world.session, world.another()
    refused = asked = 0
    rotated_at: list[int] = []
    for second in range(0, 3600, 10):
        exchanges = world.exchanges
        bearer = guilty.access_token_sync()
        newer = guilty.rejected_sync(bearer)
        if newer is not None:
            rotated_at.append(second)
            assert guilty.rejected_sync(newer) is None
        for session in (innocent, guilty):
            asked += 1
            try:
                refused += not world.server.is_live(session.access_token_sync())
            except KimiAuthError:
                refused += 1
        assert world.exchanges - exchanges <= 1 + (newer is not None)
        time.tick(timedelta(seconds=10))
        drain()
    assert (asked, refused) == (720, 0)
    assert rotated_at[:5] == [0, 30, 90, 210, 450]
    assert world.store.backoff().forced <= 8
    assert world.exchanges <= 20, "one for every 375 s that pass, and the forced ones"


def test_another_process_has_renewed_already(world: World) -> None:
    """A bearer that is no longer the stored one is answered with the stored one; nothing is sent."""
    world.sign_in()
    new = world.another().access_token_sync(refresh=True)
    assert world.session.rejected_sync("access-1") == new
    assert world.exchanges == 1


def test_another_process_s_rotation_is_noticed_at_once(world: World) -> None:
    """The held token is served only while the record's stamp stands."""
    first = world.sign_in().access_token
    assert world.session.access_token_sync() == first
    second = world.another().access_token_sync(refresh=True)
    assert world.session.access_token_sync() == second


def test_a_throttled_notice_looks_once_a_second(world: World) -> None:
    """With `recheck_every_s` the record is looked at that often and no more."""
    session = world.another(recheck_every_s=1.0)
    first = world.sign_in().access_token
    assert session.access_token_sync() == first
    second = world.another().access_token_sync(refresh=True)
    assert session.access_token_sync() == first
    world.clock.advance(1.0)
    assert session.access_token_sync() == second


def test_a_clock_that_is_set_back_fools_nobody(world: World) -> None:
    """An hour back after the token was read: its age goes on by the monotonic clock."""
    first = world.sign_in().access_token
    assert world.session.access_token_sync() == first
    world.clock.set_wall(world.clock.wall_s() - 3600)
    world.clock.advance(901)
    assert world.session.access_token_sync() != first
    assert world.session.status().state == "fresh"


def test_sleep_is_noticed_and_forces_nothing(world: World) -> None:
    """After a suspend the age counts what the wall clock says; a token that is still fresh is not rotated."""
    first = world.sign_in().access_token
    world.session.access_token_sync()
    world.clock.suspend(60)
    assert world.session.access_token_sync() == first
    assert world.exchanges == 0
    world.clock.suspend(8 * 3600)
    assert world.session.access_token_sync() != first


@pytest.mark.parametrize(("age_s", "state", "exchanges"), [(0, "fresh", 0), (400, "expiring", 0), (700, "fresh", 1)])
def test_a_one_shot_command_renews_in_the_second_half_only(
    world: World, age_s: float, state: str, exchanges: int
) -> None:
    """Fresh or in the first half of the window: nothing; in the second half one exchange, in the foreground."""
    world.sign_in(age_s=age_s)
    session = world.another(one_shot=True)
    session.access_token_sync()
    renew_if_due(session._components)
    assert (session.status().state, world.exchanges) == (state, exchanges)


def test_a_silent_server_delays_nobody_whose_token_works(world: World) -> None:
    """The exchange hangs: callers keep the token that works, and join one flight when it does not."""
    world.sign_in(age_s=400)
    gate = threading.Event()
    exchange = world.server.exchange

    def hanging(refresh_token: str, *, connect_timeout_s: float = 5.0) -> Any:
        met(gate)
        return exchange(refresh_token, connect_timeout_s=connect_timeout_s)

    world.server.exchange = hanging  # type: ignore[method-assign]
    try:
        assert [world.session.access_token_sync() for _ in range(3)] == ["access-1"] * 3
    finally:
        gate.set()
    drain()
    assert world.session.access_token_sync() == "access-2"
    assert world.exchanges == 1


@pytest.mark.parametrize("how", ["sync", "async"])
def test_patience_ends_and_the_renewal_goes_on(world: World, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mandatory caller is told after its patience; the answer that comes later is stored all the same."""
    monkeypatch.setattr("kimi_auth.components.PATIENCE_S", 0.05)
    world.sign_in(age_s=901)
    gate = threading.Event()
    exchange = world.server.exchange

    def hanging(refresh_token: str, *, connect_timeout_s: float = 5.0) -> Any:
        met(gate)
        return exchange(refresh_token, connect_timeout_s=connect_timeout_s)

    world.server.exchange = hanging  # type: ignore[method-assign]
    try:
        with pytest.raises(Unreachable, match="goes on"):
            world.session.access_token_sync() if how == "sync" else asyncio.run(world.session.access_token())
    finally:
        gate.set()
    drain()
    assert world.session.status().state == "fresh"


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("timeout_s", [0.0, 0.05])
def test_a_caller_says_how_long_it_waits(world: World, how: str, timeout_s: float) -> None:
    """With `timeout_s` a caller is told after so long, the renewal goes on, and a token that works is given at once."""
    world.sign_in(age_s=901)
    gate = threading.Event()
    exchange = world.server.exchange

    def hanging(refresh_token: str, *, connect_timeout_s: float = 5.0) -> Any:
        met(gate)
        return exchange(refresh_token, connect_timeout_s=connect_timeout_s)

    world.server.exchange = hanging  # type: ignore[method-assign]

    def ask(**options: Any) -> str:
        session = world.session
        if how == "sync":
            return session.access_token_sync(timeout_s=timeout_s, **options)
        return asyncio.run(session.access_token(timeout_s=timeout_s, **options))

    def reject(bearer: str) -> str | None:
        if how == "sync":
            return world.session.rejected_sync(bearer, timeout_s=timeout_s)
        return asyncio.run(world.session.rejected(bearer, timeout_s=timeout_s))

    try:
        with pytest.raises(Unreachable, match=f"within {timeout_s:g} s, and the renewal goes on"):
            ask()
    finally:
        gate.set()
    drain()
    assert ask() == "access-2"
    gate.clear()
    try:
        assert ask(min_ttl_s=899.9999) == "access-2"
        assert reject("access-2") is None
    finally:
        gate.set()
    drain()
    assert world.session.status().state == "fresh"


def test_a_caller_with_more_patience_than_usual(world: World) -> None:
    """`timeout_s` above the usual patience: a pause of a minute, which the server asked for, is waited out."""
    world.sign_in(age_s=901)
    busy: Answer[Any, Any] = Answer("not_processed", error=Unreachable("429"), retry_after_s=60.0)
    world.goes_wrong(busy, 2)
    with pytest.raises(Unreachable, match="429; not tried again for 60 s"):
        world.session.access_token_sync()
    began_s = world.clock.wall_s()
    assert world.session.access_token_sync(timeout_s=150.0) == "access-2"
    assert world.clock.wall_s() - began_s == pytest.approx(120.0, abs=1.0)
    assert world.exchanges == 3


def test_a_caller_that_comes_late_is_not_bound_by_the_first_one_s_patience(world: World) -> None:
    """It joins the renewal in flight; when that ends with its first caller's patience, it goes on waiting by its own."""
    world.sign_in(age_s=901)
    pauses = iter([16.0, 25.0])
    at_it, gate, got = threading.Event(), threading.Event(), list[object]()
    exchange = world.server.exchange

    def busy_twice(refresh_token: str, *, connect_timeout_s: float = 5.0) -> Any:
        pause_s = next(pauses, None)
        if pause_s == 25.0:  # the first caller has waited for 16 s, and would have to wait longer than it has patience
            at_it.set()
            met(gate)
        if pause_s is not None:
            return Answer("not_processed", error=Unreachable("429"), retry_after_s=pause_s)
        return exchange(refresh_token, connect_timeout_s=connect_timeout_s)

    world.server.exchange = busy_twice  # type: ignore[method-assign]

    def ask() -> None:
        try:
            got.append(world.session.access_token_sync())
        except Unreachable as error:
            got.append(error.message)

    first, second = threading.Thread(target=ask), threading.Thread(target=ask)
    first.start()
    met(at_it)
    seats, join = threading.Semaphore(0), world.session._components.credential.flights.join

    def joining(*args: Any) -> Any:
        seat = join(*args)
        seats.release()
        return seat

    world.session._components.credential.flights.join = joining  # type: ignore[method-assign]
    second.start()
    assert seats.acquire(timeout=NO_LIMIT_S)
    gate.set()
    joined(first)
    joined(second)
    assert sorted(map(str, got)) == ["429; not tried again for 25 s", "access-2"]


def test_a_program_that_is_to_end_waits_for_no_backoff(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that is held back while a caller waits ends the wait: nothing is in flight that it could tear."""
    world.sign_in(age_s=901)
    world.goes_wrong(OFFLINE)
    slept: list[float] = []
    sleep = world.clock.sleep

    def sleeping(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            monkeypatch.setattr("kimi_auth.components.is_ending", lambda: True)
        sleep(seconds)

    world.clock.sleep = sleeping
    with pytest.raises(Unreachable, match="not tried again for 1 s"):
        world.session.access_token_sync()
    assert (len(slept), world.exchanges) == (3, 1)


def test_logout_is_for_every_holder(world: World) -> None:
    """After a logout no caller gets a token, targets hold nothing, and the server knows."""
    world.sign_in()
    served: list[str] = []
    world.session.attach(served.append)
    assert served == ["access-1"]
    report = world.session.logout_sync()
    assert (report.state, report.revocation, report.config) == ("absent", "revoked", "restored")
    assert served[-1] == ""
    assert not world.server.is_live("access-1")
    with pytest.raises(NotSignedIn):
        world.another().access_token_sync()
    assert asyncio.run(world.session.logout()).state == "absent"


class Client:
    """A client whose key is an attribute."""

    def __init__(self, api_key: str) -> None:
        self.api_key: str | None = api_key


def test_a_client_made_with_an_earlier_token_has_no_key_of_its_own(world: World) -> None:
    """Tokens that were renewed before a first client was attached are known as tokens: a logout leaves none of them in it."""
    world.sign_in(age_s=900.0)
    client = Client(world.session.access_token_sync())
    now = world.session.access_token_sync(refresh=True)
    assert client.api_key != now
    world.session.attach(client)
    assert client.api_key == now
    world.session.logout_sync()
    assert not client.api_key


def test_logout_that_fails_says_that_the_login_stands(world: World) -> None:
    """A full disk or another user's credential: an error, and nothing has changed."""
    world.sign_in()
    world.store.fail_writes = True
    with pytest.raises(StoreUnwritable):
        world.session.logout_sync()
    assert world.session.status().state == "fresh"
    world.store.fail_writes = False
    _put(world, Token("a", "r", world.clock.wall_s() + 900, 900, issuer="https://x.example"))
    with pytest.raises(WrongIssuer):
        asyncio.run(world.session.logout())


def test_another_host_s_token_is_not_shown_to_this_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign token is verified at no server."""
    _put(world, Token("a", "r", world.clock.wall_s() + 900, 900, issuer="https://x.example"))
    asked: list[object] = []
    monkeypatch.setattr("kimi_auth.wire.fetch_models", lambda *args: asked.append(args))
    assert asyncio.run(world.session.models.verify()).says == "unknown"
    assert asked == []


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewals run in the caller's thread, as at exit, so that virtual time cannot pass while they do."""
    start = threading.Thread.start

    def choosy(thread: threading.Thread) -> None:
        if thread.name == "kimi-auth renewal":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", choosy)


def test_kept_fresh_serves_targets_for_a_day(world: World, inline: None) -> None:
    """A block that lasts a simulated day: the target always holds a live token, with no more exchanges than needed."""
    session = world.session
    world.sign_in()
    held: list[str] = []

    async def main() -> int:
        dead = 0
        async with session.kept_fresh(held.append) as same:
            assert same is session
            for _ in range(192):
                await world.clock.sleep_async(450)
                dead += not world.server.is_live(held[-1])
        return dead

    assert asyncio.run(main()) == 0
    assert world.exchanges == pytest.approx(192 * 450 / 376, rel=0.05)


def test_kept_fresh_follows_a_logout_and_a_new_login(world: World, inline: None) -> None:
    """Another process signs out and in again: the target holds nothing, then the new token."""
    session = world.session
    world.sign_in()
    held: list[str] = []

    async def main() -> None:
        async with session.kept_fresh(held.append):
            assert held == ["access-1"]
            world.another().logout_sync()
            await world.clock.sleep_async(5)
            assert held[-1] == ""
            world.sign_in()
            await world.clock.sleep_async(5)
            assert held[-1] == "access-2"

    asyncio.run(main())


def test_status_says_what_there_is_and_no_secret(world: World) -> None:
    """Every field that a person looks for, and nothing that must not be shown."""
    world.sign_in(age_s=100)
    status = world.session.status()
    assert (status.platform, status.state, status.issuer, status.left_s) == ("kimi-code", "fresh", ISSUER, 800.0)
    assert status.renews_in_s == pytest.approx(275.0)
    assert "access-" not in repr(status)
    with world.store.locked(0):
        world.store.claim(status.fp)
        assert world.session.status().holder
    assert world.session.status().claim == "interrupted"


def test_a_look_leaves_no_trace(tmp_path: Path) -> None:
    """Status of a share dir that is not there: signed out, and it is still not there."""
    share_dir = tmp_path / "none"
    session = Session(share_dir, environ={})
    assert session.status().state == "absent"
    with pytest.raises(NotSignedIn):
        session.access_token_sync()
    assert not share_dir.exists()


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    """An unknown platform and a URL that is none; a platform that takes an API key has no token before it has a key."""
    with pytest.raises(ConfigError, match="nosuch"):
        Session(tmp_path, platform="nosuch", environ={})
    with pytest.raises(ConfigError, match="KIMI_CODE_OAUTH_HOST"):
        Session(tmp_path, environ={"KIMI_CODE_OAUTH_HOST": "ftp://x"})
    with pytest.raises(NotSignedIn):
        Session(tmp_path, platform="moonshot-cn", environ={}).access_token_sync()


def test_arguments_of_the_chain_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    """An API without a key for it, two names of one directory, and a key or an API that is no text; no value is quoted."""
    with pytest.raises(ValueError, match="base_url"):
        Session.default(tmp_path, base_url="https://api.example/v1", environ={})
    with pytest.raises(ValueError, match="two names of one directory"):
        Session.default("/a", home="/b", environ={})
    wrong: Any = b"sk-of-the-test"
    with pytest.raises(TypeError, match=r"^api_key must be a str, not bytes$"):
        Session.default(tmp_path, api_key=wrong, environ={})
    with pytest.raises(TypeError, match=r"^base_url must be a str, not bytes$"):
        Session.default(tmp_path, api_key="sk-of-the-test", base_url=wrong, environ={})


ACME = 'v = 1\n[platforms.acme]\nname = "Acme"\nauth = "device"\napi_base = "https://a.example/v1"\n'
ACME_OAUTH = '[platforms.acme.oauth]\nclient_id = "c"\nissuer = "https://a.example"\n'


@pytest.mark.parametrize(
    ("platform", "hint"),
    [
        (None, "sign in: kimi-auth login"),
        ("acme", "sign in: kimi-auth login --platform acme"),
        ("moonshot-cn", "sign in: kimi-auth login --platform moonshot-cn --api-key-stdin"),
    ],
)
def test_the_next_step_is_this_platform_s(tmp_path: Path, platform: str | None, hint: str) -> None:
    """The printed command signs in to the platform that was asked for, and not to the usual one."""
    (tmp_path / "platforms.toml").write_text(ACME + ACME_OAUTH)
    with pytest.raises(NotSignedIn) as error:
        Session(tmp_path, platform=platform, environ={}).access_token_sync()
    assert error.value.hint == hint
    assert error.value.line == f"not signed in ({hint})"


@pytest.mark.parametrize(
    ("config", "platform"),
    [
        (None, "kimi-code"),
        ("this is [not toml", "kimi-code"),
        ('default_model = "x"\n[models.x]\nprovider = "mine"\n', "kimi-code"),
        ('default_model = "x"\n[models.x]\nprovider = "managed:kimi-code"\n', "kimi-code"),
        ('default_model = "x"\n[models.x]\nprovider = "managed:moonshot-cn"\n', "moonshot-cn"),
        ('default_model = "x"\n[models.x]\nprovider = "managed:nosuch"\n', "kimi-code"),
        ('default_model = 3\nmodels = "none"\n', "kimi-code"),
        ('default_model = ["x"]\n[models.x]\nprovider = "managed:kimi-code"\n', "kimi-code"),
        ('default_model = {x = 1}\n[models.x]\nprovider = "managed:kimi-code"\n', "kimi-code"),
    ],
)
def test_the_default_platform_is_the_default_model_s(tmp_path: Path, config: str | None, platform: str) -> None:
    """The default model names the platform; anything strange falls back to kimi-code."""
    if config is not None:
        (tmp_path / "config.toml").write_text(config)
    assert Session(tmp_path, environ={}).platform.id == platform
    assert Session(environ={"KIMI_SHARE_DIR": str(tmp_path)})._components.share_dir == tmp_path


def test_a_fresh_token_needs_no_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no login waits in a keyring, an event loop whose threads all wait for a token gives it to them."""
    world.sign_in()

    async def refuse(*_: object) -> None:
        raise AssertionError("no thread is to be had")

    monkeypatch.setattr(asyncio, "to_thread", refuse)
    assert asyncio.run(world.session.access_token()) == "access-1"


def test_the_keyring_is_thought_of_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a login waits there is read from config.toml with the first token only, with and without an event loop."""
    asked: list[object] = []
    monkeypatch.setattr("kimi_auth.before_use.is_waiting", lambda *args: asked.append(args))
    monkeypatch.setattr(world.session._components, "keyring_asked", False)
    world.sign_in()
    for _ in range(3):
        asyncio.run(world.session.access_token(min_ttl_s=60.0))
        world.session.access_token_sync(min_ttl_s=60.0)
    assert len(asked) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_while_a_session_makes_what_it_needs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork waits until another thread has made the machines; the child uses a session of its own at once."""
    world.sign_in()
    at_it, is_forking, load = threading.Event(), threading.Event(), Library.load
    os.register_at_fork(before=is_forking.set)  # the latest hook is the first to run

    def loading() -> Library:
        at_it.set()
        assert met(is_forking)
        for _ in range(100):
            threading.Event().wait(0.001)
        return load()

    monkeypatch.setattr(Library, "load", loading)
    other = world.another()
    thread = threading.Thread(target=getattr, args=(other._components, "library"))
    thread.start()
    assert met(at_it)
    child = os.fork()
    if child == 0:
        monkeypatch.undo()
        os._exit(0 if world.another().status().state == "fresh" else 1)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
