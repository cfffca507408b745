"""Every way in which the credential file is broken, missing its kind, or another user's."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_auth.errors import CorruptCredential, StorageError, StoreUnwritable
from kimi_auth.store import Backoff, FileStore, RevokedMark, claims, formats, owners
from kimi_auth.token import Token

FP = "0123456789abcdef"
SECRET = "TOP-SECRET-7"
GOOD = json.dumps({"access_token": "a", "refresh_token": "r", "expires_at": 5.0, "expires_in": 9}).encode()


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


# --- broken records --------------------------------------------------------------------------------------------------


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _linked(path: Path, target: str) -> None:
    path.symlink_to(target)


def _record(**changes: object) -> bytes:
    return json.dumps({"access_token": SECRET, "refresh_token": SECRET} | changes).encode()


Spoil = Callable[[Path], object]
CONTENTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "one space": (b" ", "not JSON"),
    "truncated": (_record()[:-3], "not JSON"),
    "truncated in the key": (b'{"acc', "not JSON"),
    "two objects": (_record() + _record(), "not JSON"),
    "NUL bytes only": (bytes(4096), "not JSON"),
    "NUL bytes behind": (_record() + bytes(8), "not JSON"),
    "not UTF-8": (b'{"access_token": "' + SECRET.encode() + b'\xff"}', "not UTF-8"),
    "UTF-16": (_record().decode().encode("utf-16"), "not UTF-8"),
    "deep nesting": (b"[" * 60_000, "nested too deeply"),
    "deep objects": (b'{"a":' * 12_000, "nested too deeply"),
    "a number": (b"7", "not a JSON object"),
    "a string": (json.dumps(SECRET).encode(), "not a JSON object"),
    "a list": (b"[]", "not a JSON object"),
    "null": (b"null", "not a JSON object"),
    "an endless number": (b'{"expires_at": ' + b"9" * 5000 + b"}", "not JSON"),
    "no keys": (b"{}", "access_token is missing"),
    "access_token null": (_record(access_token=None), "access_token is missing"),
    "access_token a number": (_record(access_token=7), "access_token is not a string"),
    "access_token a list": (_record(access_token=[SECRET]), "access_token is not a string"),
    "access_token empty, refresh_token not": (_record(access_token=""), "access_token is empty"),
    "access_token with a line end": (_record(access_token=SECRET + "\r\nX: y"), "cannot be sent"),
    "access_token with a space": (_record(access_token="a " + SECRET), "cannot be sent"),
    "access_token not ASCII": (_record(access_token=SECRET + "é"), "cannot be sent"),
    "access_token a lone surrogate": (b'{"access_token": "\\ud800"}', "cannot be sent"),
    "refresh_token a number": (_record(refresh_token=7), "refresh_token is not a string"),
    "refresh_token with a NUL": (_record(refresh_token="\0" + SECRET), "cannot be sent"),
    "scope a list": (_record(scope=[SECRET]), "scope is not a string"),
    "token_type an object": (_record(token_type={}), "token_type is not a string"),
    "issuer a number": (_record(issuer=1), "issuer is not a string"),
    "too large": (_record(x=SECRET * 10_000), "more than 69632 bytes"),
    "an HTML page": (f"<html>{SECRET}</html>".encode(), "not JSON"),
}
KINDS: dict[str, tuple[Spoil, str]] = {
    "a directory": (lambda path: path.mkdir(), "a directory"),
    "a full directory": (lambda path: (path / "x").mkdir(parents=True), "a directory"),
    "a FIFO": (os.mkfifo, "a FIFO"),
    "a socket": (_socket, "a socket"),
    "a link to a device": (lambda path: _linked(path, "/dev/zero"), "leads to no file"),
    "a link to itself": (lambda path: _linked(path, path.name), "leads to no file"),
    "a link to a directory": (lambda path: _linked(path, "."), "leads to no file"),
}


def check_corrupt(store: FileStore, words: str) -> None:
    found = store.read()
    assert found.state == "corrupt"
    assert isinstance(found.problem, CorruptCredential)
    assert words in found.problem.message
    assert str(store.path.parent) in found.problem.message
    assert "login" in found.problem.hint
    told = [found.problem.line, repr(found), repr(found.problem.__cause__), repr(found.problem.__context__)]
    assert SECRET not in "".join(told)
    assert (found.token, found.fp, found.stamp) == (None, "", store.stamp())


@pytest.mark.parametrize(("data", "words"), CONTENTS.values(), ids=CONTENTS)
def test_bytes_that_are_no_credential(file_store: FileStore, pair: Any, data: bytes, words: str) -> None:
    """Each is corrupt, said without a character of it, set aside by a login with its bytes as they were."""
    file_store.path.write_bytes(data)
    check_corrupt(file_store, words)
    file_store.check_writable()
    with file_store.locked(0.0):
        file_store.put(pair(1))
    assert file_store.read().token == pair(1)
    aside = file_store.path.with_name("kimi-code.json.corrupt-20270115T080000Z")
    assert aside.read_bytes() == data


@pytest.mark.parametrize(("spoil", "words"), KINDS.values(), ids=KINDS)
def test_what_is_no_file(file_store: FileStore, pair: Any, spoil: Spoil, words: str) -> None:
    """Nothing that can lie at the record's path is waited for, followed without end, or in the way of a login."""
    spoil(file_store.path)
    check_corrupt(file_store, words)
    file_store.check_writable()
    with file_store.locked(0.0):
        file_store.sign_out(5.0)
        file_store.put(pair(1))
    assert file_store.read().token == pair(1)
    assert len([name for name in names(file_store.path.parent) if ".json.corrupt-" in name]) == 1


def test_two_corrupt_records_of_one_second_are_both_kept(file_store: FileStore, pair: Any) -> None:
    """Setting aside never overwrites an earlier file set aside."""
    with file_store.locked(0.0):
        for data in (b"one", b"two", b"three"):
            file_store.path.write_bytes(data)
            file_store.put(pair(1))
    kept = {path.read_bytes() for path in file_store.path.parent.glob("*.corrupt-*")}
    assert kept == {b"one", b"two", b"three"}


def test_a_record_that_is_being_written_is_not_set_aside(
    file_store: FileStore, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that takes no lock may be in the middle of its write: a second look decides."""
    file_store.path.write_bytes(GOOD[:20])
    original, reads = FileStore.read, []

    def read(self: FileStore) -> object:
        found = original(self)
        reads.append(found.state)
        self.path.write_bytes(GOOD)
        return found

    monkeypatch.setattr(FileStore, "read", read)
    with file_store.locked(0.0):
        file_store.put(pair(1))
    assert reads[:2] == ["corrupt", "present"]
    assert not list(file_store.path.parent.glob("*.corrupt-*"))


@pytest.mark.parametrize(
    "times",
    [
        '"expires_at": NaN, "expires_in": NaN',
        '"expires_at": Infinity, "expires_in": -Infinity',
        '"expires_at": "soon", "expires_in": []',
        '"expires_at": -5, "expires_in": 1e300',
        '"expires_at": true, "expires_in": null',
        '"scope": null',
    ],
)
def test_times_that_are_none_are_unknown(file_store: FileStore, times: str) -> None:
    """A strange time costs no login: it is 0.0, unknown."""
    file_store.path.write_text(f'{{"access_token": "a", "refresh_token": "r", {times}}}')
    assert file_store.read().token == Token("a", "r", 0.0, 0.0)


def test_a_byte_order_mark_is_no_damage(file_store: FileStore) -> None:
    """A record that an editor saved with a byte order mark (RFC 8259 §8.1) is read as config.toml is."""
    file_store.path.parent.mkdir(parents=True, exist_ok=True)
    file_store.path.write_bytes(b"\xef\xbb\xbf" + GOOD)
    token = file_store.read().token
    assert token is not None
    assert (token.access_token, token.refresh_token) == ("a", "r")


def test_times_may_be_strings_and_unknown_keys_are_ignored(file_store: FileStore) -> None:
    """What other writers add or quote is read."""
    file_store.path.write_text('{"access_token": "a", "expires_at": "5.5", "expires_in": "900", "x": {"y": []}}')
    assert file_store.read().token == Token("a", "", 5.5, 900.0)


@given(
    st.binary(max_size=300) | st.builds(lambda at, by: GOOD[:at] + by + GOOD[at + 1 :], st.integers(0, 70), st.binary())
)
def test_any_bytes_have_an_answer(data: bytes) -> None:
    """Whatever lies there decodes to a Token or to CorruptCredential, for the claim to a value that is classified."""
    with suppress(CorruptCredential):
        assert isinstance(formats.decode_record(data, Path("x")), Token)
    claim = claims.classify(claims.parse(data, FP), claims.decode_meetings(data), owners.Owner("boot"), 5.0)
    assert claim.state in {"staged", "interrupted", "in_flight"}
    assert isinstance(formats.decode_revoked(data), RevokedMark)
    assert isinstance(formats.decode_backoff(data), Backoff)


# --- whose it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "permission denied"),
        (errno.EPERM, "not permitted"),
        (errno.EIO, "the disk reports an error"),
        (errno.EMFILE, "this process has too many files open"),
        (errno.ESTALE, os.strerror(errno.ESTALE)),
    ],
)
def test_a_record_that_cannot_be_opened(
    file_store: FileStore, pair: Any, monkeypatch: pytest.MonkeyPatch, refuse_open: Any, number: int, words: str
) -> None:
    """It is no broken credential: the error is reported with its next step, and no login moves the file away."""
    file_store.path.write_bytes(GOOD)
    refuse_open(number, ".json")
    found = file_store.read()
    assert (found.state, found.stamp) == ("corrupt", file_store.stamp())
    assert type(found.problem) is StorageError
    assert found.problem.message == f"cannot read {file_store.path}: {words}"
    assert found.problem.hint
    with pytest.raises(StorageError):
        file_store.check_writable()
    with file_store.locked(0.0), pytest.raises(StorageError):
        file_store.put(pair(1))
    monkeypatch.undo()
    assert file_store.path.read_bytes() == GOOD


def test_a_directory_that_cannot_be_entered(file_store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known about the record then, and the error says that."""
    denied = PermissionError(errno.EACCES, "no", "x")

    def fail(*_: object, **__: object) -> Any:
        raise denied

    for name in ("open", "stat", "lstat", "readlink"):
        monkeypatch.setattr(os, name, fail)
    found, stamp = file_store.read(), file_store.stamp()
    monkeypatch.undo()
    assert (found.state, found.stamp, stamp) == ("corrupt", (), ())
    assert "permission denied" in str(found.problem)


def test_a_share_directory_that_is_a_file(tmp_path: Path, clock: Any) -> None:
    """Reading and writing both say which part of the path is wrong."""
    (tmp_path / "share").write_bytes(b"")
    store = FileStore(tmp_path / "share", clock=clock)
    found = store.read()
    assert (found.state, type(found.problem)) == ("corrupt", StorageError)
    for use in (store.check_writable, store.locked(0.0).__enter__):
        with pytest.raises(StoreUnwritable, match=r"no directory|not a directory"):
            use()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away; run: sudo make test")
def test_a_stranger_s_record_is_refused(file_store: FileStore, pair: Any) -> None:
    """A file of another user is neither read nor replaced nor moved, and no one is told to make it the own one."""
    file_store.path.write_bytes(GOOD)
    os.chown(file_store.path, 4711, 4711)
    found = file_store.read()
    assert type(found.problem) is StorageError
    assert "uid 4711" in found.problem.message
    assert "chown" not in found.problem.hint
    with pytest.raises(StorageError, match="another user"):
        file_store.check_writable()
    with file_store.locked(0.0), pytest.raises(StorageError, match="another user"):
        file_store.put(pair(1))
    assert file_store.path.read_bytes() == GOOD
