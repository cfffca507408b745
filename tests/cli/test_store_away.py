"""A database that keeps the logins and cannot be asked, or takes no writes: no command takes that for a login, or for none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S
from servers.postgres import Cluster

from kimi_auth.cli.completion import complete_accounts
from kimi_auth.session import Session
from kimi_auth.store.postgres import PostgresStore

Run = Callable[..., Any]

SAID = "cannot be reached"


@pytest.fixture
def database(postgres: Cluster) -> str:
    """The name of a database that no other test has."""
    return postgres.new_database()


@pytest.fixture
def away(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address leads to a directory without a socket."""
    pytest.importorskip("psycopg")
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("KIMI_AUTH_STORE", f"postgresql:///logins?host={tmp_path / 'none'}")
    monkeypatch.setattr("kimi_auth.components.PATIENCE_S", 1.5)


def signed_in(kimi: Run, *labels: str) -> None:
    for label in labels:
        assert kimi("login", "--account", label).status == 0


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "status --json",
        "status --verify",
        "status --all",
        "accounts list",
        "token",
        "run -- true",
        "me",
        "logout",
    ],
)
def test_a_store_that_never_answered(away: None, kimi: Run, command: str) -> None:
    """Every command ends with the exit status of a store, and says that it cannot be reached and what to do next."""
    said = kimi(*command.split())
    assert said.status == 8
    assert SAID in said.err + said.out
    assert "signed in" not in said.out
    if command == "status":
        assert "not known: the store cannot be reached" in said.out
        assert "kimi-auth store check" in said.err
    if command == "status --json":
        assert (said.json["error"]["code"], said.json["fp"], said.json["expires_at"]) == ("storage", "", None)


def test_doctor_takes_it_for_no_login(away: None, kimi: Run) -> None:
    """The credential is a finding, not well."""
    checks = {one["check"]: one for one in kimi("doctor", "--json").json["checks"]}
    assert checks["credential"]["verdict"] == "finding"
    assert "not known" in checks["credential"]["evidence"]
    assert checks["database"]["verdict"] == "finding"


def test_the_last_known_end_is_shown(
    kimi: Run, postgres_factory: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that has seen the login shows its pair and when its token ended, with the exit status of the store."""
    cluster = postgres_factory()
    monkeypatch.setenv("KIMI_AUTH_STORE", cluster.url(database="postgres"))
    assert kimi("login").status == 0
    cluster.ask("UPDATE kimi_auth.credentials SET expires_at = extract(epoch FROM clock_timestamp()) - 65")
    store = PostgresStore(
        cluster.url(database="postgres"), "oauth/kimi-code"
    )  # keeps this process's line and its memory
    store.look(NO_LIMIT_S)
    fp = store.read().fp
    cluster.stop("immediate")
    said = kimi("status")
    assert said.status == 8
    assert "the token has expired, and its store cannot take another one now" in said.out
    assert "expired 1 min" in said.out
    assert fp in said.out
    assert kimi("status", "--json").json["expires_at"] == pytest.approx(store.read().token.expires_at_s)  # type: ignore[union-attr]
    store.close()


def test_a_login_that_cannot_be_written_back(
    kimi: Run, database: str, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica with an expired token: no command can renew it, and status says so; while the token lives, all is well."""
    monkeypatch.setenv("KIMI_AUTH_STORE", postgres.url(database=database))
    signed_in(kimi, "default")
    postgres.ask(f"ALTER DATABASE {database} SET default_transaction_read_only = on")

    monkeypatch.setenv(
        "KIMI_AUTH_STORE", postgres.url(database=database, application_name="second")
    )  # as a new process
    assert kimi("status").status == 0
    with postgres.admin(dbname=database) as admin:
        admin.execute("SET default_transaction_read_only = off")
        admin.execute("UPDATE kimi_auth.credentials SET expires_at = 1")
    monkeypatch.setenv("KIMI_AUTH_STORE", postgres.url(database=database, application_name="third"))
    said = kimi("status", "--json")
    assert said.status == 8, said
    assert said.json["error"]["code"] == "unwritable"
    assert kimi("token").status == 8


def test_labels_in_a_database_are_completed(
    kimi: Run, database: str, postgres: Cluster, share_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell completes the accounts of the store that is used, for a reader too, and not those of the home's files."""
    signed_in(kimi, "in-a-file")
    for url in (postgres.url(database=database), postgres.url("reader", database).replace("://", "+reader://", 1)):
        monkeypatch.setenv("KIMI_AUTH_STORE", url)
        if "reader" not in url:
            signed_in(kimi, "default", "work")
        assert complete_accounts("") == ["default", "work"]
        assert complete_accounts("w") == ["work"]
    listed = kimi("accounts", "list", "--json").json["accounts"]
    assert {one["label"] for one in listed if one["state"] != "absent"} == {"default", "work"}
    assert Session(account="work").status().state == "fresh"


def test_nothing_is_completed_from_a_store_that_is_away(away: None) -> None:
    """No label, no error."""
    assert complete_accounts("") == []
