"""A PostgreSQL cluster of the tests' own, on a UNIX socket below a directory that only they know, and pgbouncer before it.

    def test_something(postgres): ...          a Cluster with the schema; other tests use it too, so each takes its own key
    def test_something(postgres_factory):      one that a test may stop, break and restart

Debian's `postgresql` and `pgbouncer` bring the programs. Without them a test is skipped with the command that helps, and
fails when CI=true.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from house.patience import joined, until

from kimi_auth.store.postgres import sql

PORT = 5432
"""Of a UNIX socket's name: no port is taken."""


def program(name: str) -> str:
    """The path of a program of PostgreSQL, "" where it is missing. Debian keeps most of them out of PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    path = ":".join([*map(str, places), os.environ.get("PATH", os.defpath), "/usr/sbin"])
    return shutil.which(name, path=path) or ""


def missing(*names: str) -> tuple[str, str] | None:
    """Which of these programs is missing, and the command that brings it; None for none."""
    for name in names:
        if not program(name):
            return f"{name} is not here", f"apt-get install {'pgbouncer' if name == 'pgbouncer' else 'postgresql'}"
    return None


def key_files(folder: Path, *, access: int = 1, refresh: int = 1) -> dict[str, str]:
    """Parameters for `Cluster.url`: files with so many new keys each."""
    from base64 import b64encode

    folder.mkdir(mode=0o700, exist_ok=True)
    named = {}
    for name, count in (("access", access), ("refresh", refresh)):
        path = folder / f"{name}.keys"
        lines = [b64encode(os.urandom(32)).decode() for _ in range(count)]
        path.write_text("\n".join(["# of the tests", *lines, ""]))
        path.chmod(0o600)
        named[f"{name}-key-file"] = str(path)
    return named


def not_as_root() -> list[str]:
    """What starts a program as the user `postgres`, where the tests run as root: the server refuses root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


def exists(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Cluster:
    """A data directory and its server. `options`: settings for postgresql.conf."""

    def __init__(self, **options: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ka-pg-", dir="/tmp"))
        self._held = ExitStack()
        self._keys = 0
        self._served: list[int] = []
        self._held.callback(shutil.rmtree, self.folder, ignore_errors=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self.data = self.folder / "data"
        self._run("initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
        settings = {
            "listen_addresses": "''",
            "unix_socket_directories": f"'{self.folder}'",
            "port": PORT,
            "shared_buffers": "'16MB'",
            "max_connections": 150,
        } | options
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        self.start()

    def make_tables(self) -> None:
        """The schema, the roles, and a login role for each: `renewer`, `reader`."""
        roles = (f"CREATE ROLE {name} LOGIN IN ROLE kimi_auth_{name}" for name in ("renewer", "reader"))
        self._prepare("postgres", *roles)

    def new_key(self) -> str:
        """A key that no other test has."""
        self._keys += 1
        return f"oauth/test-{self._keys}"

    def new_database(self, *statements: str) -> str:
        """The name of a database that no other test has, prepared as `store init` does it; then `statements`."""
        name = self.new_key().replace("oauth/test-", "database_")
        self.ask(f"CREATE DATABASE {name}")
        self._prepare(name, *statements)
        return name

    def _prepare(self, database: str, *statements: str) -> None:
        with self.admin(dbname=database) as admin:
            for statement in (sql.SCHEMA, sql.ROLES, *statements):
                admin.execute(statement)

    def start(self) -> None:
        """Starts the server, and returns when it answers."""
        log = self.folder / "log"
        self._run("pg_ctl", "-D", self.data, "-l", log, "-w", "-t", "120", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stops it: `fast` ends the sessions, `immediate` is a crash."""
        with suppress(subprocess.CalledProcessError):  # it has stopped already
            self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", "120", "stop")

    def close(self) -> None:
        self.stop("immediate")
        self._held.close()

    def url(self, user: str = "renewer", database: str = "postgres", **parameters: object) -> str:
        """The address for `KIMI_AUTH_STORE`."""
        words = {"host": self.folder, "user": user} | parameters
        return f"postgresql:///{database}?{'&'.join(f'{name}={value}' for name, value in words.items())}"

    def admin(self, **options: Any) -> Any:
        """A connection of the superuser, in autocommit mode."""
        import psycopg

        made = psycopg.connect(self.url("postgres"), autocommit=True, **options)
        self._served.append(made.info.backend_pid)
        return made

    def alone(self) -> None:
        """Waits for the end of the server's process of each `admin`, all of them closed: until then it counts against limits."""
        until(lambda tick_s: not any(map(exists, self._served)) or time.sleep(min(tick_s, 0.01)), "the end of sessions")

    def ask(self, statement: str, *values: object) -> list[Any]:
        """The rows of a statement of the superuser's."""
        with self.admin() as connection:
            found = connection.execute(statement, values)
            return list(found.fetchall()) if found.description else []

    def _run(self, name: str, *args: object) -> None:
        subprocess.run(
            [*not_as_root(), program(name), *map(str, args)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )


class Bouncer:
    """pgbouncer before a cluster, in one of its pool modes."""

    def __init__(self, cluster: Cluster, mode: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ka-pb-", dir="/tmp"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        config = self.folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={cluster.folder} port={PORT}\n[pgbouncer]\nlisten_addr =\nlisten_port = {PORT}\n"
            f"unix_socket_dir = {self.folder}\nauth_type = trust\nauth_file = {self.folder}/users\npool_mode = {mode}\n"
            f"default_pool_size = 10\nignore_startup_parameters = extra_float_digits,options\nlogfile = {self.folder}/log\n"
        )
        (self.folder / "users").write_text('"renewer" ""\n')
        self.process = subprocess.Popen(
            [*not_as_root(), program("pgbouncer"), "-q", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._accepts, "pgbouncer")

    def _accepts(self, tick_s: float) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(str(self.folder / f".s.PGSQL.{PORT}")) == 0:
                return True
        time.sleep(min(tick_s, 0.01))
        return False

    def close(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Way:
    """The way to a cluster, on a UNIX socket of its own: `stall` stops every byte, as a network does that drops packets."""

    def __init__(self, cluster: Cluster) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ka-px-", dir="/tmp"))
        self._far = str(cluster.folder / f".s.PGSQL.{PORT}")
        self._flows = threading.Event()
        self._flows.set()
        self._ends: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / f".s.PGSQL.{PORT}"))
        self._listener.listen(64)
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def stall(self) -> None:
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._flows.set()
        joined(self._accepting)
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            joined(thread)
        for end in (self._listener, *self._ends):
            end.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                self._flows.wait()
                far = socket.socket(socket.AF_UNIX)
                self._ends += [near, far]
                try:
                    far.connect(self._far)
                except OSError:
                    near.close()
                    continue
                for source, target in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pump, args=(source, target), daemon=True)
                    thread.start()
                    self._threads.append(thread)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._flows.wait()
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
