"""UNIX sockets of a database: one that another user may offer is not asked, shown with real users."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth.errors import ConfigError, StorageError
from kimi_auth.store.postgres import Address, PostgresStore
from kimi_auth.store.postgres.database_session import connected

pytest.importorskip("psycopg")
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users; run: sudo make test"),
    pytest.mark.root,
]

MALLORY = 4712
DAEMON, BIN = 1, 2
"""Of services, each the only one of its group."""


@pytest.fixture
def world() -> Iterator[Path]:
    """A directory of root's that every user can reach."""
    with tempfile.TemporaryDirectory(prefix="ka-sockets-", dir="/var/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def made(path: Path, mode: int, uid: int = 0, gid: int = 0) -> Path:
    path.mkdir()
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


LAST = b"the last connection of the test"


class Mallory:
    """A process of that user which has taken the socket's name before the server, and counts what it is sent."""

    def __init__(self, folder: Path) -> None:
        self._name = str(folder / ".s.PGSQL.5432")
        self._read_end, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setgroups([])
                os.setgid(MALLORY)
                os.setuid(MALLORY)
                self._serve(self._name, write_end)
            finally:
                os._exit(1)
        os.close(write_end)
        assert os.read(self._read_end, 1) == b"!"

    @staticmethod
    def _serve(name: str, report: int) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.bind(name)
        Path(name).chmod(0o777)
        server.listen()
        os.write(report, b"!")
        received = b""
        while received != LAST:
            end, _ = server.accept()
            received = end.recv(1024)
            if received != LAST:
                os.write(report, f"{len(received)} ".encode())
            end.close()

    def end(self) -> list[str]:
        """How many bytes came over each connection.

        Connections are accepted in the order in which they were made: a process that has met the last has counted all before it.
        """
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self._name)
            last.sendall(LAST)
            assert last.recv(1) == b""
        os.waitpid(self.pid, 0)
        with os.fdopen(self._read_end, "rb") as told:
            return told.read().decode().split()


def is_refused(host: object, **parameters: object) -> bool:
    words = "&".join(f"{name}={value}" for name, value in {"host": host, **parameters}.items())
    try:
        Address(f"postgresql:///logins?{words}")
    except ConfigError as error:
        return "requirepeer=" in error.hint
    return False


def test_which_directories(world: Path) -> None:
    """Ours, a service's and another user's own are asked; one that users beside its owner can write, or that anyone may have
    made, is not."""
    shared = made(world / "shared", 0o1777)
    open_to_all = made(world / "open", 0o777)
    table = {
        made(world / "ours", 0o755): False,
        made(world / "service", 0o2775, DAEMON, DAEMON): False,  # a group without other members, as Debian's postgres
        made(world / "group", 0o2775, DAEMON, BIN): True,
        made(world / "hers", 0o755, MALLORY): False,  # where only root makes directories, one is as root means it
        shared: True,
        open_to_all: True,
        made(shared / "service", 0o755, DAEMON): False,
        made(shared / "hers", 0o755, MALLORY): True,
        made(open_to_all / "ours", 0o755): True,  # any user may replace it
        world / "missing": False,
        Path("@abstract"): True,
    }
    assert {path: is_refused(path) for path in table} == table
    assert not any(is_refused(path, requirepeer="postgres") for path in table)
    (world / "link").symlink_to(shared)
    assert is_refused(world / "link")
    assert is_refused(f"{world / 'ours'},{shared}")


def test_the_variables_count(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PGHOST and PGREQUIREPEER stand for what the address does not say."""
    monkeypatch.setenv("PGHOST", str(made(world / "shared", 0o1777)))
    with pytest.raises(ConfigError, match="every user may offer"):
        Address("postgresql:///logins")
    monkeypatch.setenv("PGREQUIREPEER", "postgres")
    Address("postgresql:///logins")


def test_another_user_offers_it(world: Path) -> None:
    """Mallory's process is at the socket: without requirepeer it is not even connected to, with it nothing is sent."""
    shared = made(world / "shared", 0o1777)
    url = f"postgresql://renewer:hush@/logins?host={shared}"
    mallory = Mallory(shared)
    try:
        with pytest.raises(ConfigError):
            PostgresStore(url, "oauth/kimi-code")
        store = PostgresStore(f"{url}&requirepeer=root", "oauth/kimi-code")
        store.look(NO_LIMIT_S)
        problem = store.view().snapshot.problem
        store.close()
    finally:
        sent = mallory.end()
    assert problem is not None
    assert str(MALLORY) in problem.message or "requirepeer" in problem.message  # libpq wants a name for every user
    assert set(sent) == {"0"}


def test_a_directory_that_became_writable(world: Path) -> None:
    """The address was good when it was read; each connection looks again."""
    folder = made(world / "ours", 0o755)
    address = Address(f"postgresql:///logins?host={folder}")
    folder.chmod(0o1777)
    mallory = Mallory(folder)
    try:
        with pytest.raises(StorageError, match="may offer"):
            connected(address)
    finally:
        assert mallory.end() == []
