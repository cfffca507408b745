"""The one lock that every writer of a credential takes: `flock` on a file, across threads, processes and Kimi CLIs.

The file is never removed: a waiter would then lock an inode that has no name. A child of `fork` inherits no hold:
filelock closes the descriptor in the child without unlocking it, and the parent keeps its lock.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kimi_auth import files
from kimi_auth.errors import LockLost, StorageError, StoreUnwritable
from kimi_auth.support.language import tr
from kimi_auth.support.logs import quiet

from . import medium

if TYPE_CHECKING:
    from filelock import FileLock

    from .layout import PeerHold

__all__ = ["Hold", "locked", "why_shared"]

quiet("filelock")

POLLS_S = ((1.0, 0.01), (math.inf, 0.025))
"""(For so many seconds, poll every so many.) Most waits end within a second; many waiters in a long one must cost no
CPU."""
MOVES_MAX = 10
"""A lock file that was replaced this often during locking does not work as a lock."""

_MEDIUM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT})

_LOCAL_LOCKS = {
    "nfs": frozenset({"nolock", "local_lock=all", "local_lock=flock"}),
    "nfs4": frozenset({"nolock", "local_lock=all", "local_lock=flock"}),
    "cifs": frozenset({"nobrl"}),
    "smb3": frozenset({"nobrl"}),
}
"""Mount options under which a network file system keeps `flock` on its own host (nfs(5), mount.cifs(8))."""

Inode = tuple[int, int]


class _Moved(Exception):
    """The path no longer names the file that was locked."""


class Hold:
    """The held locks. `inodes`: of each path; `pid`: the process that holds them; `wanted`: the paths whose locks are
    needed now, which change with a link on the way; `peer`: another program's lock, where one is held too."""

    def __init__(self, inodes: dict[Path, Inode], pid: int, wanted: Callable[[], Sequence[Path]]) -> None:
        self.inodes = inodes
        self.pid = pid
        self.wanted = wanted
        self.is_released = False
        self.peer: PeerHold | None = None

    @property
    def is_ours(self) -> bool:
        """False after the release, and in a child of fork, which does not hold its parent's locks."""
        return not self.is_released and self.pid == os.getpid()

    def check(self) -> None:
        """Raises LockLost unless all wanted locks are held and each path still names the locked file; StorageError if
        another process can hold one of them too, as far as this host knows."""
        if not self.is_ours:
            raise LockLost(tr("the credential's lock is not held by this process any more"))
        # Checked before sending: a removed lock file lets the next process lock a new one, and both would send the
        # token.
        for path in self.wanted():
            if self.inodes.get(path) != _inode(path):
                raise LockLost(tr("the lock {path} was removed or replaced while it was held", path=path))
            if why := why_shared(path):
                raise StorageError(
                    tr("the lock {path} does not keep others out: {why}", path=path, why=why),
                    hint=tr("set KIMI_SHARE_DIR to a directory on a local disk"),
                )
        self.check_peer()

    def check_peer(self) -> None:
        """Raises LockLost, for the holder of the credential's lock, if another program's lock, held too, was taken away."""
        if self.peer is not None:
            self.peer.check()


BEFORE_LOCKS = ("dataclasses", "decimal", "platform", "secrets")
"""What filelock loads in its turn, the half of its time. They may be loaded in any thread, filelock may not: see `load`."""


def load() -> None:
    """Loads what takes locks, in the thread that is about to start a call that a fork waits for.

    filelock registers what it does at a fork. Registered in the middle of one, its end would run without its beginning.
    """
    import filelock  # noqa: F401


@contextmanager
def locked(
    paths: Sequence[Path],
    patience_s: float | None,
    give_up: Callable[[], bool] | None = None,
    *,
    wanted: Callable[[], Sequence[Path]] | None = None,
) -> Iterator[Hold | None]:
    """Holds the locks of all `paths`, taken in this order, or none of them (None). `wanted`: the paths that
    `Hold.check` requires, by default the same.

    Waits up to `patience_s` seconds in all (0: one try; None: no limit), or until `give_up()` is true. Raises
    StorageError if one of them cannot be locked.
    """
    # One deadline for all: two locks must not double a caller's patience.
    deadline = None if patience_s is None else time.monotonic() + patience_s
    with ExitStack() as stack:
        inodes: dict[Path, Inode] = {}
        for path in paths:
            left_s = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            inode = _take(stack, path, left_s, give_up)
            if inode is None:
                stack.close()
                yield None
                return
            inodes[path] = inode
        hold = Hold(inodes, os.getpid(), wanted or (lambda: paths))
        try:
            yield hold
        finally:
            hold.is_released = True


def _take(stack: ExitStack, path: Path, patience_s: float | None, give_up: Callable[[], bool] | None) -> Inode | None:
    from filelock import FileLock  # it brings asyncio, and reading takes no lock

    medium.touch(path)
    held: list[Inode] = []
    # A new FileLock for each hold: `flock` excludes descriptors, so threads of one process exclude each other too.
    lock = FileLock(
        path,
        mode=files.PRIVATE_FILE,
        thread_local=False,
        fallback_to_soft=False,
        preserve_lock_file=True,
        on_acquired=lambda descriptor: held.append(_examine(descriptor, path)),
    )
    for _ in range(MOVES_MAX):
        try:
            if not _wait(lock, patience_s, give_up):
                return None
        except _Moved:
            continue
        except OSError as error:
            if error.errno == errno.ELOOP:  # a symbolic link: another user could lead us to lock any file
                with medium.doing(tr("cannot lock {path}"), path):
                    files.refuse_strange(path.lstat(), path)
            kind = StoreUnwritable if error.errno in _MEDIUM else StorageError
            raise medium.explain(error, tr("cannot lock {path}"), path, kind) from error
        stack.callback(_release, lock)
        return held[0]
    raise StorageError(
        tr("cannot lock {path}: it is replaced again and again", path=path), hint=tr("leave *.lock files alone")
    )


def _wait(lock: FileLock, patience_s: float | None, give_up: Callable[[], bool] | None) -> bool:
    from filelock import Timeout

    given_up = False

    def asked() -> bool:
        nonlocal given_up
        given_up = give_up is not None and give_up()
        return given_up

    # filelock has one interval for a whole wait, so a wait is made of two.
    left_s = math.inf if patience_s is None else patience_s
    for span_s, poll_s in POLLS_S:
        timeout_s = min(left_s, span_s)
        try:
            lock.acquire(-1 if timeout_s == math.inf else timeout_s, poll_s, cancel_check=asked)
        except Timeout:
            left_s -= span_s
            if given_up or left_s <= 0.0:
                break
        else:
            return True
    return False


def _release(lock: FileLock) -> None:
    # A failed unlock must not replace the outcome of the locked work; the kernel frees the lock with the process.
    with suppress(OSError):
        lock.release(force=True)


def _examine(descriptor: int, path: Path) -> Inode:
    """Checks, once locked, that the file is ours and still has the name `path`."""
    found = os.fstat(descriptor)
    with medium.doing(tr("cannot lock {path}"), path, StorageError):
        files.refuse_strange(found, path)
    inode = (found.st_dev, found.st_ino)
    if inode != _inode(path):
        raise _Moved
    return inode


def _inode(path: Path) -> Inode:
    try:
        # Without following links: a link that replaced the lock is another file.
        found = path.lstat()
    except OSError:
        return (0, 0)
    return found.st_dev, found.st_ino


# --- whether it excludes others --------------------------------------------------------------------------------------


def why_shared(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Why another process could also hold the lock on `path`, which the caller holds; "" if none can, as far as this
    host knows. It tries that on this host; for other hosts it reads the mount options (proc_pid_mountinfo(5))."""
    # Some shared folders of virtual machines grant every `flock`: a second one that succeeds proves it.
    if _is_free(path):
        return tr("it can be taken twice at the same time")
    try:
        device, lines = path.stat().st_dev, mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    name = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        # "36 35 0:52 /home /home rw,relatime - nfs server:/home rw,vers=3,local_lock=all"
        left, _, right = line.partition(" - ")
        kind, _, rest = right.partition(" ")
        source, _, options = rest.rpartition(" ")
        local = _LOCAL_LOCKS.get(kind, frozenset()) & set(options.split(","))
        if local and left.split()[2:3] == [name]:
            return tr(
                "{source} is mounted with {option}, so other hosts do not see it", source=source, option=min(local)
            )
    return ""


def _is_free(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
