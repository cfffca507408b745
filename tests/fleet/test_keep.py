"""`kimi_auth.fleet`: every login of a table is kept fresh, each rotation by the machine and rules of every other renewal."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from urllib.request import urlopen

import pytest
from house.patience import NO_LIMIT_S
from servers.postgres import Cluster, key_files

from kimi_auth.fleet import Keeper, Limits
from kimi_auth.store import Backoff, Binding
from kimi_auth.store.postgres import PostgresStore
from kimi_auth.store.postgres.encryption import is_sealed
from kimi_auth.token import Token, fingerprint

LIFE_S = 6000.0
"""Of a pair: no test lasts until it is due a second time."""


class Server:
    """An OAuth server for many logins, in threads: `refresh/<login>/<n>` is spent by its exchange; sent again, it revokes the
    login, but for the last one within `grace_s`, which gets the same answer. `say`: answers of some logins instead."""

    def __init__(self, ttl_s: float = LIFE_S, grace_s: float = 0.0, latency_s: float = 0.0) -> None:
        self.ttl_s, self.grace_s, self.latency_s = ttl_s, grace_s, latency_s
        self.at: dict[str, int] = {}
        self.spent_at: dict[str, float] = {}
        self.dead: set[str] = set()
        self.reused: list[str] = []
        self.exchanges = 0
        self.most, self.under_way = 0, 0
        self.say: dict[str, tuple[int, dict[str, Any]]] = {}
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                status, answer = outer.exchange(form["refresh_token"][0])
                if status == 0:
                    self.close_connection = True
                    return
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            request_queue_size = 1024
            daemon_threads = True

        self._http = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def pair(self, login: str, *, left_s: float = 0.0) -> Token:
        """The first pair of a login, with so much life left."""
        self.at[login] = 0
        return Token(f"access/{login}/0", f"refresh/{login}/0", time.time() + left_s, self.ttl_s, issuer=self.url)

    def exchange(self, refresh: str) -> tuple[int, dict[str, Any]]:
        _, login, number = refresh.split("/")
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        if self.latency_s:
            time.sleep(self.latency_s)
        with self.lock:
            self.under_way -= 1
            if login in self.say:
                return self.say[login]
            is_again = int(number) == self.at[login] - 1 and time.monotonic() - self.spent_at[login] < self.grace_s
            if login in self.dead or (int(number) != self.at[login] and not is_again):
                self.dead.add(login)
                self.reused.append(refresh)
                return 400, {"error": "invalid_grant"}
            if not is_again:
                self.at[login] += 1
                self.spent_at[login] = time.monotonic()
                self.exchanges += 1
            now = self.at[login]
            return 200, {
                "access_token": f"access/{login}/{now}",
                "refresh_token": f"refresh/{login}/{now}",
                "expires_in": self.ttl_s,
                "token_type": "Bearer",
            }

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class Table:
    """A database of its own, a home, and a server."""

    def __init__(self, cluster: Cluster, home: Path, server: Server) -> None:
        self.cluster, self.home, self.server = cluster, home, server
        self.database = cluster.new_database()
        self.url = cluster.url(database=self.database)
        self.environ = {"KIMI_CODE_OAUTH_HOST": server.url, "KIMI_SHARE_DIR": str(home), "KIMI_AUTH_STORE": self.url}

    def use(self, keys: dict[str, str]) -> None:
        """From now on its address names these key files."""
        self.url = self.environ["KIMI_AUTH_STORE"] = self.cluster.url(database=self.database, **keys)

    def ask(self, statement: str, *values: object) -> list[Any]:
        with self.cluster.admin(dbname=self.database) as admin:
            found = admin.execute(statement, values)
            return list(found.fetchall()) if found.description else []

    def store(self, login: str) -> PostgresStore:
        return PostgresStore(self.url, f"oauth/kimi-code@{login}", folder=self.home / "kimi-auth" / "store")

    def sign_in(self, login: str, **pair: float) -> Token:
        token = self.server.pair(login, **pair)
        store = self.store(login)
        with store.locked(NO_LIMIT_S):
            store.put(token)
            store.bind(Binding(self.server.url, device_id="0" * 32))
        return token

    def sign_in_many(self, count: int, *, spread_s: float) -> None:
        """Rows as a login writes them, due within `spread_s` seconds."""
        rows = []
        for number in range(count):
            token = self.server.pair(f"l{number}")
            about = json.dumps({"issuer": self.server.url, "expires_in": self.server.ttl_s, "token_type": "Bearer"})
            parts = (token.access_token.encode(), token.refresh_token.encode(), about, token.expires_at_s)
            rows.append((f"oauth/kimi-code@l{number}", *parts, fingerprint(token), spread_s * number / count))
        with self.cluster.admin(dbname=self.database) as admin, admin.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO kimi_auth.credentials (key, access, refresh, about, expires_at, fp, installed_at, due_at, binding)"
                " VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp(), clock_timestamp() + make_interval(secs => %s),"
                f""" '{{"issuer": "{self.server.url}", "origins": []}}')""",
                rows,
            )

    def row(self, login: str, columns: str) -> tuple[Any, ...]:
        (found,) = self.ask(f"SELECT {columns} FROM kimi_auth.credentials WHERE key = %s", f"oauth/kimi-code@{login}")
        return tuple(found)

    def make_due(self, login: str) -> None:
        self.ask("UPDATE kimi_auth.credentials SET due_at = now() WHERE key = %s", f"oauth/kimi-code@{login}")

    def keep(self, until: Callable[[Keeper], bool], **limits: Any) -> Keeper:
        """A worker in this process, stopped when `until` is true."""

        async def work() -> Keeper:
            keeper = Keeper(self.url, self.home, environ=self.environ, limits=Limits(**limits))
            task = asyncio.create_task(keeper.run())
            while not until(keeper) and not task.done():
                await asyncio.sleep(0.02)
            keeper.stop()
            await task
            return keeper

        return asyncio.run(work())


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def table(postgres: Cluster, server: Server, tmp_path: Path) -> Table:
    return Table(postgres, tmp_path / "home", server)


def ended(keeper: Keeper) -> int:
    return sum(keeper.counts.ends.values())


def test_due_logins_are_renewed(table: Table) -> None:
    """Each due login is exchanged once, with its own device, its lease and claim go, and its next time is in its window."""
    for number in range(5):
        table.sign_in(f"l{number}")
    began_s = time.monotonic()
    keeper = table.keep(lambda keeper: ended(keeper) >= 5)
    took_s = time.monotonic() - began_s  # some of it may lie between an answer and the time that is told from it
    assert keeper.counts.ends == {"renewed": 5}
    assert (table.server.exchanges, table.server.reused) == (5, [])
    for number in range(5):
        store = table.store(f"l{number}")
        store.look(NO_LIMIT_S)
        token = store.read().token
        assert token is not None
        assert (token.access_token, token.refresh_token) == (f"access/l{number}/1", f"refresh/l{number}/1")
        lease, claim, due_s = table.row(
            f"l{number}", "lease_until, claim_nonce, extract(epoch FROM due_at - installed_at)::float8"
        )
        assert (lease, claim) == (None, None)
        assert 2250 - took_s <= due_s <= 2500 + took_s  # 5/12 of 6000 s, up to a tenth earlier
    assert 'kimi_auth_rotations_total{end="renewed"} 5' in keeper.counts.text()
    assert keeper.counts.text().endswith("# EOF\n")


def test_what_is_not_due_is_left(table: Table) -> None:
    """A fresh login, one that was signed out, and one that another process is renewing."""
    table.sign_in("fresh", left_s=table.server.ttl_s)
    table.sign_in("gone")
    table.sign_in("held")
    gone, held = table.store("gone"), table.store("held")
    with gone.locked(NO_LIMIT_S):
        gone.sign_out(time.time())
    with held.locked(NO_LIMIT_S):
        table.ask(
            "UPDATE kimi_auth.credentials SET lease_until = lease_until + interval '1 h' WHERE lease_until > now()"
        )
        table.keep(lambda keeper: keeper.counts.queue.kept == 2)
    assert table.server.exchanges == 0


def test_errors_are_each_login_s_own(table: Table) -> None:
    """A revoked login gets its mark and is never taken again; a server that is overloaded gets a backoff; the others go on."""
    fp = fingerprint(table.sign_in("revoked"))
    table.sign_in("busy")
    table.sign_in("fine")
    table.server.say = {
        "revoked": (400, {"error": "invalid_grant"}),
        "busy": (503, {"error": "temporarily_unavailable"}),
    }
    began_s = time.monotonic()
    keeper = table.keep(lambda keeper: ended(keeper) >= 3)
    took_s = time.monotonic() - began_s  # how wrong the worker can be about the database's clock
    assert keeper.counts.ends["renewed"] == 1
    assert keeper.counts.ends["revoked"] == 1
    assert table.row("revoked", "revoked_fp, due_at, lease_until") == (fp, None, None)
    backoff, due_at_s = table.row("busy", "backoff, extract(epoch FROM due_at)::float8")
    assert json.loads(backoff)["failures"] >= 1
    assert due_at_s >= json.loads(backoff)["retry_at_s"] - took_s
    table.server.say = {}
    table.ask("UPDATE kimi_auth.credentials SET backoff = NULL, due_at = now()")  # the revoked one too: it is not sent
    keeper = table.keep(lambda keeper: ended(keeper) >= 3)
    assert keeper.counts.ends["revoked"] == 1
    assert table.server.reused == []
    assert table.server.at == {"revoked": 0, "busy": 1, "fine": 2}


def test_an_answer_that_was_lost_is_recovered_once_early(table: Table) -> None:
    """The connection ends without an answer: the claim stays, and a server with a grace period gives the pair a second later."""
    table.server.grace_s = 600.0
    table.sign_in("lost")
    table.server.say = {"lost": (0, {})}
    keeper = table.keep(lambda keeper: ended(keeper) >= 1)
    assert set(keeper.counts.ends) == {"in_doubt"}
    closed, due_s = table.row("lost", "claim_closed, extract(epoch FROM due_at - now())")
    assert closed
    assert due_s < 3
    table.server.say = {}
    table.ask("UPDATE kimi_auth.credentials SET backoff = NULL")
    table.make_due("lost")
    keeper = table.keep(lambda keeper: ended(keeper) >= 1)
    assert (keeper.counts.ends, keeper.counts.recovered) == ({"renewed": 1}, 1)


def test_an_answer_that_this_host_keeps_is_committed(table: Table) -> None:
    """The database was away over the end, and so was the worker: the next one on this host commits the answer, unasked."""
    token = table.sign_in("kept")
    store = table.store("kept")
    _, answer = table.server.exchange(token.refresh_token)
    new = Token(answer["access_token"], answer["refresh_token"], time.time() + LIFE_S, LIFE_S, issuer=table.server.url)
    store._spill.keep(fingerprint(token), new)
    keeper = table.keep(lambda keeper: ended(keeper) >= 1)
    assert keeper.counts.ends == {"renewed": 1}
    assert table.server.exchanges == 1
    store.look(NO_LIMIT_S)
    assert store.read().fp == fingerprint(new)
    assert store._spill.kept() == ()


def test_encrypted_rows_are_kept(table: Table, tmp_path: Path) -> None:
    """A worker renews encrypted rows and plain ones, and leaves all encrypted; one without the keys sends nothing and changes
    no pair."""
    table.sign_in("plain")
    table.use(key_files(tmp_path / "keys"))
    table.sign_in("sealed")
    keeper = table.keep(lambda keeper: ended(keeper) >= 2)
    assert keeper.counts.ends == {"renewed": 2}
    pairs = [table.row(login, "access, refresh, fp") for login in ("plain", "sealed")]
    assert all(is_sealed(value) for pair in pairs for value in pair[:2])
    table.make_due("plain")
    table.make_due("sealed")
    table.use(key_files(tmp_path / "others"))
    keeper = table.keep(lambda keeper: ended(keeper) >= 2)
    assert keeper.counts.ends == {"postponed": 2}
    assert table.server.exchanges == 2
    assert [table.row(login, "access, refresh, fp") for login in ("plain", "sealed")] == pairs
    assert table.row("sealed", "claim_nonce, due_at > installed_at + interval '10 min'") == (None, True)


def test_an_answer_whose_key_is_lost_is_not_asked_for_again(table: Table, tmp_path: Path) -> None:
    """This host keeps an encrypted answer, the row is plain: without the key the pair is not sent, with it the answer is
    committed."""
    token, keys = table.sign_in("kept"), key_files(tmp_path / "keys")
    _, answer = table.server.exchange(token.refresh_token)
    new = Token(answer["access_token"], answer["refresh_token"], time.time() + LIFE_S, LIFE_S, issuer=table.server.url)
    table.use(keys)
    table.store("kept")._spill.keep(fingerprint(token), new)
    table.use({})
    assert table.keep(lambda keeper: ended(keeper) >= 1).counts.ends == {"foreign": 1}
    table.use(keys)
    table.make_due("kept")
    assert table.keep(lambda keeper: ended(keeper) >= 1).counts.ends == {"renewed": 1}
    assert table.server.exchanges == 1
    assert table.row("kept", "fp") == (fingerprint(new),)


def test_a_database_that_has_gone_back_sends_nothing(table: Table) -> None:
    """This host has seen a newer pair of the row: the one that is there is spent."""
    table.sign_in("back")
    table.ask("SET session_replication_role = replica; UPDATE kimi_auth.credentials SET generation = generation - 1000")
    keeper = table.keep(lambda keeper: ended(keeper) >= 1)
    assert keeper.counts.ends == {"unreadable": 1}
    assert table.server.exchanges == 0


def test_no_more_in_flight_than_the_limit(table: Table) -> None:
    """Rows are taken as requests end: no claim waits for its request."""
    table.server.latency_s = 0.2
    table.sign_in_many(12, spread_s=0.0)
    table.keep(lambda keeper: ended(keeper) >= 12, in_flight=4)
    assert table.server.most <= 4
    assert (table.server.exchanges, table.server.reused) == (12, [])


def test_a_shared_backoff_counts(table: Table) -> None:
    """What another process has met holds the worker off too, until its end."""
    table.sign_in("later")
    store = table.store("later")
    began_s = time.monotonic()
    retry_at_s = time.time() + 600
    with store.locked(NO_LIMIT_S):
        store.set_backoff(Backoff(retry_at_s=retry_at_s, failures=3, code="server_error"))
    keeper = table.keep(lambda keeper: ended(keeper) >= 1)
    assert keeper.counts.ends == {"postponed": 1}
    assert table.server.exchanges == 0
    claim, due_at_s = table.row("later", "claim_nonce, extract(epoch FROM due_at)::float8")
    assert claim is None
    took_s = time.monotonic() - began_s  # how wrong the worker can be about the database's clock
    assert retry_at_s - took_s <= due_at_s <= retry_at_s + 60 + took_s


class Command:
    """`kimi-auth store keep` as a process, with its figures."""

    def __init__(self, table: Table, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kimi_auth", "store", "keep", "--metrics", "127.0.0.1:0", *args],
            env={**os.environ, **table.environ},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.said = [self.process.stderr.readline()]
        found = re.search(r"http://\S+/metrics", self.said[0])
        assert found, self.said[0] + self.process.stderr.read()
        self.metrics_at = found[0]
        self._reader = threading.Thread(target=self.said.extend, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def metrics(self) -> dict[str, float]:
        with urlopen(self.metrics_at) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            lines = answer.read().decode().splitlines()
        assert lines[-1] == "# EOF"
        return {name: float(value) for name, value in (line.split(" ") for line in lines if line[0] != "#")}

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


@contextmanager
def keeping(table: Table, *args: str) -> Iterator[Command]:
    command = Command(table, *args)
    try:
        yield command
        workers = command.workers()
        assert command.end() == 0, command.said
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    finally:
        if command.process.poll() is None:
            command.end()


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


def test_the_command(table: Table) -> None:
    """Processes renew the due logins, show their figures, and at SIGTERM store the answers that are under way."""
    table.server.latency_s = 0.3
    table.sign_in_many(6, spread_s=0.0)
    with keeping(table, "--workers", "2") as command:
        until(lambda: table.server.exchanges >= 6)
        until(lambda: command.metrics().get('kimi_auth_rotations_total{end="renewed"}', 0) >= 6)
        until(lambda: command.metrics()["kimi_auth_logins"] == 6)
        table.ask("UPDATE kimi_auth.credentials SET due_at = now()")
        until(lambda: table.server.most >= 1 and table.server.exchanges + table.server.under_way > 6)
    assert table.ask("SELECT count(*) FROM kimi_auth.credentials WHERE lease_until IS NOT NULL") == [(0,)]
    assert is_kept(table)


def test_what_the_command_refuses(table: Table) -> None:
    """No database, no worker, no address for its figures."""

    def status(*args: str, **environ: str) -> int:
        command = [sys.executable, "-m", "kimi_auth", "store", "keep", *args]
        env = {**os.environ, **table.environ, **environ}
        return subprocess.run(command, env=env, capture_output=True, check=False).returncode

    assert status(KIMI_AUTH_STORE="") == 9
    assert status("--workers", "0") == 2
    assert status("--metrics", "here:there") == 2


def stored(table: Table) -> dict[str, str]:
    """The refresh token of each row."""
    return dict(table.ask("SELECT key, convert_from(refresh, 'UTF8') FROM kimi_auth.credentials"))


def known(table: Table) -> dict[str, str]:
    """The newest refresh token of each login, as the server knows it."""
    return {f"oauth/kimi-code@{login}": f"refresh/{login}/{number}" for login, number in table.server.at.items()}


def is_kept(table: Table) -> bool:
    """Whether each login in the table is the one that the server knows, and nothing was sent twice."""
    assert stored(table) == known(table)
    return table.server.reused == [] and not table.server.dead


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_worker_dies_and_the_database_restarts(
    tmp_path: Path, postgres_factory: Callable[..., Cluster], server: Server, mode: str
) -> None:
    """200 logins of 30 s, two workers, one of them killed, and the database restarted: nothing is sent twice but in declared
    recovery, which the server's grace period allows, and no login is lost."""
    server.ttl_s, server.grace_s, server.latency_s = 30.0, 600.0, 0.05
    cluster = postgres_factory()
    table = Table(cluster, tmp_path / "home", server)
    table.sign_in_many(200, spread_s=5.0)
    with keeping(table, "--workers", "2") as command:
        until(lambda: server.exchanges >= 250)
        os.kill(command.workers()[0], signal.SIGKILL)
        until(lambda: server.exchanges >= 350)
        cluster.stop(mode)
        cluster.start()
        before = server.exchanges
        until(lambda: server.exchanges >= before + 300 and min(server.at.values()) >= 3)
    server.ttl_s = 600.0
    with keeping(
        table, "--workers", "1"
    ):  # an answer that a slow database did not take is on this host's disk until now
        until(lambda: stored(table) == known(table))
    assert is_kept(table)
