"""`kimi-auth store move`, and accounts that lie in a database: `accounts list|rename`, `status --all`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers.postgres import Cluster, key_files

from kimi_auth.store.postgres.encryption import is_sealed

Run = Callable[..., Any]


@pytest.fixture
def database(postgres: Cluster) -> str:
    """The address of a database that no other test has."""
    return postgres.url(database=postgres.new_database())


@pytest.fixture
def two(kimi: Run) -> Run:
    """Signed in without a label and as `work`, in files."""
    assert kimi("login").status == 0
    assert kimi("login", "--account", "work").status == 0
    return kimi


def listed(kimi: Run) -> dict[str, str]:
    """Label and pair of each account that is listed as signed in."""
    found = kimi("accounts", "list", "--json").json["accounts"]
    return {one["label"]: one["fp"] for one in found if one["state"] != "absent"}


def test_there_and_back(two: Run, database: str, share_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every login moves with its account, nothing is revoked, config.toml stays as it is, and the way back is the same."""
    before, config = listed(two), (share_dir / "config.toml").read_text()
    trial = two("store", "move", "--to", database, "--dry-run", "--json").json
    assert {one["login"]: one["fp"] for one in trial["moved"]} == {
        "kimi-code": before["default"],
        "kimi-code@work": before["work"],
    }
    assert listed(two) == before
    moved = two("store", "move", "--to", database)
    assert moved.status == 0
    assert "export KIMI_AUTH_STORE" in moved.out
    assert listed(two) == {}
    assert (share_dir / "config.toml").read_text() == config
    monkeypatch.setenv("KIMI_AUTH_STORE", database)
    assert listed(two) == before
    assert two("token", "--account", "work").status == 0
    assert two("status", "--verify").status == 0
    assert two("store", "move", "--to", "file").status == 0
    monkeypatch.delenv("KIMI_AUTH_STORE")
    assert listed(two) == before
    assert two("status", "--verify").status == 0


def test_one_account_moves(two: Run, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """--account names one; the other stays."""
    assert two("store", "move", "--to", database, "--account", "work").status == 0
    assert set(listed(two)) == {"default"}
    monkeypatch.setenv("KIMI_AUTH_STORE", database)
    assert set(listed(two)) == {"work"}


def test_what_is_refused(two: Run, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No address, one that is none, --to without move, and a login that the database has already."""
    assert two("store", "move").status == 2
    assert two("store", "check", "--to", "file").status == 2
    assert two("store", "move", "--to", "file").status == 9
    assert two("store", "move", "--to", "mysql://x").status == 9
    monkeypatch.setenv("KIMI_AUTH_STORE", database)
    assert two("login", "--account", "work").status == 0
    monkeypatch.delenv("KIMI_AUTH_STORE")
    said = two("store", "move", "--to", database)
    assert said.status == 1
    assert "kimi-code@work: the store that it would move to has another login" in said.err
    assert set(listed(two)) == {"work"}  # the other one has moved


def test_accounts_in_a_database(kimi: Run, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """list, rename and status --all read the rows; a taken name, an unknown one and an open claim are refused."""
    monkeypatch.setenv("KIMI_AUTH_STORE", database)
    assert kimi("login").status == 0
    assert kimi("login", "--account", "work").status == 0
    before = listed(kimi)
    assert set(before) == {"default", "work"}
    every = kimi("status", "--all", "--json").json
    assert {one["label"] for one in every["logins"] if one["state"] != "absent"} == {"default", "work"}
    assert kimi("accounts", "rename", "work", "office").status == 0
    assert listed(kimi) == {"default": before["default"], "office": before["work"]}
    assert kimi("token", "--account", "office", "--refresh").status == 0
    for names in (("work", "else"), ("office", "default")):
        assert kimi("accounts", "rename", *names).status != 0
    assert set(listed(kimi)) == {"default", "office"}


def test_encrypted_there_and_back(
    two: Run, database: str, postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that a move is given names the keys: every pair lies encrypted in the database, the check shows the ids of
    the keys, and the way back is plain files again."""
    before = listed(two)
    named = "&".join(f"{name}={path}" for name, path in key_files(tmp_path / "keys").items())
    assert two("store", "move", "--to", f"{database}&{named}").status == 0
    name = database.partition("?")[0].rpartition("/")[2]
    with postgres.admin(dbname=name) as admin:
        kept = admin.execute("SELECT access, refresh FROM kimi_auth.credentials WHERE fp IS NOT NULL").fetchall()
    assert len(kept) == 2
    assert all(is_sealed(value) for pair in kept for value in pair)
    monkeypatch.setenv("KIMI_AUTH_STORE", f"{database}&{named}")
    assert listed(two) == before
    assert two("token", "--account", "work").status == 0
    (told,) = (check for check in two("store", "check", "--json").json["checks"] if check["check"] == "encryption")
    assert (told["verdict"], "with the key" in told["evidence"]) == ("ok", True)
    assert told in two("doctor", "--json").json["checks"]
    assert two("store", "move", "--to", "file").status == 0
    monkeypatch.delenv("KIMI_AUTH_STORE")
    assert listed(two) == before


def test_a_lost_key_is_no_logout(
    two: Run, database: str, postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the key a login is neither signed out nor ended nor written over: each command says which key is missing, and
    with the key all is as before."""
    before = listed(two)
    named = "&".join(f"{name}={path}" for name, path in key_files(tmp_path / "keys").items())
    assert two("store", "move", "--to", f"{database}&{named}").status == 0
    monkeypatch.setenv("KIMI_AUTH_STORE", database)
    for command in (("token",), ("logout",), ("login", "--force"), ("store", "move", "--to", "file")):
        done = two(*command)
        assert done.status in {1, 8}, command
        assert "is encrypted with the key" in done.out + done.err, command
    assert "not signed in" not in two("status").out
    assert two("store", "check").status == 1
    monkeypatch.setenv("KIMI_AUTH_STORE", f"{database}&{named}")
    assert listed(two) == before
    assert two("token").status == 0
