"""A login moves between file and database: killed at every step, one store has a pair that may be sent, at most and in the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S
from servers.postgres import Cluster

from kimi_auth.before_use import settle_sync
from kimi_auth.clock import SystemClock
from kimi_auth.errors import ConfigError, NotSignedIn, StorageError
from kimi_auth.login.moving import Notebook, Place, Stores, begin, finish, moved_token
from kimi_auth.session import Session, components_of
from kimi_auth.store import Backoff, Binding, CredentialStore, FileStore, RevokedMark
from kimi_auth.store.postgres import Address, PostgresStore
from kimi_auth.token import Token, fingerprint

FAR_S = 4_000_000_000.0
PAIR = Token("access", "refresh", FAR_S, 900.0, issuer="https://auth.kimi.com")
OTHER = Token("other", "refresh-2", FAR_S, 900.0)
FP = fingerprint(PAIR)
DEVICE = "0123456789abcdef0123456789abcdef"
WRITES = ("mark_revoked", "bind", "set_backoff", "put", "sign_out", "tidy")
STEPS = 12
"""note, fence, tidy and its bind, bind, backoff, put, arrived, sign_out, tidy and its bind, forget."""
ARRIVED = 8


class Deadly:
    """Kills its process before the write number `at`, of stores and notes together."""

    def __init__(self, at: int) -> None:
        self.left = at

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: object, **kwargs: object) -> Any:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted

    def arm(self, *things: Any) -> None:
        for thing in things:
            for name in WRITES if not isinstance(thing, Notebook) else ("write", "forget"):
                setattr(thing, name, self.before(getattr(thing, name)))


class Home:
    """A home and a database, with the login in one of them."""

    def __init__(self, cluster: Cluster, share: Path, start: Place) -> None:
        self.share, self.start = share, start
        self.to: Place = "file" if start == "database" else "database"
        self.name = cluster.new_key().removeprefix("oauth/")
        self.url = cluster.url(application_name=self.name)
        key = f"oauth/kimi-code@{self.name}"
        self.notebook = Notebook(share / "kimi-auth" / "store" / f"kimi-code@{self.name}.moving")
        file = FileStore(share, key, clock=SystemClock())
        self.stores = Stores(file, PostgresStore(self.url, key), Address(self.url).without_password)
        store = self.stores.old(self.to)
        with store.locked(NO_LIMIT_S):
            store.put(PAIR)
            store.bind(Binding("https://auth.kimi.com", ("https://other.example",)))
            store.set_backoff(Backoff(failures=2, code="server_error"))

    @property
    def both(self) -> tuple[CredentialStore, CredentialStore]:
        for store in (self.stores.file, self.stores.database):
            store.look(NO_LIMIT_S)
        return self.stores.file, self.stores.database

    def having(self) -> list[CredentialStore]:
        """The stores with the pair."""
        return [store for store in self.both if store.read().fp == FP]

    def live(self) -> list[CredentialStore]:
        """The stores from which the pair may be sent."""
        return [store for store in self.having() if store.view().mark is None]

    def move(self) -> str:
        return begin(self.stores, self.to, self.notebook, device_id=DEVICE)

    def killed_at(self, step: int) -> int:
        """The wait status of a process that begins the move and is killed before its write number `step`."""
        pid = os.fork()
        if pid == 0:
            try:
                Deadly(step).arm(self.stores.file, self.stores.database, self.notebook)
                self.move()
            finally:
                os._exit(0)
        return os.waitpid(pid, 0)[1]

    def session(self, kind: str) -> Session:
        environ = {"KIMI_SHARE_DIR": str(self.share)} | ({"KIMI_AUTH_STORE": self.url} if kind == "database" else {})
        return Session(environ=environ, account=self.name)


@pytest.fixture(params=["file", "database"])
def home(request: pytest.FixtureRequest, postgres: Cluster, tmp_path: Path) -> Iterator[Home]:
    made = Home(postgres, tmp_path / "share", request.param)
    yield made
    made.stores.database.close()


def test_everything_moves(home: Home) -> None:
    """Pair, binding and backoff are in the new store, with the device of the login in a database, nothing is left in the old
    one, and there and back again is the same."""
    assert home.move() == FP
    new, old = home.stores.new(home.to), home.stores.old(home.to)
    assert home.live() == [new]
    assert old.read().token is not None
    assert old.read().token.signed_out_at_s > 0
    assert old.binding() is None
    found = new.binding()
    assert found is not None
    assert (found.issuer, found.origins) == ("https://auth.kimi.com", ("https://other.example",))
    assert found.device_id == (DEVICE if home.to == "database" else "")
    assert (new.backoff().failures, new.backoff().code) == (2, "server_error")
    assert not home.notebook.is_there()
    assert begin(home.stores, home.start, home.notebook, device_id=DEVICE) == FP
    assert home.live() == [old]


@pytest.mark.parametrize("finisher", ["file", "database", "again"])
def test_killed_at_every_step(home: Home, finisher: str) -> None:
    """At no step two stores have a pair that may be sent; the next command of either, or the move itself, finishes it."""
    for step in range(STEPS + 1):
        before = home.live()
        status = home.killed_at(step)
        assert os.WIFSIGNALED(status) == (step < STEPS), step
        assert len(home.live()) <= 1, step
        assert home.having(), step
        if finisher == "again":
            finish(home.stores, home.notebook, device_id=DEVICE)
        else:
            settle_sync(components_of(home.session(finisher)))
        assert len(home.live()) == 1, step
        assert len(home.having()) == 1, step
        assert not home.notebook.is_there(), step
        assert (home.live() == before) == (step < 2), step  # before the fence nothing had begun
        if home.live() != before:  # back, for the next step
            home.to = "file" if home.live() == [home.stores.database] else "database"


def test_what_was_renewed_meanwhile_stays(home: Home) -> None:
    """Killed behind the pair's arrival, and the new store has renewed it or signed it out: the old copy only goes."""
    for change in ("renewed", "signed out"):
        assert os.WIFSIGNALED(home.killed_at(ARRIVED))
        new, old = home.stores.new(home.to), home.stores.old(home.to)
        with new.locked(NO_LIMIT_S):
            if change == "renewed":
                new.put(OTHER)
            else:
                new.sign_out(new.clock().wall_s())
        finish(home.stores, home.notebook, device_id=DEVICE)
        assert home.having() == []
        assert (new.read().fp == fingerprint(OTHER)) == (change == "renewed")
        with old.locked(NO_LIMIT_S), new.locked(NO_LIMIT_S):
            new.sign_out(new.clock().wall_s())
            old.put(PAIR)


def test_what_it_refuses(home: Home) -> None:
    """An open claim, another login in the new store, no login: the login stays where it is."""
    old, new = home.stores.old(home.to), home.stores.new(home.to)
    with old.locked(NO_LIMIT_S):
        claim = old.claim(FP)
    with pytest.raises(StorageError, match="not finished"):
        home.move()
    with old.locked(NO_LIMIT_S):
        old.withdraw_claim(claim)
    with new.locked(NO_LIMIT_S):
        new.put(OTHER)
    with pytest.raises(ConfigError, match="another login"):
        home.move()
    assert home.live() == [old]
    with old.locked(NO_LIMIT_S):
        old.sign_out(old.clock().wall_s())
    with pytest.raises(NotSignedIn):
        home.move()
    assert not home.notebook.is_there()


def test_a_revoked_pair_stays_revoked(home: Home) -> None:
    """The server's refusal moves with the pair, so that no process sends it again."""
    old, new = home.stores.old(home.to), home.stores.new(home.to)
    with old.locked(NO_LIMIT_S):
        old.mark_revoked(FP, RevokedMark(5.0, "no"))
    home.move()
    new.look(NO_LIMIT_S)
    assert new.view().mark == RevokedMark(5.0, "no")


def test_a_trial_changes_nothing(home: Home) -> None:
    """It says which pair would move."""
    assert begin(home.stores, home.to, home.notebook, device_id=DEVICE, is_trial=True) == FP
    assert home.live() == [home.stores.old(home.to)]
    assert not home.notebook.is_there()


def test_a_move_to_another_database_is_finished_first(home: Home) -> None:
    """The fence of one move is no refusal of the server for the next one."""
    assert os.WIFSIGNALED(home.killed_at(2))
    other = home.stores._replace(address="postgresql:///?host=elsewhere")
    with pytest.raises(StorageError, match="being moved"):
        begin(other, home.to, home.notebook, device_id=DEVICE)
    assert home.live() == []
    home.move()
    assert home.live() == [home.stores.new(home.to)]


def test_lives_under_another_clock() -> None:
    """Times are those of the store's clock: a pair has the same life after a move, and an unknown end stays unknown."""
    moved = moved_token(PAIR, 10.0)
    assert (moved.expires_at_s, moved.refresh_expires_at_s) == (FAR_S + 10.0, 0.0)
    assert fingerprint(moved) == FP


def test_no_password_in_the_note(postgres: Cluster) -> None:
    """The note has the address without its password, and an address that leads to the same database."""
    text = Address(postgres.url(password="hush", port=5432)).without_password
    assert "hush" not in text
    assert Address(text).name == Address(postgres.url(port=5432)).name
