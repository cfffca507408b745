"""The login of one key moves to another: never two copies of a pair, never none, and never beside a renewal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from crash.at_every_call import killed_before
from house.patience import NO_LIMIT_S

from kimi_auth.clock import SystemClock
from kimi_auth.errors import ConfigError, CredentialLocked, NotSignedIn, StorageError
from kimi_auth.store import Backoff, Binding, FileStore, RevokedMark, renaming
from kimi_auth.store.renaming import rename
from kimi_auth.token import Token, fingerprint

OLD, NEW = "oauth/kimi-code@old", "oauth/kimi-code@new"
PAIR = Token("access", "refresh", 2_000_000_000.0, 900.0)
OTHER = Token("other", "refresh-2", 2_000_000_000.0, 900.0)


def store_of(share: Path, key: str) -> FileStore:
    return FileStore(share, key, clock=SystemClock())


def put(store: FileStore, token: Token) -> None:
    with store.locked(NO_LIMIT_S):
        store.put(token)


@pytest.fixture
def stores(tmp_path: Path) -> tuple[FileStore, FileStore]:
    """The old name, with a login, its binding, a backoff and a refusal; and the new one."""
    old, new = store_of(tmp_path, OLD), store_of(tmp_path, NEW)
    put(old, PAIR)
    with old.locked(NO_LIMIT_S):
        old.bind(Binding("https://auth.example"))
        old.mark_revoked(fingerprint(PAIR), RevokedMark(1.0, "no"))
        old.set_backoff(Backoff())
    return old, new


def test_everything_moves(stores: tuple[FileStore, FileStore], tmp_path: Path) -> None:
    """Pair, binding, refusal and backoff lie under the new name, and nothing but the lock under the old one."""
    old, new = stores
    assert rename(old, new) == fingerprint(PAIR)
    assert (old.read().state, new.read().token) == ("absent", PAIR)
    assert new.binding() == Binding("https://auth.example")
    assert new.revoked_mark(fingerprint(PAIR)) is not None
    left = {path.name for path in (tmp_path / "credentials").iterdir() if path.name.startswith("kimi-code@old")}
    assert left == {"kimi-code@old.lock"}


def test_what_it_refuses(stores: tuple[FileStore, FileStore], tmp_path: Path) -> None:
    """No login, a target with one, a link, a record that cannot be read: nothing has moved then."""
    old, new = stores
    with pytest.raises(NotSignedIn):
        rename(new, old)
    put(new, OTHER)
    with pytest.raises(ConfigError, match="another login"):
        rename(old, new)
    assert (old.read().token, new.read().token) == (PAIR, OTHER)
    new.path.write_text("{")
    with pytest.raises(StorageError):
        rename(old, new)
    new.path.unlink()
    old.path.rename(tmp_path / "real.json")
    old.path.symlink_to(tmp_path / "real.json")
    with pytest.raises(StorageError, match="symbolic link"):
        rename(old, new)
    assert new.read().state == "absent"


@pytest.mark.parametrize("is_staged", [False, True], ids=["begun", "answered"])
def test_a_renewal_that_is_not_finished(stores: tuple[FileStore, FileStore], is_staged: bool) -> None:
    """A claim, open or with its answer, keeps the login where it is: the answer belongs beside the pair."""
    old, new = stores
    with old.locked(NO_LIMIT_S):
        claim = old.claim(fingerprint(PAIR))
        if is_staged:
            old.stage(claim, OTHER)
    with pytest.raises(StorageError, match="not finished"):
        rename(old, new)
    assert (old.read().token, new.read().state) == (PAIR, "absent")


@pytest.mark.parametrize("held", [0, 1], ids=["old", "new"])
def test_a_lock_that_is_held(
    stores: tuple[FileStore, FileStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    """A process that works under either name is waited for, and named when the wait is over."""
    monkeypatch.setattr(renaming, "PATIENCE_S", 0.0)
    other = store_of(tmp_path, (OLD, NEW)[held])
    with other.locked(NO_LIMIT_S), pytest.raises(CredentialLocked):
        rename(*stores)
    assert stores[0].read().token == PAIR


def test_sweeps_of_one_account_leave_the_others(tmp_path: Path) -> None:
    """The files of `kimi-code` and of `kimi-code@old` begin alike: a login, renewal or logout touches its own alone."""
    plain, old = store_of(tmp_path, "oauth/kimi-code"), store_of(tmp_path, OLD)
    for store, token in ((plain, PAIR), (old, OTHER)):
        put(store, token)
        with store.locked(NO_LIMIT_S):
            store.claim(fingerprint(token))
    put(plain, Token("next", "r", 2_000_000_000.0, 900.0))
    with plain.locked(NO_LIMIT_S):
        plain.sign_out(1.0)
        plain.tidy(1e12)
    assert old.peek_claim(fingerprint(OTHER)).state == "interrupted"
    assert old.read().token == OTHER


@pytest.mark.parametrize(
    "key", ["oauth/x@", "oauth/@x", "oauth/x@a/b", "oauth/x@A", f"oauth/x@{'a' * 33}", "oauth/x@a@b"]
)
def test_keys_that_name_no_file(tmp_path: Path, key: str) -> None:
    """Only a platform, or a platform and a label, is a key."""
    with pytest.raises(ConfigError, match="not of the form"):
        store_of(tmp_path, key)


# --- killed at every step --------------------------------------------------------------------------------------------


def records_with_a_pair(share: Path) -> list[str]:
    """The names of the records that hold a refresh token."""
    found = []
    for path in sorted((share / "credentials").glob("*.json")):
        if json.loads(path.read_text()).get("refresh_token"):
            found.append(path.stem)
    return found


def test_killed_at_every_step(tmp_path: Path) -> None:
    """One of the two names has the pair, with its binding, and the other has none; the leftovers hinder no login there."""
    step = 0
    while True:
        step += 1
        share = tmp_path / str(step)
        old, new = store_of(share, OLD), store_of(share, NEW)
        put(old, PAIR)
        with old.locked(NO_LIMIT_S):
            old.bind(Binding("https://auth.example"))
        was_killed = killed_before(step, lambda old=old, new=new: rename(old, new))  # type: ignore[misc]
        (name,) = records_with_a_pair(share)
        has_it, other = (old, new) if name == "kimi-code@old" else (new, old)
        assert has_it.read().token == PAIR
        assert has_it.binding() == Binding("https://auth.example"), (
            "a pair without its binding could go to another host"
        )
        put(other, OTHER)
        with other.locked(NO_LIMIT_S):
            other.bind(Binding("https://other.example"))
        assert (other.read().token, has_it.read().token) == (OTHER, PAIR)
        if not was_killed:
            break
    assert step > 5, "each step was a place to be killed at"
    assert records_with_a_pair(tmp_path / "1") == ["kimi-code@new", "kimi-code@old"]
