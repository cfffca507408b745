"""kimi-code's lock: by hand-moved clocks what we do with it, and with its real package how both get along."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S, ended, joined

from home.conftest import Program
from kimi_auth.clock import SystemClock
from kimi_auth.errors import LockLost, StorageError
from kimi_auth.home import KIMI_CODE
from kimi_auth.home.directory_lock import AHEAD_S, GAP_S, STILL_S, DirectoryLock
from kimi_auth.store import FileStore

Start = Callable[[Path], Program]


class HandClock(SystemClock):
    """A monotonic clock that a test moves."""

    at_s = 1000.0

    def monotonic_s(self) -> float:
        return self.at_s


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def lock(code_home: Path, clock: HandClock) -> DirectoryLock:
    return DirectoryLock(code_home / "oauth/kimi-code", clock)


def is_stamped(lock: DirectoryLock, ahead_s: float, since_s: float) -> bool:
    """Whether the lock was stamped so far ahead, at some time from `since_s` until now; a stamp counts milliseconds."""
    return since_s - 0.001 <= lock.path.stat().st_mtime - ahead_s <= time.time() + 0.001


def store_at(home: Path) -> FileStore:
    clock = SystemClock()
    return FileStore(home, clock=clock, layout=KIMI_CODE.layout(home, "oauth/kimi-code", clock))


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_a_hold(lock: DirectoryLock) -> None:
    """The lock is an empty directory, stamped ahead; released, it leaves the sentinel alone, and nothing of ours."""
    since_s = time.time()
    hold = lock.take()
    assert hold is not None
    hold.check()
    assert list(lock.path.iterdir()) == []
    assert is_stamped(lock, AHEAD_S, since_s)
    assert lock.holder().startswith(f"pid {os.getpid()}")
    assert lock.take() is None
    hold.release()
    hold.release()
    left = {path.name: path.read_text() for path in lock.path.parent.iterdir() if path.suffix != ".holder"}
    assert left == {"kimi-code": ""}
    assert lock.holder() == ""


@pytest.mark.parametrize("how", ["removed", "replaced", "released", "renamed"])
def test_a_lost_lock(lock: DirectoryLock, how: str) -> None:
    """A lock that was taken away is noticed before anything is sent, and what lies there then stays as it is."""
    hold = lock.take()
    assert hold is not None
    if how == "released":
        hold.release()
    elif how == "renamed":
        lock.path.rename(lock.path.with_name("else"))
    else:
        lock.path.rmdir()
    if how == "replaced":
        (lock.path.parent / "holds the inode").mkdir()
        lock.path.mkdir()
        os.utime(lock.path, (5.0, 5.0))
    with pytest.raises(LockLost):
        hold.check()
    hold.release()
    assert lock.path.exists() == (how == "replaced")
    if how == "replaced":
        assert lock.path.stat().st_mtime == 5.0


def test_a_late_opening(lock: DirectoryLock, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that was opened long after it was made may be a thief's: it is left untouched, and nothing is held."""
    mkdir = os.mkdir
    made: list[int] = []

    def slow(*args: Any, **rest: Any) -> None:
        mkdir(*args, **rest)
        clock.at_s += 3.5
        made.append(lock.path.stat().st_mtime_ns)

    lock.prepare()
    monkeypatch.setattr(os, "mkdir", slow)
    assert lock.take() is None
    assert [lock.path.stat().st_mtime_ns] == made


STORIES: dict[str, tuple[list[tuple[float, bool]], bool]] = {
    # seconds between looks, does its holder stamp it before; the lock is taken at the end
    "still for so long": ([(0.0, False), *[(4.0, False)] * 8], True),
    "not yet": ([(0.0, False), *[(4.0, False)] * 7], False),
    "it moves": ([*[(4.0, False)] * 7, (4.0, True), (4.0, False)], False),
    "moved, then still": ([(4.0, True), *[(4.0, False)] * 8], True),
    "we were stopped, too": ([*[(4.0, False)] * 7, (GAP_S + 20.0, False)], False),
}


@pytest.mark.parametrize(("looks", "is_taken"), STORIES.values(), ids=STORIES)
def test_a_peer_is_watched(
    lock: DirectoryLock, clock: HandClock, looks: list[tuple[float, bool]], is_taken: bool
) -> None:
    """A peer's lock goes after 30 s in which we saw it not move, by our clock, however old or new its own time says."""
    lock.prepare()
    lock.path.mkdir()
    os.utime(lock.path, (1.0, 1.0))
    for number, (pause_s, moves) in enumerate(looks):
        clock.at_s += pause_s
        if moves:
            os.utime(lock.path, (2.0 + number, 2.0 + number))
        hold = lock.take()
    assert (hold is not None) == is_taken
    if hold is not None:
        hold.check()
        hold.release()


def test_a_regular_file(code_home: Path, lock: DirectoryLock) -> None:
    """A file with the lock's name keeps kimi-code from renewing for ever: it is named, and nothing is removed."""
    lock.prepare()
    lock.path.touch()
    for attempt in (lock.take, lock.prepare, store_at(code_home).check_writable):
        with pytest.raises(StorageError, match="no directory") as told:
            attempt()
        assert told.value.hint == f"remove it: rm {lock.path}"


def test_something_inside(lock: DirectoryLock, clock: HandClock) -> None:
    """A directory that is not empty is no lock that we could remove: it is named, and left."""
    lock.prepare()
    (lock.path / "file").parent.mkdir()
    (lock.path / "file").touch()
    assert lock.take() is None
    for _ in range(8):
        clock.at_s += 4.0
        with ExitStack() as expected:
            if clock.at_s >= 1000.0 + STILL_S:
                expected.enter_context(pytest.raises(StorageError, match="lock"))
            lock.take()
    assert (lock.path / "file").exists()


def test_a_child_of_fork(lock: DirectoryLock) -> None:
    """A child holds nothing and removes nothing; the parent's lock stays."""
    hold = lock.take()
    assert hold is not None
    pid = os.fork()
    if pid == 0:
        try:
            hold.check()
        except LockLost:
            hold.release()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    hold.check()
    hold.release()


def test_no_thread(lock: DirectoryLock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that can start no thread stamps once, as far ahead as its peers are patient."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    since_s = time.time()
    hold = lock.take()
    assert hold is not None
    assert is_stamped(lock, 59.0, since_s)
    hold.release()


NOTES = ["", "{", "[]", '{"dev": 1}', '{"owner": {"pid": "x"}}', '{"owner": 3, "dev": 0, "ino": 0, "digits": 0}']


@pytest.mark.parametrize("note", NOTES)
def test_hostile_notes(lock: DirectoryLock, note: str) -> None:
    """A note that cannot be read says nothing: the lock is a peer's, and is waited for."""
    lock.prepare()
    lock.path.mkdir()
    lock.note.write_text(note)
    assert lock.take() is None
    assert lock.holder().startswith("kimi-code")


def test_waiting_holds_nothing(code_home: Path, lock: DirectoryLock) -> None:
    """While one waits for the peer, our own lock is free: another process looks, and one that gives up is let go."""
    lock.prepare()
    lock.path.mkdir()
    waiting, enough = threading.Event(), threading.Event()
    results: list[object] = []

    def give_up() -> bool:
        waiting.set()
        return enough.is_set()

    def wait() -> None:
        with store_at(code_home).locked(None, give_up=give_up) as held:
            results.append(held)

    waiter = threading.Thread(target=wait)
    waiter.start()
    waiting.wait()
    with store_at(code_home).locked(NO_LIMIT_S, give_up=waiting.is_set) as held:
        assert held is None
    enough.set()
    joined(waiter)
    assert results == [None]
    lock.path.rmdir()
    with store_at(code_home).locked(0.0) as held:
        assert held is not None
        held.check()
        lock.path.rmdir()
        with pytest.raises(LockLost):
            held.check()


def test_a_killed_holder_of_ours(code_home: Path) -> None:
    """The next process of ours takes its lock at once, and a directory that only has the same inode is left alone."""
    script = Path(__file__).with_name("ours.py")
    dead = Program([sys.executable, str(script), str(code_home)], code_home)
    assert dead.ask("lock 0").startswith("locked")
    dead.process.kill()
    ended(dead.process)
    for stream in (dead.process.stdin, dead.process.stdout, dead.process.stderr):
        assert stream
        stream.close()
    path = code_home / "oauth/kimi-code.lock"
    stamped = path.stat()
    # A thief's own time on the same directory. In whole nanoseconds: a float of seconds keeps our digits in one run of 240.
    os.utime(path, ns=(stamped.st_mtime_ns, stamped.st_mtime_ns + 1))
    with store_at(code_home).locked(0.0) as held:
        assert held is None
    os.utime(path, ns=(stamped.st_atime_ns, stamped.st_mtime_ns))
    with store_at(code_home).locked(0.0) as held:
        assert held is not None
        held.check()
    assert not path.exists()


# --- with the real package -------------------------------------------------------------------------------------------


@pytest.mark.real_server
@pytest.mark.prove
def test_contention(code_home: Path, tmp_path: Path, programs: tuple[Start, Start]) -> None:
    """Three of kimi-code's and three of ours in turns: each got all of its own, and never two were inside."""
    theirs, ours = programs
    (tmp_path / "count").write_text("0")
    six = [start(code_home) for start in (theirs, ours) for _ in range(3)]
    for program in six:
        program.tell(f"turns 20 {tmp_path}")
    assert [program.hear() for program in six] == ["overlaps 0"] * 6
    assert (tmp_path / "count").read_text() == "120"
    assert {program.end()[0] for program in six} == {0}


def _compromised(home: Path, theirs: Start, harm: Callable[[Path], None]) -> object:
    holder = theirs(home)
    holder.ask("lock")
    harm(home / "oauth/kimi-code.lock")
    ended(holder.process)
    return holder.process.returncode, "ECOMPROMISED" in (holder.process.stderr.read() if holder.process.stderr else "")


def _kept(home: Path, theirs: Start, ours: Start) -> object:
    mine, peer = ours(home), theirs(home)
    mine.ask("lock 0")
    peer.tell("lock")
    time.sleep(12)
    kept = mine.ask("check")
    mine.ask("release")
    return kept, peer.hear().split()[0], peer.ask("release")


def _stopped(home: Path, theirs: Start, ours: Start, for_s: float) -> object:
    """Ours is stopped while one of theirs waits: who has the lock then, and does theirs live?"""
    mine, peer = ours(home), theirs(home)
    mine.ask("lock 0")
    peer.tell("lock")
    time.sleep(1)
    os.kill(mine.pid, signal.SIGSTOP)
    time.sleep(for_s)
    os.kill(mine.pid, signal.SIGCONT)
    kept = mine.ask("check")
    time.sleep(6)  # two of its looks at a lock of its own
    mine.ask("release")
    return kept, peer.hear().split()[0], peer.ask("release"), peer.end()[0]


def _blocked(home: Path, theirs: Start, ours: Start) -> object:
    """Their event loop stands still for longer than their own lock lasts, while ours wants it."""
    peer, mine = theirs(home), ours(home)
    peer.ask("lock")
    peer.tell("block 12000")
    mine.tell("lock 60")
    said = peer.hear()
    time.sleep(3)  # it looks at its lock again
    released = peer.ask("release")
    return said, released, mine.hear().split()[0], peer.end()[0]


def _killed(home: Path, theirs: Start, ours: Start) -> object:
    """Ours is killed: theirs gets the lock within its patience."""
    mine, peer = ours(home), theirs(home)
    mine.ask("lock 0")
    mine.process.kill()
    word, waited_ms = peer.ask("lock").split()
    return word, int(waited_ms) < 60_000


@pytest.mark.real_server
@pytest.mark.prove
@pytest.mark.timeout(600)
def test_the_measured_table(tmp_path: Path, programs: tuple[Start, Start]) -> None:
    """The contract's measurements of the two programs on one lock; the rows run side by side."""
    theirs, ours = programs
    rows: dict[str, tuple[Callable[[Path], object], object]] = {
        "theirs touched by path": (lambda h: _compromised(h, theirs, lambda p: os.utime(p, (5, 5))), (1, True)),
        "theirs removed": (lambda h: _compromised(h, theirs, os.rmdir), (1, True)),
        "a file in theirs": (lambda h: _compromised(h, theirs, lambda p: (p / "x").touch()), (1, True)),
        "ours held for 12 s": (lambda h: _kept(h, theirs, ours), ("held", "locked", "released")),
        "ours stopped for 12 s": (lambda h: _stopped(h, theirs, ours, 12), ("held", "locked", "released", 0)),
        "ours stopped for 24 s": (lambda h: _stopped(h, theirs, ours, 24), ("lost", "locked", "released", 0)),
        "theirs blocked for 12 s": (lambda h: _blocked(h, theirs, ours), ("unblocked", "released", "locked", 0)),
        "ours killed": (lambda h: _killed(h, theirs, ours), ("locked", True)),
    }
    homes = {row: tmp_path / f"home {number}" for number, row in enumerate(rows)}
    for home in homes.values():
        home.mkdir(mode=0o700)
    with ThreadPoolExecutor(len(rows)) as pool:
        found = {row: pool.submit(story, homes[row]) for row, (story, _) in rows.items()}
    assert {row: future.result() for row, future in found.items()} == {row: says for row, (_, says) in rows.items()}
