"""A clock that is set by hand, and both stores behind one small set of handles."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from house.environments import unmeasured
from house.patience import NO_LIMIT_S
from servers.postgres import Cluster, key_files

from kimi_auth.clock import SystemClock
from kimi_auth.store import FileStore, MemoryStore, claims, owners
from kimi_auth.store.owners import Owner
from kimi_auth.store.postgres import PostgresStore
from kimi_auth.store.postgres.row import encode_owner
from kimi_auth.token import Token


@dataclass
class HandClock:
    """A `Clock` whose hands a test moves."""

    wall: float = 1_800_000_000.0
    boottime: float = 1_000.0
    boot: str = "boot-a"

    def wall_s(self) -> float:
        return self.wall

    def monotonic_s(self) -> float:
        return self.boottime

    def boottime_s(self) -> float:
        return self.boottime

    def boot_id(self) -> str:
        return self.boot

    def sleep(self, seconds: float) -> None:
        self.boottime += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


@dataclass
class Place:
    """A store and what a test does to it from outside: `spoil` the record, make the medium refuse (`refuse_writes`), leave an
    open claim of another process on a pair (`leave`), `fix` the record where it is, as a file that is a mount of its
    own."""

    store: FileStore | MemoryStore | PostgresStore
    clock: HandClock
    spoil: Callable[[], None]
    refuse_writes: Callable[[], None]
    leave: Callable[[str, Owner], None]
    fix: Callable[[], None]

    @property
    def clock_goes_on(self) -> bool:
        """Whether the store's time is a database's, which no test stops."""
        return isinstance(self.store, PostgresStore)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def pair() -> Callable[..., Token]:
    """Makes the n-th pair of a login."""

    def make(number: int = 1, **changes: object) -> Token:
        values = {"expires_at_s": 1_800_000_900.0, "expires_in_s": 900.0, "issuer": "https://auth.kimi.com"} | changes
        return Token(f"access-{number}", f"refresh-{number}", **values)  # type: ignore[arg-type]

    return make


@pytest.fixture
def file_store(tmp_path: Path, clock: HandClock) -> FileStore:
    """A file store whose directory exists and is empty."""
    store = FileStore(tmp_path / "share", clock=clock)
    store.check_writable()
    return store


@pytest.fixture(params=["file", "memory", "postgres", "encrypted"])
def place(request: pytest.FixtureRequest, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param in {"postgres", "encrypted"}:
        return in_a_database(request, clock)
    return on_this_host(request, clock, monkeypatch)


@pytest.fixture(params=["file", "memory"])
def local_place(request: pytest.FixtureRequest, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A store whose waits each boot measures on its own clock; a database has one clock for all."""
    return on_this_host(request, clock, monkeypatch)


def on_this_host(request: pytest.FixtureRequest, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "memory":
        memory = MemoryStore(clock)

        def leave_in_memory(fp: str, owner: Owner) -> None:
            memory._claims[fp] = claims.Found(claims.new(fp, owner))

        refuse, fix = (partial(setattr, memory, name, True) for name in ("fail_writes", "fixed"))
        return Place(memory, clock, memory.spoil, refuse, leave_in_memory, fix)
    store: FileStore = request.getfixturevalue("file_store")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def leave(fp: str, owner: Owner) -> None:
        path = store.path.with_name(f"kimi-code.{fp}.next")
        path.write_bytes(claims.unfinished(claims.new(fp, owner)).ljust(claims.ALLOCATE, b"\0"))

    return Place(
        store,
        clock,
        lambda: store.path.write_bytes(b'{"access_token": '),
        lambda: monkeypatch.setattr(os, "pwrite", full),
        leave,
        lambda: monkeypatch.setattr("kimi_auth.files.replacing.mount_of_its_own", lambda *_: "/a/mount"),
    )


def in_a_database(request: pytest.FixtureRequest, clock: HandClock) -> Place:
    """A row of its own; what a test does to it, the administrator does."""
    cluster: Cluster = request.getfixturevalue("postgres")
    key = cluster.new_key()
    keys = key_files(request.getfixturevalue("tmp_path") / "keys") if request.param == "encrypted" else {}
    store = PostgresStore(cluster.url(**keys), key)
    request.addfinalizer(store.close)
    store.look(NO_LIMIT_S)

    def change(statement: str, *values: object) -> None:
        cluster.ask(statement, *values)
        store.look(NO_LIMIT_S)

    def change_quietly(assignments: str, *values: object) -> None:
        change(f"UPDATE kimi_auth.credentials SET {assignments} WHERE key = %s", *values, key)

    def leave(fp: str, owner: Owner) -> None:
        owner = (
            owner._replace(boot=SystemClock().boot_id()) if owner.boot == clock.boot else owner
        )  # the one boot that is
        cluster.ask("INSERT INTO kimi_auth.credentials (key) VALUES (%s) ON CONFLICT DO NOTHING", key)
        change_quietly(
            "claim_fp = %s, claim_nonce = %s, claim_owner = %s, claim_at = clock_timestamp(), claim_closed = false,"
            " claim_under = kimi_auth.incarnation(), claim_witness = 1, staged = NULL",
            fp, claims.new(fp, owner).nonce, encode_owner(owner),
        )  # fmt: skip

    def refuse() -> None:
        request.addfinalizer(lambda: cluster.ask("GRANT UPDATE, INSERT ON kimi_auth.credentials TO kimi_auth_renewer"))
        change("REVOKE UPDATE, INSERT ON kimi_auth.credentials FROM kimi_auth_renewer")

    return Place(store, clock, lambda: change_quietly("about = '{'"), refuse, leave, refuse)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives this machine another name."""
    return lambda name: monkeypatch.setattr(owners, "_node_name", lambda: name)


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Makes every call of one function of `os` fail with an errno."""

    def make(name: str, number: int) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, name, refuse)

    return make


@pytest.fixture
def refuse_open(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    """Makes opening every file whose name ends so fail with an errno."""

    def make(number: int, ending: str) -> None:
        original = os.open

        def fail(path: object, *args: int, **kwargs: int) -> int:
            if str(path).endswith(ending):
                raise OSError(number, os.strerror(number), str(path))
            return original(str(path), *args, **kwargs)

        monkeypatch.setattr(os, "open", fail)

    return make


@pytest.fixture
def linked(tmp_path: Path, file_store: FileStore) -> Path:
    """The credential is a link through another link to a file elsewhere."""
    target = tmp_path / "vault" / "team.json"
    target.parent.mkdir()
    target.write_text('{"access_token": "a", "refresh_token": "r", "expires_at": 5.0, "expires_in": 9}')
    (tmp_path / "hop").symlink_to("vault/team.json")
    file_store.path.symlink_to("../../hop")
    return target


@pytest.fixture
def child_environment() -> dict[str, str]:
    """For a Python that imports what this one does. It measures no coverage: killed, it would leave half a file of it."""
    kept = unmeasured()
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path)}
