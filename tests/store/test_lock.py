"""The lock between processes: one at a time, whatever happens to the others."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout
from house.patience import NO_LIMIT_S

from kimi_auth.errors import LockLost, StorageError, StoreUnwritable
from kimi_auth.store import Claim, FileStore, holders, lock
from kimi_auth.token import Token

FP = "0123456789abcdef"

PRELUDE = """
import os, sys, threading
from pathlib import Path
from kimi_auth.clock import SystemClock
from kimi_auth.store import FileStore
from kimi_auth.token import Token
share = Path(sys.argv[1])
def store(): return FileStore(share, clock=SystemClock())
"""

# Two detectors: a marker that only one can make, and a count that loses steps when two are inside.
TURNS = """
marker, count = share / "inside", share / "count"
print("ready", flush=True)
sys.stdin.readline()
mine = store()
for _ in range(int(sys.argv[2])):
    with mine.locked(None) as held:
        assert held
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            print("overlap", flush=True)
        before = int(count.read_text())
        count.write_text(str(before + 1))
        marker.unlink()
"""

HOLD = """
with store().locked(0.0) as held:
    print("held", bool(held), flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""

# The child of fork uses what it inherited in every way there is; afterwards the parent must still hold the lock.
FORK = """
mine = store()
def another_gets_it():
    with store().locked(0.0) as held: return held is not None
def use_in_child():
    problems = []
    if another_gets_it(): problems.append("the child got the parent's lock")
    try: mine.put(Token("a", "r", 1.0, 1.0))
    except RuntimeError: pass
    else: problems.append("the child wrote under the parent's lock")
    return problems
def fork():
    pid = os.fork()
    if pid == 0:
        problems = use_in_child()
        print(problems, flush=True)
        if sys.argv[2] == "exits": os._exit(len(problems))
        raise SystemExit(len(problems))
    assert os.waitpid(pid, 0)[1] == 0, "the child failed"
def fork_in_thread():
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
with mine.locked(0.0) as held:
    assert held
    fork_in_thread() if sys.argv[2] == "thread" else fork()
    assert not another_gets_it(), "the parent lost its lock"
    mine.put(Token("a", "r", 1.0, 1.0))
assert another_gets_it()
print("done", flush=True)
"""

# A child that lives on must not keep the lock after its parent left it.
OUTLIVE = """
reader, writer = os.pipe()
mine = store()
with mine.locked(0.0) as held:
    assert held
    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)
        os._exit(0)
with store().locked(0.0) as again: print("again", bool(again), flush=True)
os.write(writer, b"x")
os.waitpid(pid, 0)
"""


Child = Callable[..., AbstractContextManager[subprocess.Popen[str]]]


@pytest.fixture
def child(file_store: FileStore, child_environment: dict[str, str]) -> Child:
    """Starts another process on the same share directory; it is gone at the end of the `with`."""

    @contextmanager
    def start(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code, str(file_store.path.parents[1]), *arguments],
            env=child_environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    return start


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def take_turns(child: Child, share: Path, processes: int, turns: int) -> tuple[int, str]:
    """What the two detectors say: the final count, and what the children printed."""
    (share / "count").write_text("0")
    with ExitStack() as stack:
        running = [stack.enter_context(child(TURNS, str(turns))) for _ in range(processes)]
        for process in running:
            assert line(process) == "ready"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = "".join(process.communicate()[0] for process in running)
        assert [process.returncode for process in running] == [0] * processes
    return int((share / "count").read_text()), said


def test_processes_exclude_each_other(file_store: FileStore, child: Child) -> None:
    """Four processes, fifty turns each: never two inside, no step of the count lost, and the lock file stays the same."""
    share = file_store.path.parents[1]
    with file_store.locked(0.0):
        inode = file_store.lock_paths[0].stat().st_ino
    assert take_turns(child, share, 4, 50) == (200, "")
    assert file_store.lock_paths[0].stat().st_ino == inode


def test_the_detector_detects(file_store: FileStore, child: Child) -> None:
    """A holder that is inside already is noticed."""
    share = file_store.path.parents[1]
    (share / "inside").touch()
    assert take_turns(child, share, 1, 1) == (1, "overlap\n")


def test_a_kimi_cli_s_flock_is_the_same_lock(file_store: FileStore) -> None:
    """A plain `flock` on the lock file keeps us out, and ours keeps it out."""
    path = file_store.lock_paths[0]
    with path.open("a") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with file_store.locked(0.0) as held:
            assert not held
        fcntl.flock(theirs, fcntl.LOCK_UN)
        with file_store.locked(0.0) as held:
            assert held
            with pytest.raises(BlockingIOError):
                fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_killed_holder_frees_it(file_store: FileStore, child: Child) -> None:
    """SIGKILL leaves no lock behind, and nothing to clean up."""
    with child(HOLD) as holder:
        assert line(holder) == "held True"
        with file_store.locked(0.0) as held:
            assert not held
        assert file_store.holder() == f"pid {holder.pid} ({holders.process_name(holder.pid)})"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with file_store.locked(0.0) as held:
            assert held
    assert file_store.holder() == ""


def test_giving_up_while_another_process_holds_it(file_store: FileStore, child: Child) -> None:
    """A waiter stops as soon as what it waited for has come another way."""
    with child(HOLD) as holder:
        assert line(holder) == "held True"
        answers = iter([False, False, True])
        with file_store.locked(None, give_up=lambda: next(answers)) as held:
            assert not held
    assert next(answers, None) is None


@pytest.mark.parametrize(
    ("patience_s", "waits"),
    [
        (0.0, [(0.0, 0.01)]),
        (0.4, [(0.4, 0.01)]),
        (30.0, [(1.0, 0.01), (29.0, 0.025)]),
        (None, [(1.0, 0.01), (-1, 0.025)]),
    ],
)
def test_a_long_wait_is_a_quiet_one(
    file_store: FileStore, monkeypatch: pytest.MonkeyPatch, patience_s: float | None, waits: list[tuple[float, float]]
) -> None:
    """It looks every 10 ms for a second, then every 25 ms, as long as the caller has patience."""
    asked: list[tuple[float, float]] = []

    def acquire(_: object, timeout: float, poll_interval: float, **__: object) -> None:
        asked.append((round(timeout, 3), poll_interval))
        raise Timeout("nobody lets go")

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    with file_store.locked(patience_s) as held:
        assert not held
    assert asked == waits


def test_who_gives_up_in_the_first_second_waits_no_longer(
    file_store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """filelock says of a wait that was given up that its time has passed; it is not begun again."""
    asked: list[float] = []

    def acquire(_: object, timeout: float, *__: object, cancel_check: Callable[[], bool]) -> None:
        asked.append(timeout)
        assert cancel_check()
        raise Timeout("given up")

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    with file_store.locked(None, give_up=lambda: True) as held:
        assert not held
    assert asked == [1.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("how", ["exits", "unwinds", "thread"])
def test_fork_leaves_the_lock_to_the_parent(child: Child, how: str) -> None:
    """A forked child neither has the lock nor takes it from its parent, however it ends and whatever thread forked."""
    with child(FORK, how) as parent:
        said = parent.communicate()[0]
    assert said == "[]\ndone\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_that_lives_on_keeps_nothing(child: Child) -> None:
    """After the parent let go the lock is free, even while a child of that moment still runs."""
    with child(OUTLIVE) as parent:
        assert parent.communicate()[0] == "again True\n"


def test_programs_started_under_the_lock_do_not_inherit_it(file_store: FileStore) -> None:
    """The descriptor is closed on exec."""
    with file_store.locked(0.0):
        sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    with file_store.locked(0.0) as held:
        assert held
    sleeper.communicate(b"\n")


# --- locks that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(file_store: FileStore, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """It is said, before a login and before a renewal, and nothing goes on without a lock."""

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    for use in (file_store.locked(NO_LIMIT_S).__enter__, file_store.check_writable):
        with pytest.raises(StorageError, match="this file system cannot do that") as caught:
            use()
        assert type(caught.value) is StorageError
        assert "local disk" in caught.value.hint


@pytest.fixture
def no_op_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose locks are given to every process."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)


def test_a_lock_that_does_not_exclude(file_store: FileStore, no_op_flock: None) -> None:
    """Two are inside: that is said before a login and before anything is sent, and no claim is left. Who signs in or out
    all the same does so; a pair that has arrived is saved."""
    with file_store.locked(0.0) as first, file_store.locked(0.0) as second:
        assert first
        assert second
    with pytest.raises(StorageError, match=r"does not keep others out: it can be taken twice") as caught:
        file_store.check_writable()
    assert "local disk" in caught.value.hint
    with file_store.locked(0.0):
        file_store.put(Token("a", "r", 1.0, 1.0))
        fp = file_store.read().fp
        claim = Claim("interrupted", fp, nonce=fp)
        for write in (lambda: file_store.claim(fp), lambda: file_store.renew_claim(claim)):
            with pytest.raises(StorageError, match=re.escape(f"the lock {file_store.lock_paths[0]} does not keep")):
                write()
        file_store.stage(claim, Token("a2", "r2", 1.0, 1.0))
        file_store.commit(claim, Token("a2", "r2", 1.0, 1.0))
        file_store.sign_out(5.0)
    left = {path.name for path in file_store.path.parent.iterdir()}
    assert left == {file_store.path.name, file_store.lock_paths[0].name}


def test_a_lock_that_excludes_is_given_back_as_it_was(file_store: FileStore) -> None:
    """Trying whether it excludes neither lets anybody in nor loses it."""
    with file_store.locked(0.0):
        for _ in range(3):
            assert lock.why_shared(file_store.lock_paths[0]) == ""
            with file_store.locked(0.0) as held:
                assert not held
    with file_store.locked(0.0) as held:
        assert held


def test_a_lock_that_cannot_be_tried(file_store: FileStore, tmp_path: Path) -> None:
    """A missing file has no owner, and a system that does not list its mounts is taken at its word."""
    assert lock.why_shared(tmp_path / "missing") == ""
    with file_store.locked(0.0):
        assert lock.why_shared(file_store.lock_paths[0], tmp_path / "missing") == ""


MOUNTS: dict[str, tuple[str, str]] = {
    "NFS": ("nfs server:/home rw,vers=3,local_lock=none,addr=192.0.2.1", ""),
    "NFS, POSIX locks only": ("nfs server:/home rw,vers=3,local_lock=posix", ""),
    "NFS, local locks": ("nfs server:/home rw,vers=3,local_lock=all", "server:/home is mounted with local_lock=all"),
    "NFS, local flock": ("nfs server:/home rw,vers=3,local_lock=flock", "is mounted with local_lock=flock"),
    "NFS, nolock": ("nfs server:/home rw,vers=3,nolock", "is mounted with nolock"),
    "NFS 4, nolock": ("nfs4 server:/home rw,vers=4.2,nolock", "is mounted with nolock"),
    "a share with local locks": (r"cifs //server/my\040home rw,nobrl", r"//server/my\040home is mounted with nobrl"),
    "a share": ("cifs //server/home rw", ""),
    "a local disk": ("ext4 /dev/sda1 rw,nolock", ""),
    "a source without a name": ("tmpfs  rw", ""),
    "nonsense": ("nfs", ""),
    "nothing": ("", ""),
}


@pytest.mark.parametrize(("mount", "words"), MOUNTS.values(), ids=MOUNTS)
def test_a_lock_that_other_hosts_do_not_see(file_store: FileStore, tmp_path: Path, mount: str, words: str) -> None:
    """The mount that the lock file lies on says so; other mounts do not matter."""
    mounts = tmp_path / "mountinfo"
    with file_store.locked(0.0):
        path = file_store.lock_paths[0]
        device = path.stat().st_dev
        name = f"{os.major(device)}:{os.minor(device)}"
        rows = ["", "20 1 999:9 / /other rw - nfs other:/ rw,nolock", f"21 1 {name} / /home rw shared:1 - {mount}"]
        mounts.write_text("\n".join(rows))
        found = lock.why_shared(path, mounts)
    assert found.startswith(words) or f" {words}, so other hosts do not see it" in found
    assert bool(found) == bool(words)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


STRANGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a directory": (Path.mkdir, "it is a directory"),
    "a FIFO": (os.mkfifo, "is a FIFO, not a file"),
    "a socket": (_socket, "a socket"),
    "a link": (lambda path: path.symlink_to("kimi-code.json"), "symbolic link"),
}


@pytest.mark.parametrize(("make", "words"), STRANGE.values(), ids=STRANGE)
def test_a_lock_file_that_is_none(file_store: FileStore, make: Callable[[Path], object], words: str) -> None:
    """Something at the lock's path that is no file is named, with the next step; it is not removed."""
    path = file_store.lock_paths[0]
    make(path)
    for use in (file_store.locked(None).__enter__, file_store.check_writable):
        with pytest.raises(StorageError, match=words) as caught:
            use()
        assert str(path) in caught.value.message
        assert "move it out of the way" in caught.value.hint
    assert os.path.lexists(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away; run: sudo make test")
def test_a_stranger_s_lock_file(file_store: FileStore) -> None:
    """A lock that another user could take away is none."""
    with file_store.locked(0.0):
        pass
    path = file_store.lock_paths[0]
    os.chown(path, 4711, 4711)
    with pytest.raises(StorageError, match="another user"), file_store.locked(0.0):
        raise AssertionError
    os.chown(path, 0, 0)
    with file_store.locked(0.0) as held:
        assert held


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_lock_file_that_cannot_be_opened(file_store: FileStore, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Permissions and read-only file systems are said as such."""
    original = os.open

    def fail(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith(".lock"):
            raise OSError(number, os.strerror(number), str(path))
        return original(path, *args, **kwargs)

    with file_store.locked(0.0):
        pass
    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StoreUnwritable, match=r"permission denied|read-only"), file_store.locked(0.0):
        raise AssertionError


def test_a_lock_that_appears_but_will_not_lock(file_store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong after the file was made, in the locking itself, is explained too."""
    monkeypatch.setattr(lock.medium, "touch", lambda _path: None)
    original = os.open

    def fail(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith(".lock"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StoreUnwritable, match=r"cannot lock .* the disk is full"), file_store.locked(0.0):
        raise AssertionError


# --- a lock file that is taken away ----------------------------------------------------------------------------------


def replace_lock(store: FileStore) -> None:
    path = store.lock_paths[0]
    path.rename(path.with_suffix(".old"))  # kept, so that the new file cannot get the old one's inode
    path.touch()


@pytest.mark.parametrize("take_away", [replace_lock, lambda store: store.lock_paths[0].unlink()])
def test_a_lock_file_taken_away_while_it_is_held(
    file_store: FileStore, take_away: Callable[[FileStore], object]
) -> None:
    """Nothing is sent under a lock that guards no name; an answer that is there already is saved all the same."""
    pair, answer = Token("a", "r", 1.0, 1.0), Token("a2", "r2", 1.0, 1.0)
    with file_store.locked(0.0) as hold:
        assert hold is not None
        hold.check()
        file_store.put(pair)
        fp = file_store.read().fp
        claim = file_store.claim(fp)
        take_away(file_store)
        for write in (lambda: file_store.claim(fp), lambda: file_store.renew_claim(claim)):
            with pytest.raises(LockLost, match="removed or replaced while it was held"):
                write()
        with pytest.raises(LockLost):
            hold.check()
        file_store.stage(claim, answer)
        file_store.commit(claim, answer)
    assert file_store.read().token == answer
    with file_store.locked(0.0) as held:
        assert held


def test_a_lock_file_replaced_while_it_was_being_locked(file_store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of a file that the path no longer names is let go, and the right one is taken."""
    original, replaced = lock._examine, []

    def examine(descriptor: int, path: Path) -> tuple[int, int]:
        if not replaced:
            replace_lock(file_store)
            replaced.append(descriptor)
        return original(descriptor, path)

    monkeypatch.setattr(lock, "_examine", examine)
    with file_store.locked(0.0) as held:
        assert held
        with (file_store.path.parent / "kimi-code.old").open() as old, file_store.lock_paths[0].open() as new:
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with pytest.raises(BlockingIOError):
                fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert file_store.claim(FP).state == "made"


def test_a_lock_file_that_never_stays(file_store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder where names and files never agree has no lock, and is not tried for ever."""
    monkeypatch.setattr(lock, "_inode", lambda _path: (7, 7))
    with pytest.raises(StorageError, match="replaced again and again"), file_store.locked(None):
        raise AssertionError


def test_a_release_that_fails_hides_nothing(file_store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work done under the lock counts, and an error from inside comes out as it is."""
    original = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_UN:
            monkeypatch.undo()
            raise OSError(errno.EIO, "no")
        original(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(ZeroDivisionError), file_store.locked(0.0):
        raise ZeroDivisionError
    with file_store.locked(NO_LIMIT_S) as held:
        assert held


def test_an_error_in_give_up_comes_out(file_store: FileStore) -> None:
    """The caller's own error ends the wait and leaves the lock to its holder."""
    with file_store.locked(0.0):
        with pytest.raises(ZeroDivisionError), file_store.locked(NO_LIMIT_S, give_up=lambda: bool(1 // 0)):
            raise AssertionError
        with file_store.locked(0.0) as held:
            assert not held


def test_the_second_of_two_locks_is_missing(file_store: FileStore, tmp_path: Path) -> None:
    """Where a link needs two locks, the first is let go when the second is not obtained."""
    (tmp_path / "vault.json").write_text("{}")
    file_store.path.symlink_to(tmp_path / "vault.json")
    first, second = file_store.lock_paths
    with lock.locked([second], 0.0) as hold, file_store.locked(0.02) as held:
        assert (hold is not None, held) == (True, None)
        with lock.locked([first], 0.0) as free:
            assert free is not None
    with file_store.locked(0.0) as held:
        assert held


def test_readers_and_waiters_meet_no_deadlock(file_store: FileStore) -> None:
    """While threads wait for the lock, others read, ask for the holder, and give up."""
    results: list[bool] = []
    started = threading.Barrier(4)

    def wait() -> None:
        started.wait()
        with file_store.locked(0.05) as held:
            results.append(held is not None)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    with file_store.locked(0.0):
        for thread in threads:
            thread.start()
        started.wait()
        assert file_store.read().state == "absent"
        assert f"pid {os.getpid()}" in file_store.holder()
        for thread in threads:
            thread.join()
    assert results == [False] * 3


# --- who holds it ----------------------------------------------------------------------------------------------------


def test_the_kernel_s_table(tmp_path: Path) -> None:
    """Only the holders of a `flock` on this very file count: no waiters, no POSIX locks, no process outside the
    container."""
    path = tmp_path / "x.lock"
    path.touch()
    found = path.stat()
    name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    rows = [
        f"1: FLOCK  ADVISORY  WRITE 709 {name} 0 EOF",
        f"1: -> FLOCK  ADVISORY  WRITE 710 {name} 0 EOF",
        f"2: POSIX  ADVISORY  WRITE 711 {name} 0 EOF",
        "3: FLOCK  ADVISORY  WRITE 712 08:01:1 0 EOF",
        f"4: FLOCK  ADVISORY  WRITE 0 {name} 0 EOF",
        "5: nonsense",
    ]
    table = tmp_path / "locks"
    table.write_text("\n".join(rows))
    assert holders.holder_pids([path], table) == [709]
    assert holders.holder_pids([tmp_path / "missing"], table) == []
    assert holders.holder_pids([path], tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("pids", "hostname", "words"),
    [
        ([], "here", ""),
        ([], "elsewhere", "pid {pid} on here (according to its claim)"),
        (None, "here", "pid {pid} on here (according to its claim)"),
        ([4711], "here", "pid 4711"),
    ],
)
def test_a_claim_names_a_holder_that_the_kernel_cannot_know(
    file_store: FileStore, monkeypatch: pytest.MonkeyPatch, host: Any, pids: list[int] | None, hostname: str, words: str
) -> None:
    """On this host the kernel's word is final where it has one; of another host the claim says who it was."""
    host("here")
    with file_store.locked(0.0):
        file_store.put(Token("a", "r", 1.0, 1.0))
        file_store.claim(file_store.read().fp)
    host(hostname)
    monkeypatch.setattr(holders, "holder_pids", lambda _paths: pids)
    monkeypatch.setattr(holders, "process_name", lambda _pid: "")
    assert file_store.holder() == words.format(pid=os.getpid())


def test_a_process_that_is_gone_has_no_name() -> None:
    """The name is a courtesy."""
    assert holders.process_name(0) == ""
