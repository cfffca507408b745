"""What `store check` and `doctor` say of the way to a database, and of the database itself; each finding with its next step."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from house.patience import NO_LIMIT_S
from life import authority
from servers.postgres import Cluster

from kimi_auth.store import Finding
from kimi_auth.store.postgres import PostgresReader, PostgresStore
from kimi_auth.store.postgres.spill import Seen
from kimi_auth.store.postgres.way import clock, round_trip
from kimi_auth.token import Token

KEY = "oauth/kimi-code"
PAIR = Token("access", "refresh", 4_000_000_000.0, 900.0)
HUSH = "a-password-that-nothing-shows"


def found(store: PostgresStore | PostgresReader) -> dict[str, Finding]:
    """The findings by their names; no text of theirs has the password."""
    try:
        findings = list(store.examine())
    finally:
        store.close()
    assert HUSH not in repr(findings)
    return {finding.name: finding for finding in findings}


def test_all_is_well(postgres: Cluster) -> None:
    """A renewer on a good database: every check is there, and none has a next step."""
    checks = found(PostgresStore(postgres.url(password=HUSH), postgres.new_key()))
    assert [name for name, finding in checks.items() if finding.step] == []
    assert {"TLS", "round trip", "clock", "rights", "incarnation", "connections"} <= set(checks)
    assert "renewer may renew" in checks["rights"].evidence
    assert "timeline 1, up since 20" in checks["incarnation"].evidence


def test_roles(postgres: Cluster) -> None:
    """A superuser is told that less is enough; a reader, how a renewer is made."""
    assert "is a superuser" in found(PostgresStore(postgres.url("postgres"), postgres.new_key()))["rights"].evidence
    reader = found(PostgresReader(postgres.url("reader"), postgres.new_key()))["rights"]
    assert reader.step == "GRANT kimi_auth_renewer TO reader"


def test_a_database_that_is_away(tmp_path: Path) -> None:
    """One finding, whose next step is not the command that says it."""
    checks = found(PostgresStore(f"postgresql://u:{HUSH}@/logins?host={tmp_path}", KEY))
    assert list(checks) == ["database"]
    assert checks["database"].step
    assert "store check" not in checks["database"].step


def test_measures() -> None:
    """A far database, and clocks that differ, have a next step; near ones have none."""
    assert (round_trip(0.01, 5).step, clock(-0.4).step) == ("", "")
    assert "nearer" in round_trip(0.3, 5).step
    assert "-6.0 s" in clock(-6.0).evidence
    assert "NTP" in clock(-6.0).step


def test_it_has_gone_back(postgres: Cluster, tmp_path: Path) -> None:
    """A host that has seen a newer generation says both numbers, and what to do."""
    key = postgres.new_key()
    store = PostgresStore(postgres.url(), key, folder=tmp_path)
    with store.locked(NO_LIMIT_S):
        store.put(PAIR)
    assert "the newest" in found(store)["generation"].evidence
    ((generation,),) = postgres.ask("SELECT generation FROM kimi_auth.credentials WHERE key = %s", key)
    assert store._spill is not None
    store._spill.note(Seen(generation + 5, "abc"))
    gone = found(store)["generation"]
    assert f"generation {generation}, this host has seen {generation + 5}" in gone.evidence
    assert "login --force" in gone.step


@pytest.mark.parametrize(
    ("limit", "step"),
    [("ROLE renewer", "ALTER ROLE"), ("DATABASE postgres", "ALTER DATABASE"), ("", "max_connections")],
)
def test_few_connections_are_left(postgres_factory: Callable[..., Cluster], limit: str, step: str) -> None:
    """The limit that leaves the fewest is named: the server's, the role's or the database's."""
    cluster = postgres_factory(max_connections=10 if not limit else 50)
    if limit:
        cluster.ask(f"ALTER {limit} CONNECTION LIMIT 2")
    cluster.alone()
    with ExitStack() as stack:
        for _ in range(5 if not limit else 0):
            stack.enter_context(cluster.admin())
        checks = found(PostgresStore(cluster.url(), KEY))
    assert step in checks["connections"].step


def test_a_crowd_of_another_role_counts(postgres_factory: Callable[..., Cluster]) -> None:
    """Where other roles have taken most connections, a process gives its own back when it is idle."""
    cluster = postgres_factory(max_connections=10)
    cluster.alone()
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(cluster.admin())
        store = PostgresStore(cluster.url(), KEY)
        store.look(NO_LIMIT_S)
        newest = store._line.newest
        assert newest is not None
        assert newest.is_crowded
        store.close()


@pytest.fixture
def encrypted(
    postgres_factory: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Makes the address of a database with a certificate that lives so many days, on a loopback address of its own."""
    pytest.importorskip("cryptography")
    address = (
        f"127.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}.9"  # the port is the socket's: no other test has this pair
    )

    def make(days: int, **parameters: object) -> str:
        monkeypatch.setattr(authority, "VALID", datetime.timedelta(days=days, hours=1))
        ours = authority.Authority(tmp_path)
        cluster = postgres_factory(listen_addresses=f"'{address}'")
        pair = cluster.folder / "server.pem"
        shutil.copy(tmp_path / "server.pem", pair)
        pair.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(pair, "postgres", "postgres")
        for name, value in {"ssl": "on", "ssl_cert_file": pair, "ssl_key_file": pair}.items():
            cluster.ask(f"ALTER SYSTEM SET {name} = '{value}'")
        cluster.stop()
        cluster.start()
        usual = {"host": "127.0.0.1", "hostaddr": address, "sslmode": "verify-full", "sslrootcert": ours.file}
        return cluster.url(password=HUSH, **usual | parameters)

    return make


@pytest.mark.parametrize(("days", "has_step"), [(300, False), (3, True)])
def test_a_certificate(encrypted: Callable[..., str], days: int, has_step: bool, tmp_path: Path) -> None:
    """What the database was checked against, and when its certificate ends; two weeks before that is a finding."""
    tls = found(PostgresStore(encrypted(days), KEY))["TLS"]
    assert "encrypted, verify-full of 127.0.0.1 against" in tls.evidence
    assert str(tmp_path / "ca.pem") in tls.evidence
    assert f"ends in {days} days" in tls.evidence
    assert bool(tls.step) == has_step


@pytest.mark.parametrize(
    ("mode", "words"),
    [("require", "encrypted and not verified (sslmode=require)"), ("disable", "not encrypted, within")],
)
def test_without_a_check(encrypted: Callable[..., str], mode: str, words: str) -> None:
    """On this host less is allowed, and is said."""
    url = encrypted(300, sslmode=mode)
    url = url.replace("sslrootcert=", "application_name=") if mode == "require" else url  # a root makes libpq check it
    assert words in found(PostgresStore(url, KEY))["TLS"].evidence
