"""The files of the store: names, bytes, modes, links, and leftovers."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kimi_auth import files
from kimi_auth.errors import ConfigError, StorageError, StoreUnwritable
from kimi_auth.store import Backoff, Claim, FileStore, RevokedMark, Snapshot
from kimi_auth.token import Token, fingerprint

FP = "0123456789abcdef"
GOOD = json.dumps({"access_token": "a", "refresh_token": "r", "expires_at": 5.0, "expires_in": 9}).encode()


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- names, bytes, modes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["", "kimi-code", "oauth/", "oauth/../x", "oauth/A", "oauth/a.b", "oauth/a/b", "oauth/a\n"]
)
def test_a_key_that_is_no_name_is_refused(tmp_path: Path, clock: Any, key: str) -> None:
    """Only `oauth/<name>` names a credential; nothing leads out of the directory."""
    with pytest.raises(ConfigError):
        FileStore(tmp_path, key, clock=clock)


@pytest.mark.parametrize("fp", ["", "0123456789ABCDEF", "../../../../etc/x", "0123456789abcdef0", "0123456789abcde\n"])
def test_a_fingerprint_that_is_none_names_no_file(file_store: FileStore, fp: str) -> None:
    """A fingerprint is part of a file name, so it is checked where it becomes one."""
    with file_store.locked(0.0):
        for question in (file_store.revoked_mark, file_store.peek_claim, file_store.claim):
            with pytest.raises(ValueError, match="no fingerprint"):
                question(fp)
        for claim in (Claim("made", fp, nonce="0" * 16), Claim("made", "0" * 16, nonce=fp)):
            with pytest.raises(ValueError, match="no fingerprint"):
                file_store.renew_claim(claim)


def test_the_names_of_the_files(file_store: FileStore, pair: Any) -> None:
    """Record, lock and sidecars have the names that other versions and the Kimi CLI look for."""
    with file_store.locked(0.0):
        file_store.put(pair(1))
        fp = file_store.read().fp
        file_store.claim(fp)
        file_store.mark_revoked(fp, RevokedMark(1.0))
        file_store.set_backoff(Backoff())
    directory = file_store.path.parent
    assert directory.name == "credentials"
    wanted = {
        "kimi-code.json",
        "kimi-code.lock",
        "kimi-code.backoff",
        f"kimi-code.{fp}.next",
        f"kimi-code.{fp}.revoked",
    }
    assert names(directory) == wanted
    assert {mode(path) for path in directory.iterdir()} == {0o600}
    assert mode(directory) == mode(directory.parent) == 0o700
    assert (directory / "kimi-code.lock").read_bytes() == b""
    assert str(file_store.path) in file_store.location
    assert str(file_store.path) in repr(file_store)


def test_platforms_do_not_meet(tmp_path: Path, clock: Any, pair: Any) -> None:
    """Two credentials of one share directory have nothing in common, even where one name begins like the other."""
    stores = [FileStore(tmp_path, key, clock=clock) for key in ("oauth/kimi", "oauth/kimi-code")]
    for number, store in enumerate(stores):
        with store.locked(0.0) as held:
            assert held
            store.put(pair(number))
            store.claim(store.read().fp)
    with stores[0].locked(0.0), stores[1].locked(0.0) as held:
        assert held
        stores[0].put(pair(7))
    assert stores[1].read().token == pair(1)
    assert stores[1].peek_claim(stores[1].read().fp).state == "interrupted"


def test_the_record_is_the_kimi_cli_s(file_store: FileStore) -> None:
    """The credential is one JSON object with the Kimi CLI's keys and kinds, and `issuer`."""
    with file_store.locked(0.0):
        file_store.put(Token("a", "r", 5.5, 900.0, "s", "Bearer", "https://auth.kimi.com"))
    assert json.loads(file_store.path.read_bytes()) == {
        "access_token": "a",
        "refresh_token": "r",
        "expires_at": 5.5,
        "expires_in": 900.0,
        "scope": "s",
        "token_type": "Bearer",
        "issuer": "https://auth.kimi.com",
    }


def test_an_installed_staged_is_a_record_for_everybody(file_store: FileStore, pair: Any) -> None:
    """A rotated record differs from a stored login in two keys that readers ignore."""
    with file_store.locked(0.0):
        file_store.put(pair(1))
        fp = file_store.read().fp
        file_store.commit(file_store.claim(fp), pair(2))
    record = json.loads(file_store.path.read_bytes())
    assert {key: record[key] for key in record if key not in {"claim", "sha256"}} == pair(2).record()
    assert record["claim"]["fp"] == fp
    assert mode(file_store.path) == 0o600


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, clock: Any, pair: Any, umask: int) -> None:
    """Files are 0600 whatever the umask adds or takes away."""
    store = FileStore(tmp_path, clock=clock)
    (tmp_path / "credentials").mkdir()
    before = os.umask(umask)
    try:
        with store.locked(0.0):
            store.put(pair(1))
            store.claim(store.read().fp)
    finally:
        os.umask(before)
    assert {mode(path) for path in store.path.parent.iterdir()} == {0o600}


def test_a_loose_record_is_read_and_tightened_by_the_next_write(file_store: FileStore, pair: Any) -> None:
    """0644 is no reason to sign anybody out; what the Kimi CLI left open to all is tightened by the next writer."""
    file_store.path.write_bytes(GOOD)
    file_store.path.chmod(0o644)
    file_store.path.parent.chmod(0o755)
    assert file_store.read().state == "present"
    with file_store.locked(0.0):
        file_store.put(pair(1))
    assert mode(file_store.path) == 0o600
    assert mode(file_store.path.parent) == 0o700


def test_the_stamp_is_one_stat(file_store: FileStore, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cheap question is one system call, and says device, inode, size and time of the record."""
    with file_store.locked(0.0):
        file_store.put(pair(1))
    calls: list[object] = []
    original = os.stat
    monkeypatch.setattr(os, "stat", lambda *args, **kwargs: calls.append(args) or original(*args, **kwargs))
    stamp = file_store.stamp()
    monkeypatch.undo()
    found = file_store.path.stat()
    assert len(calls) == 1
    assert stamp == (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def test_a_read_that_races_a_rename_is_of_one_piece(
    file_store: FileStore, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Record and stamp come from the same open file: replaced before it is opened or after, a reader sees one of both."""

    def replaced_during(name: str) -> Snapshot:
        original = getattr(os, name)

        def replace_first(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.undo()
            file_store.put(pair(2))
            return original(*args, **kwargs)

        file_store.put(pair(1))
        monkeypatch.setattr(os, name, replace_first)
        return file_store.read()

    with file_store.locked(0.0):
        late, early = replaced_during("read"), replaced_during("open")
    assert (late.token, early.token) == (pair(1), pair(2))
    assert early == file_store.read()
    assert late.stamp != early.stamp


# --- links -----------------------------------------------------------------------------------------------------------


def test_a_link_that_becomes_a_file_while_it_is_followed(
    file_store: FileStore, linked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program renames its file over the link between two looks: that file is the record."""

    def replaced(path: str, **_: object) -> str:
        monkeypatch.undo()
        new = file_store.path.with_name("new")
        new.write_bytes(linked.read_bytes())
        new.rename(file_store.path)
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "readlink", replaced)
    assert file_store.read().state == "present"
    assert file_store.target == file_store.path


def test_a_link_s_target_is_the_record(file_store: FileStore, linked: Path, pair: Any) -> None:
    """Reading and writing go through the link, which stays; sidecars lie beside the target."""
    assert file_store.read().token == Token("a", "r", 5.0, 9.0)
    assert file_store.read().stamp == file_store.stamp()
    file_store.check_writable()
    with file_store.locked(0.0):
        fp = file_store.read().fp
        claim = file_store.claim(fp)
        assert (linked.parent / f"team.{fp}.next").exists()
        file_store.stage(claim, pair(2))
        file_store.commit(claim, pair(2))
        assert file_store.read().token == pair(2)
        file_store.put(pair(3))
        file_store.mark_revoked(file_store.read().fp, RevokedMark(1.0))
        file_store.set_backoff(Backoff())
    assert file_store.path.is_symlink()
    assert not linked.is_symlink()
    assert json.loads(linked.read_bytes())["access_token"] == "access-3"
    fp = file_store.read().fp
    assert names(linked.parent) == {"team.json", "team.lock", "team.backoff", f"team.{fp}.revoked"}
    assert names(file_store.path.parent) == {"kimi-code.json", "kimi-code.lock"}


def test_a_link_s_locks_exclude_both_kinds_of_users(
    file_store: FileStore, linked: Path, tmp_path: Path, clock: Any
) -> None:
    """A process that uses the target without the link, or the link's lock only, is kept out too; the link's lock comes
    first."""
    assert file_store.lock_paths == (file_store.path.with_name("kimi-code.lock"), linked.with_name("team.lock"))
    (tmp_path / "other" / "credentials").mkdir(parents=True)
    other = FileStore(tmp_path / "other", clock=clock)
    other.path.symlink_to(linked)
    with file_store.locked(0.0) as first, other.locked(0.0) as second:
        assert (bool(first), second) == (True, None)
    with other.locked(0.0) as second, file_store.locked(0.0) as first:
        assert (first, bool(second)) == (None, True)
    with file_store.locked(0.0) as first:
        assert first


def test_a_link_to_a_name_with_the_same_lock(file_store: FileStore, pair: Any) -> None:
    """Where link and target would have one lock file, it is taken once."""
    file_store.path.with_name("kimi-code").write_bytes(GOOD)
    file_store.path.symlink_to("kimi-code")
    with file_store.locked(0.0) as held:
        assert held
        file_store.put(pair(1))
    assert file_store.read().token == pair(1)


def test_a_link_to_nothing_is_absent_and_filled_by_a_login(file_store: FileStore, tmp_path: Path, pair: Any) -> None:
    """The target is made where the link points."""
    file_store.path.symlink_to(tmp_path / "later.json")
    assert (file_store.read().state, file_store.stamp()) == ("absent", ())
    file_store.check_writable()
    with file_store.locked(0.0):
        file_store.put(pair(1))
    assert file_store.path.is_symlink()
    assert json.loads((tmp_path / "later.json").read_bytes())["access_token"] == "access-1"


def test_a_link_into_a_directory_that_is_missing(file_store: FileStore, tmp_path: Path) -> None:
    """A volume that is not mounted is not replaced by a directory of ours."""
    file_store.path.symlink_to(tmp_path / "gone" / "x.json")
    assert file_store.read().state == "absent"
    for use in (file_store.check_writable, file_store.locked(0.0).__enter__):
        with pytest.raises(StoreUnwritable, match="its directory does not exist"):
            use()
    assert not (tmp_path / "gone").exists()


def test_a_link_that_is_turned_under_the_lock(file_store: FileStore, linked: Path, tmp_path: Path) -> None:
    """Nothing is sent for a record whose lock is not the one that is held."""
    with file_store.locked(0.0):
        file_store.path.unlink()
        file_store.path.symlink_to(tmp_path / "elsewhere.json")
        with pytest.raises(StorageError, match="while it was held"):
            file_store.claim(FP)


# --- leftovers -------------------------------------------------------------------------------------------------------


def test_only_old_temporary_files_of_known_writers_go(file_store: FileStore, clock: Any, pair: Any) -> None:
    """Ours and the Kimi CLI's, after an hour, under the lock; never adopted, and nothing else is touched."""
    directory = file_store.path.parent
    ours, theirs = "kimi-code.json.0123456789ab.tmp", "tmpab12_xyz.tmp"
    kept = {"notes.tmp", "tmp.tmp", "kimi-code.backup", "kimi.json.0123456789ab.tmp", "tmpfifo1234.tmp"}
    for name in {ours, theirs, *kept} - {"tmpfifo1234.tmp"}:
        (directory / name).write_bytes(GOOD)
    os.mkfifo(directory / "tmpfifo1234.tmp")

    def age(seconds: float) -> None:
        for name in {ours, theirs, *kept} & names(directory):
            os.utime(directory / name, (clock.wall - seconds,) * 2)

    age(3599.0)
    with file_store.locked(0.0):
        file_store.tidy(clock.wall)
        assert {ours, theirs} <= names(directory)
        age(3601.0)
        file_store.tidy(clock.wall)
    assert names(directory) == kept | {"kimi-code.lock"}
    assert file_store.read().state == "absent"


def test_beside_a_target_only_our_own_temporary_files_go(file_store: FileStore, linked: Path, clock: Any) -> None:
    """Where a link leads other programs may keep files with common names."""
    for name in ("tmpab12_xyz.tmp", "team.json.0123456789ab.tmp"):
        (linked.parent / name).write_bytes(b"")
        os.utime(linked.parent / name, (clock.wall - 9e6,) * 2)
    with file_store.locked(0.0):
        file_store.tidy(clock.wall)
    assert names(linked.parent) == {"team.json", "team.lock", "tmpab12_xyz.tmp"}


def test_check_writable_makes_directories_and_nothing_else(tmp_path: Path, clock: Any) -> None:
    """Before anybody is asked to approve: directories are made, private, and the probe leaves no trace."""
    store = FileStore(tmp_path / "a" / "b", clock=clock)
    store.check_writable()
    assert names(store.path.parent) == set()
    assert {mode(tmp_path / "a"), mode(tmp_path / "a" / "b"), mode(store.path.parent)} == {0o700}
    with store.locked(0.0):
        pass
    store.check_writable()
    assert names(store.path.parent) == {"kimi-code.lock"}


def test_directories_made_by_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process finds the file that it wanted to make."""
    original = os.mkdir

    def twice(path: Any, mode: int = 0o777, **kwargs: Any) -> None:
        original(path, mode, **kwargs)
        original(path, mode, **kwargs)

    monkeypatch.setattr(os, "mkdir", twice)
    files.make_directories(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_what_is_not_a_file_at_all_has_a_name() -> None:
    """An unknown kind of file is refused as well."""
    with pytest.raises(files.NotAFile, match="something strange"):
        files.refuse_strange(os.stat_result((0, 1, 1, 1, 0, 0, 0, 0, 0, 0)), Path("/x"))


def test_the_fingerprint_in_a_snapshot_is_the_pair_s(file_store: FileStore, pair: Any) -> None:
    """Sidecars are bound by the same fingerprint that every reader computes."""
    with file_store.locked(0.0):
        file_store.put(pair(1))
    assert file_store.read().fp == fingerprint(pair(1))
