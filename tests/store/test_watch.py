"""The record that is looked at before each use of a token: the changes seen at once, those seen after a second, and the
cost."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.store import FileStore
from kimi_auth.store.file_reading import LOOK_AGAIN_S

CALLS = ("open", "stat", "fstat", "close", "lstat", "readlink", "read")


def put(store: FileStore, token: Any) -> None:
    with store.locked(0.0):
        store.put(token)


def replace(path: Path) -> None:
    """What the Kimi CLI does: another file of the same content is renamed over it."""
    other = path.with_name("other.tmp")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def exchange_directory(path: Path) -> None:
    kept = path.read_bytes()
    path.parent.rename(path.parent.with_name("aside"))
    path.parent.mkdir()
    path.write_bytes(kept)


def exchange_link(path: Path) -> None:
    """The record is a link now, to another file of the same content; the old one has a second name, and lives on."""
    kept = path.with_name("kept")
    kept.hardlink_to(path)
    target = path.with_name("target")
    target.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(target)


@pytest.fixture
def watched(file_store: FileStore, pair: Any) -> FileStore:
    """A store whose record was looked at twice, so that whatever is kept from the first time is in use."""
    put(file_store, pair(1))
    assert file_store.still(file_store.stamp())
    assert file_store.still(file_store.stamp())
    return file_store


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The system calls for files that are made, by name."""
    counts: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return original(*args, **kwargs)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, counting(name))
    return counts


@pytest.mark.parametrize(
    ("change", "at_once", "later"),
    [
        (lambda path: None, True, True),
        (lambda path: path.chmod(0o644), True, True),
        (lambda path: path.with_name("backup").hardlink_to(path), True, True),
        (lambda path: path.with_name("kimi-code.backoff").write_bytes(b"{}"), True, True),
        (replace, False, False),
        (lambda path: path.unlink(), False, False),
        (lambda path: path.write_bytes(path.read_bytes() + b" "), False, False),
        (lambda path: os.truncate(path, 0), False, False),
        (lambda path: os.utime(path, ns=(1, 1)), False, False),
        (lambda path: path.rename(path.with_name("away")), False, False),
        (exchange_directory, True, False),
        (exchange_link, False, False),
    ],
    ids=[
        "nothing",
        "mode",
        "a second name",
        "a sidecar",
        "replaced",
        "removed",
        "written to",
        "emptied",
        "dated",
        "moved away",
        "directory exchanged",
        "link instead",
    ],
)
def test_what_is_noticed(
    watched: FileStore, clock: Any, change: Callable[[Path], object], at_once: bool, later: bool
) -> None:
    """Whatever a program writes is noticed at once; a move of the whole directory, a second later."""
    stamp = watched.stamp()
    change(watched.path)
    assert watched.still(stamp) is (at_once or later)
    clock.boottime += LOOK_AGAIN_S
    assert watched.still(stamp) is later
    assert watched.still(watched.stamp())


def test_a_link_that_leads_elsewhere(file_store: FileStore, pair: Any, clock: Any) -> None:
    """The old target is as it was: that it is no longer the record is seen when the path is looked at again."""
    put(file_store, pair(1))
    path = file_store.path
    here, there = path.with_name("here"), path.with_name("there")
    there.write_bytes(path.read_bytes())
    path.rename(here)
    path.symlink_to(here)
    stamp = file_store.stamp()
    assert file_store.still(stamp)
    path.unlink()
    path.symlink_to(there)
    assert file_store.still(stamp)
    clock.boottime += LOOK_AGAIN_S
    assert not file_store.still(stamp)
    assert file_store.still(file_store.stamp())


def test_its_price(watched: FileStore, clock: Any, counted: Counter[str]) -> None:
    """One system call each time, also when the path is looked at again; a file that cannot be opened costs one more."""
    stamp = watched.stamp()
    counted.clear()
    for _ in range(10):
        assert watched.still(stamp)
    assert counted == {"fstat": 10}
    counted.clear()
    clock.boottime += LOOK_AGAIN_S
    assert watched.still(stamp)
    assert counted == {"stat": 1}
    counted.clear()
    assert watched.still(stamp)
    assert counted == {"fstat": 1}


def test_without_a_descriptor(watched: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has no descriptor left is told the same, by the path."""
    stamp = watched.stamp()
    replace(watched.path)

    def refuse(*args: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    assert not watched.still(stamp)
    assert watched.still(watched.stamp())
    assert not watched.still(stamp)


def test_a_look_that_fails_leaves_nothing_open(
    file_store: FileStore, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system may open and then know nothing: the descriptor is given back, the path decides."""
    put(file_store, pair(1))
    stamp = file_store.stamp()
    opened: list[int] = []
    original = os.open

    def remember(*args: Any) -> int:
        opened.append(original(*args))
        return opened[-1]

    def stale(fd: int) -> os.stat_result:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(os, "open", remember)
    monkeypatch.setattr(os, "fstat", stale)
    assert file_store.still(stamp)
    monkeypatch.undo()
    (fd,) = opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def descriptors(path: Path) -> list[int]:
    """The open descriptors of the file at `path`."""
    found = path.stat()
    return [fd for fd in range(3, 256) if _is(fd, found)]


def _is(fd: int, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), found)
    except OSError:
        return False


def test_one_descriptor_at_most(watched: FileStore, pair: Any) -> None:
    """However often the record is replaced, no descriptor of an old one stays; none at all when the store is gone."""
    first = watched.path.with_name("first")
    first.hardlink_to(watched.path)
    for number in range(2, 6):
        put(watched, pair(number))
        assert watched.still(watched.stamp())
    assert len(descriptors(watched.path)) == 1
    assert descriptors(first) == []


def test_it_ends_with_its_store(tmp_path: Path, clock: Any, pair: Any) -> None:
    """A store need not be closed."""
    store = FileStore(tmp_path / "share", clock=clock)
    put(store, pair(1))
    assert store.still(store.stamp())
    path = store.path
    assert len(descriptors(path)) == 1
    del store
    gc.collect()
    assert descriptors(path) == []


def test_a_program_that_closes_everything(watched: FileStore, tmp_path: Path) -> None:
    """A daemon closes descriptors that it knows nothing of, and takes their numbers: its file is not believed to be the
    record, and not closed."""
    stamp = watched.stamp()
    (fd,) = descriptors(watched.path)
    os.close(fd)
    assert watched.still(stamp)
    (fd,) = descriptors(watched.path)
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT, 0o600)
    os.dup2(theirs, fd)
    os.close(theirs)
    assert watched.still(stamp)
    gc.collect()
    assert os.write(fd, b"still open") == 10
    os.close(fd)
    assert watched.still(stamp)


def test_a_forked_child(watched: FileStore, pair: Any) -> None:
    """A child that is forked off has the descriptor too, and notices what its parent writes."""
    stamp = watched.stamp()
    ask, answer = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        seen = [watched.still(stamp)]
        os.write(answer[1], b"x")
        os.read(ask[0], 1)
        seen += [watched.still(stamp), watched.still(watched.stamp())]
        os._exit(0 if seen == [True, False, True] else 1)
    assert os.read(answer[0], 1) == b"x"
    put(watched, pair(2))
    os.write(ask[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    assert not watched.still(stamp)
    for fd in (*ask, *answer):
        os.close(fd)
