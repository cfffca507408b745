"""The few things the store does with files: reads that never hang, writes that survive a power cut, private modes.

Every `OSError` leaves here as a `StorageError` that names the file, says what is wrong in plain words and what to do.
A file is *ours* when it belongs to the effective user; root also takes the files of the directory's owner for ours, and
gives the ones that it makes to that owner, so that a `sudo` never locks a user out of the own login.
"""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from kimi_auth.errors import CorruptCredential, StorageError, StoreUnwritable

__all__ = [
    "Found",
    "create_durably",
    "explain",
    "is_ours",
    "make_directories",
    "overwrite_durably",
    "read_bounded",
    "refuse_strange",
    "remove",
    "rename_durably",
    "sync_directory",
    "temporary",
    "touch",
    "trouble",
    "write_durably",
]

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700

# O_NONBLOCK: opening a FIFO must not wait for its other end. O_NOCTTY: a terminal must not become ours.
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

_MAKE_ROOM = "make room, then try again"
_WHOSE = "see whose they are and what they allow: ls -ld {directory} {path}"
_BLOCKED = "move it out of the way, then try again: {path}"
_INCAPABLE = "this file system cannot do that"
_LOCAL_DISK = "set KIMI_SHARE_DIR to a directory on a local disk"
_WORDS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", _MAKE_ROOM),
    errno.EDQUOT: ("the disk quota is used up", _MAKE_ROOM),
    errno.EFBIG: (
        "the file would be larger than this process may write",
        "raise the limit (ulimit -f), then try again",
    ),
    errno.EROFS: ("the file system is read-only", "make it writable, or set KIMI_SHARE_DIR to another directory"),
    errno.EACCES: ("permission denied", _WHOSE),
    errno.EPERM: ("not permitted", _WHOSE),
    errno.EMFILE: ("this process has too many files open", "raise the limit (ulimit -n), then try again"),
    errno.ENFILE: ("the system has too many files open", "try again later"),
    errno.EIO: ("the disk reports an error", "check the disk, then try again"),
    errno.ELOOP: ("it is a symbolic link that leads to no file", _BLOCKED),
    errno.EISDIR: ("it is a directory", _BLOCKED),
    errno.ENOTEMPTY: ("it is a directory", _BLOCKED),
    errno.ENOTDIR: ("a part of its path is not a directory", "look at each part of the path: {path}"),
    errno.EEXIST: ("something that is no directory is in its place", _BLOCKED),
    errno.ENOENT: ("its directory does not exist", "make the directory, then try again"),
    errno.ENXIO: ("it is a socket or a device", _BLOCKED),
    errno.ENOSYS: (_INCAPABLE, _LOCAL_DISK),
    errno.ENOLCK: (_INCAPABLE, _LOCAL_DISK),
    errno.EOPNOTSUPP: (_INCAPABLE, _LOCAL_DISK),
}
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_NOT_A_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO})
_DIRECTORY_SYNC_UNKNOWN = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


class Found(NamedTuple):
    """A file's bytes, and what `fstat` said of the very descriptor that they were read from."""

    data: bytes
    stat: os.stat_result


def explain(error: OSError, doing: str, path: Path, kind: type[StorageError]) -> StorageError:
    """`error` in words, as a `kind`: what could not be done to which file, why, and the next step."""
    words, hint = _WORDS.get(error.errno or 0, (error.strerror or type(error).__name__, ""))
    if issubclass(kind, CorruptCredential):
        hint = ""  # its own: a new login moves the file away by itself
    return kind(f"cannot {doing} {path}: {words}", hint=_for_shell(hint, path))


def _for_shell(hint: str, path: Path) -> str:
    return hint.format(path=shlex.quote(str(path)), directory=shlex.quote(str(path.parent)))


@contextmanager
def trouble(doing: str, path: Path, kind: type[StorageError] = StoreUnwritable) -> Iterator[None]:
    """Turns the `OSError` of its body into a `kind`."""
    try:
        yield
    except OSError as error:
        raise explain(error, doing, path, kind) from error


# --- whose file, what kind of file -----------------------------------------------------------------------------------


def is_ours(found: os.stat_result, directory: Path) -> bool:
    """True for a file of the effective user; for root also for one of `directory`'s owner."""
    user = os.geteuid()
    return found.st_uid == user or (user == 0 and found.st_uid == directory.stat().st_uid)


def refuse_strange(found: os.stat_result, path: Path, kind: type[StorageError] = StorageError) -> None:
    """Raises unless `found` (of `path`) is a regular file (else a `kind`) and ours."""
    if not stat.S_ISREG(found.st_mode):
        words = next((words for test, words in _KINDS if test(found.st_mode)), "something strange")
        hint = "" if issubclass(kind, CorruptCredential) else _for_shell(_BLOCKED, path)
        raise kind(f"{path} is {words}, not a file", hint=hint)
    if not is_ours(found, path.parent):
        raise StorageError(
            f"{path} belongs to another user (uid {found.st_uid})",
            hint=_for_shell(f"make it your own: sudo chown {os.geteuid()} {{path}}", path),
        )


def _give_to_owner(descriptor: int, directory: Path) -> None:
    """What root makes in a user's directory belongs to that user."""
    if os.geteuid() == 0:
        owner = directory.stat()
        if owner.st_uid:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_bounded(path: Path, limit: int) -> Found | None:
    """The bytes of the regular file `path` that is ours, None when nothing is there.

    Never waits and never follows a link. Raises CorruptCredential for what is no file or holds more than `limit` bytes,
    StorageError for a file that cannot be read or belongs to somebody else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _SAFELY)
    except FileNotFoundError:
        return None
    except OSError as error:
        kind = CorruptCredential if error.errno in _NOT_A_FILE else StorageError
        raise explain(error, "read", path, kind) from error
    with trouble("read", path, StorageError):
        try:
            found = os.fstat(descriptor)
            refuse_strange(found, path, CorruptCredential)
            data = _read(descriptor, limit + 1)
        finally:
            os.close(descriptor)
    if len(data) > limit:
        raise CorruptCredential(f"{path} holds more than {limit} bytes, too many for what it should be")
    return Found(data, found)


def _read(descriptor: int, limit: int) -> bytes:
    parts: list[bytes] = []
    while limit > 0 and (part := os.read(descriptor, limit)):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


# --- writing ---------------------------------------------------------------------------------------------------------


def temporary(path: Path) -> Path:
    """A new name beside `path`; whoever finds it there after an hour may remove it."""
    return path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")


def touch(path: Path) -> None:
    """Makes the empty private file `path` unless something is there."""
    with trouble("make", path), suppress(FileExistsError):
        os.close(_open_new(path))


def create_durably(path: Path, data: bytes, *, allocate: int = 0) -> bool:
    """Makes the file `path` with `data`, durably; False when something is there already.

    `allocate` bytes are taken from the disk at once, so that a full disk shows now; a failure leaves nothing behind.
    """
    with trouble("write", path):
        try:
            _write_new(path, data, allocate)
        except FileExistsError:
            return False
        try:
            sync_directory(path.parent)
        except OSError:
            remove(path)
            raise
    return True


def write_durably(path: Path, data: bytes, *, allocate: int = 0) -> None:
    """`data` becomes the file `path` in one step, durably; a failure leaves what was there."""
    new = temporary(path)
    with trouble("write", path):
        _write_new(new, data, allocate)
        try:
            rename_durably(new, path)
        except OSError:
            remove(new)
            raise


def overwrite_durably(path: Path, offset: int, data: bytes) -> None:
    """Replaces what `path` holds from `offset` on, in the blocks that it has. Shortening comes first, so that a write
    cut off in the middle leaves neither the end of the old bytes nor anything that could pass for the new ones."""
    with trouble("write", path):
        descriptor = os.open(path, os.O_WRONLY | _SAFELY)
        try:
            refuse_strange(os.fstat(descriptor), path)
            os.ftruncate(descriptor, offset + len(data))
            _write(descriptor, data, offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def rename_durably(old: Path, new: Path) -> None:
    """`old` takes the place of `new`; raises OSError."""
    old.replace(new)
    sync_directory(new.parent)


def remove(path: Path) -> bool:
    """Removes `path`; False when it was not there or would not go."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def sync_directory(directory: Path) -> None:
    """Makes the names in `directory` durable; raises OSError. A file system that cannot do that is left in peace."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _DIRECTORY_SYNC_UNKNOWN:
            raise
    finally:
        os.close(descriptor)


def make_directories(path: Path) -> None:
    """Makes `path` and what is missing above it, private; a directory that exists is left as it is."""
    with trouble("make the directory", path):
        if path.is_dir():
            return
        make_directories(path.parent)
        try:
            path.mkdir(PRIVATE_DIRECTORY)
        except FileExistsError:
            if not path.is_dir():
                raise
            return  # another process made it first
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFELY)
        try:
            _give_to_owner(descriptor, path.parent)
        finally:
            os.close(descriptor)
        sync_directory(path.parent)


def _open_new(path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, PRIVATE_FILE)
    try:
        os.fchmod(descriptor, PRIVATE_FILE)  # whatever the umask took away
        _give_to_owner(descriptor, path.parent)
    except BaseException:
        os.close(descriptor)
        remove(path)
        raise
    return descriptor


def _write_new(path: Path, data: bytes, allocate: int = 0) -> None:
    descriptor = _open_new(path)
    try:
        try:
            _allocate(descriptor, allocate)
            _write(descriptor, data, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        remove(path)
        raise


def _allocate(descriptor: int, size: int) -> None:
    if size <= 0:
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:
        _write(descriptor, bytes(size), 0)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
            raise
        _write(descriptor, bytes(size), 0)  # a file system without allocation takes the blocks when they are written


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
