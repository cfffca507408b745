"""Writes that survive a power cut: whole or not at all, private, and durable when they return."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .reading import SAFELY
from .unfit import refuse_strange

__all__ = [
    "create_durably",
    "link_durably",
    "make_directories",
    "overwrite_durably",
    "probe",
    "remove",
    "remove_durably",
    "remove_forgotten",
    "rename_durably",
    "sync_directory",
    "temporary",
    "touch",
    "write_durably",
]

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
PROBE = "probe"
PROBE_BYTES = 16_384
FORGOTTEN_S = 3_600.0
"""A temporary file older than this, in seconds, was left by a writer that was killed."""

_DIRECTORY_SYNC_UNKNOWN = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


def temporary(path: Path) -> Path:
    """A new name beside `path`; whoever finds it there after an hour may remove it."""
    return path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")


def touch(path: Path) -> None:
    """Makes the empty private file `path` unless something is there."""
    with suppress(FileExistsError):
        os.close(_open_new(path))


def create_durably(path: Path, data: bytes, *, allocate: int = 0) -> bool:
    """Makes the file `path` with `data`, durably; False when something is there already.

    `allocate` bytes are taken from the disk at once, so that a full disk shows now; a failure leaves nothing behind.
    """
    try:
        _write_new(path, data, allocate=allocate)
    except FileExistsError:
        return False
    try:
        sync_directory(path.parent)
    except OSError:
        remove(path)
        raise
    return True


def link_durably(path: Path, data: bytes) -> bool:
    """`create_durably` for readers that take no lock: the file appears whole. Where links do not work it is renamed."""
    new = temporary(path)
    _write_new(new, data)
    try:
        os.link(new, path)
    except FileExistsError:
        return False
    except OSError:
        rename_durably(new, path)
    finally:
        remove(new)
    sync_directory(path.parent)
    return True


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """What the system says of a temporary file in here is said of `path`: the other one will be gone."""
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str) and error.filename.endswith(".tmp"):
            error.filename, error.filename2 = str(path), None
        raise


def write_durably(
    path: Path,
    data: bytes,
    *,
    allocate: int = 0,
    mode: int = PRIVATE_FILE,
    still: Callable[[], bool] = lambda: True,
) -> bool:
    """`data` becomes the file `path` in one step, durably; a failure leaves what was there.

    `still` is asked when the new content is on disk and the old one still in place: False leaves all as it was.
    """
    new = temporary(path)
    with _about(path):
        _write_new(new, data, allocate=allocate, mode=mode, instead_of=path)
        try:
            if not still():
                return False
            rename_durably(new, path)
        finally:
            remove(new)
    return True


def overwrite_durably(path: Path, offset: int, data: bytes) -> None:
    """Replaces what `path` holds from `offset` on, in the blocks that it has. Shortening comes first, so that a write
    cut off in the middle leaves neither the end of the old bytes nor anything that could pass for the new ones."""
    descriptor = os.open(path, os.O_WRONLY | SAFELY | os.O_NOFOLLOW)
    try:
        refuse_strange(os.fstat(descriptor), path)
        os.ftruncate(descriptor, offset + len(data))
        _write(descriptor, data, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename_durably(old: Path, new: Path) -> None:
    """`old` takes the place of `new`."""
    old.replace(new)
    sync_directory(new.parent)


def remove(path: Path) -> bool:
    """Removes `path`; False when it was not there or would not go."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def remove_durably(path: Path) -> None:
    """`path` is gone when this returns, also after a power cut."""
    with suppress(FileNotFoundError):
        path.unlink()
        sync_directory(path.parent)


def remove_forgotten(path: Path, now_s: float) -> None:
    """Removes the temporary files beside `path` that its writers left an hour ago; younger ones may have an owner."""
    name = re.compile(re.escape(path.name) + r"\.[0-9a-f]{12}\.tmp")
    with suppress(OSError):
        for left in [left for left in path.parent.iterdir() if name.fullmatch(left.name)]:
            if now_s - left.lstat().st_mtime > FORGOTTEN_S:
                remove(left)


def probe(directory: Path) -> None:
    """Raises if a small file cannot be made in the directory; leaves nothing there."""
    path = temporary(directory / PROBE)
    _write_new(path, bytes(PROBE_BYTES), allocate=PROBE_BYTES)
    remove(path)


def sync_directory(directory: Path) -> None:
    """Makes the names in `directory` durable. A file system that cannot do that is left in peace."""
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
    if path.is_dir():
        return
    make_directories(path.parent)
    try:
        path.mkdir(PRIVATE_DIRECTORY)
    except FileExistsError:
        if not path.is_dir():
            raise
        return  # another process made it first
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | SAFELY | os.O_NOFOLLOW)
    try:
        _give_to_owner(descriptor, path.parent)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)


def _open_new(path: Path, mode: int = PRIVATE_FILE, *owners: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFELY | os.O_NOFOLLOW, PRIVATE_FILE)
    try:
        os.fchmod(descriptor, mode)  # whatever the umask took away
        _give_to_owner(descriptor, *owners, path.parent)
    except BaseException:
        os.close(descriptor)
        remove(path)
        raise
    return descriptor


def _write_new(
    path: Path, data: bytes, *, allocate: int = 0, mode: int = PRIVATE_FILE, instead_of: Path | None = None
) -> None:
    descriptor = _open_new(path, mode, *([instead_of] if instead_of else []))
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


def _give_to_owner(descriptor: int, *places: Path) -> None:
    """What root makes belongs to the user who owns the first of `places` that a user owns."""
    if os.geteuid() != 0:
        return
    for place in places:
        with suppress(FileNotFoundError):
            owner = place.stat()
            if owner.st_uid:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
                return
