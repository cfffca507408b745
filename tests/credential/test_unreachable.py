"""A store that cannot be asked: nothing is signed out, and no event loop waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kimi_auth.clock import VirtualClock
from kimi_auth.credential.classify import Now, classify
from kimi_auth.credential.contracts import CredentialContext
from kimi_auth.credential.ports import Ports, token_from
from kimi_auth.credential.token_refresh import TokenRefreshHooks
from kimi_auth.errors import KimiAuthError, StorageError
from kimi_auth.session import Session
from kimi_auth.store import Binding, MemoryStore, RevokedMark, Snapshot, View
from kimi_auth.store.memory import MemoryHold
from kimi_auth.testing import SimulatedServer
from kimi_auth.token import Token, fingerprint

ISSUER = "https://auth.kimi.com"
AWAY = "the database cannot be reached"


class FarStore(MemoryStore):
    """A store behind a network that a test takes away. Reads are of memory; `look` brings the stored record."""

    def __init__(self, clock: VirtualClock, *, is_seen: bool = True) -> None:
        super().__init__(clock)
        self.is_away = False
        self.is_seen = is_seen
        self.looks: list[threading.Thread] = []
        self.last = Snapshot("absent")

    def is_current(self) -> bool:
        return self.is_seen and not self.is_away

    def look(self, patience_s: float) -> None:
        self.looks.append(threading.current_thread())
        if not self.is_away:
            self.is_seen = True

    def read(self) -> Snapshot:
        if self.is_current():
            self.last = super().read()
            return self.last
        problem = StorageError(AWAY, is_transient=True)
        return self.last._replace(state="unreachable", problem=problem)

    @contextmanager
    def locked(
        self, patience_s: float | None, *, give_up: Callable[[], bool] | None = None
    ) -> Iterator[MemoryHold | None]:
        if self.is_away:
            self._clock.sleep(patience_s or 0.0)
            raise StorageError(AWAY, is_transient=True)
        with super().locked(patience_s, give_up=give_up) as hold:
            self.is_seen = True
            yield hold


class World:
    """A session on a far store with one login."""

    def __init__(self, folder: Path, *, is_seen: bool = True) -> None:
        self.clock = VirtualClock()
        self.server = SimulatedServer(self.clock)
        self.store = FarStore(self.clock, is_seen=is_seen)
        self.token = token_from(self.server.issue(), sent_at_s=self.clock.wall_s(), issuer=ISSUER)
        with MemoryStore.locked(self.store, 0.0):
            self.store.put(self.token)
        if is_seen:
            self.store.read()
        self.session = Session(folder, environ={}, clock=self.clock, store=self.store, server=self.server)


@pytest.mark.parametrize(
    ("left_s", "mark", "state"),
    [
        (900.0, None, "usable"),
        (1.0, None, "usable"),
        (0.0, None, "expired"),
        (-5.0, RevokedMark(1.0, "ended"), "expired"),
        (None, None, "expired"),
    ],
)
def test_what_is_known_of_it_decides(left_s: float | None, mark: RevokedMark | None, state: str) -> None:
    """The last known token serves while it lives; afterwards, and where none is known, the store is missing."""
    token = None if left_s is None else Token("a", "r", 1000.0 + left_s, 900.0)
    problem = StorageError(AWAY)
    snapshot = Snapshot("unreachable", (), token, fingerprint(token) if token else "", problem)
    assert classify(View(snapshot, mark=mark), Now(1000.0, 1000.0)) == (state, problem)
    found, error = classify(View(snapshot._replace(problem=None)), Now(1000.0, 1000.0))
    assert (found, type(error)) == (state, StorageError)


def test_a_held_token_goes_on_without_it(tmp_path: Path) -> None:
    """While the token lives, callers have it and nothing asks the store."""
    world = World(tmp_path)
    assert world.session.access_token_sync() == world.token.access_token
    world.store.is_away = True
    assert world.session.access_token_sync() == world.token.access_token
    assert asyncio.run(world.session.access_token()) == world.token.access_token
    assert world.store.looks == []


def test_it_is_no_sign_out(tmp_path: Path) -> None:
    """At the end of the token the error names the store, and is transient; once it answers the same session renews."""
    world = World(tmp_path)
    assert world.session.access_token_sync()
    world.store.is_away = True
    world.clock.advance(1000.0)
    with pytest.raises(StorageError, match=AWAY) as raised:
        world.session.access_token_sync()
    assert (raised.value.exit_status, raised.value.is_transient) == (8, True)
    status = world.session.status()
    assert (status.state, status.fp) == ("expired", fingerprint(world.token))
    assert world.server.counts["exchange"] == 0
    world.store.is_away = False
    assert world.session.access_token_sync() != world.token.access_token
    assert world.server.counts["exchange"] == 1


def test_it_is_asked_in_a_thread(tmp_path: Path) -> None:
    """What this process has not seen yet is looked at in a thread, from an event loop too, and once."""
    world = World(tmp_path, is_seen=False)

    async def twice() -> list[str]:
        return [await world.session.access_token() for _ in range(2)]

    assert asyncio.run(twice()) == [world.token.access_token] * 2
    assert len(world.store.looks) == 1
    assert world.store.looks[0] is not threading.main_thread()


def test_to_show_it_looks_first(tmp_path: Path) -> None:
    """`status` of a process that has seen nothing yet shows the stored login."""
    world = World(tmp_path, is_seen=False)
    assert world.session.status().state == "fresh"
    assert world.store.looks == [threading.main_thread()]


def test_under_the_lock_it_is_waited_for(tmp_path: Path) -> None:
    """A store that goes away between the lock and the first look sends nothing, and another try comes a second later."""
    world = World(tmp_path)
    hooks = TokenRefreshHooks(Ports(world.store, world.server, world.clock, ISSUER))
    with world.store.locked(0.0):
        world.store.is_away = True
        outcome, ctx = hooks.reread(CredentialContext())
    assert outcome == "backing_off"
    assert isinstance(ctx.error, StorageError)
    assert ctx.retry_at_s == world.clock.wall_s() + 1.0


def test_siblings_are_made_the_same_way(tmp_path: Path) -> None:
    """`stores` makes the store of each platform's login from its key; beside one given store there is no other login."""
    clock = VirtualClock()
    made: dict[str, MemoryStore] = {}

    def stores(key: str) -> MemoryStore:
        return made.setdefault(key, MemoryStore(clock))

    session = Session(tmp_path, environ={}, stores=stores)
    sibling = session.models._session_of("kimi-code-global")
    assert isinstance(sibling, Session)
    assert list(made) == ["oauth/kimi-code", "oauth/kimi-code-global"]
    assert sibling._store is made["oauth/kimi-code-global"]
    assert sibling._clock is clock
    alone = Session(tmp_path, environ={}, store=MemoryStore(clock)).models._session_of("kimi-code-global")
    assert isinstance(alone, Session)
    assert alone.status().state == "absent"
    assert alone._store.file is None
    with pytest.raises(ValueError, match="one of them"):
        Session(tmp_path, environ={}, store=MemoryStore(clock), stores=stores)
    with pytest.raises(TypeError, match="stores="):
        session.__reduce__()


def test_the_device_of_a_login_goes_with_it(tmp_path: Path) -> None:
    """A renewal on one host binds its device to the login; a session on another host sends the same one."""
    clock = VirtualClock()
    server, store = SimulatedServer(clock), MemoryStore(clock)
    token = token_from(server.issue(), sent_at_s=clock.wall_s(), issuer=ISSUER)
    with store.locked(0.0):
        store.put(token)
    clock.advance(1000.0)
    first, second = (
        Session(tmp_path / host, environ={}, clock=clock, store=store, server=server) for host in ("one", "two")
    )
    first.access_token_sync()
    device = first._components.headers["X-Msh-Device-Id"]
    assert store.binding() == Binding(ISSUER, device_id=device)
    assert second._components.headers["X-Msh-Device-Id"] == device


def test_an_error_of_any_other_kind_is_not_hidden(tmp_path: Path) -> None:
    """With no patience the answer comes at once, and says why."""
    world = World(tmp_path)
    world.store.is_away, world.store.last = True, Snapshot("absent")
    with pytest.raises(KimiAuthError) as raised:
        world.session.access_token_sync(timeout_s=0.0)
    assert raised.value.code in {"storage", "unreachable"}
