"""Writes that survive a power cut: whole or not at all, private, and durable when they return."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kimi_auth import system

from .mounts import keeps_modes
from .reach import Place, exposed_to, is_directory, opened_directory, reached
from .reading import SAFELY
from .unfit import refuse_strange

__all__ = [
    "close",
    "create",
    "create_durably",
    "link_durably",
    "make_directories",
    "overwrite_durably",
    "probe",
    "remove",
    "remove_durably",
    "remove_forgotten",
    "rename",
    "rename_durably",
    "sync_directory",
    "temporary",
    "tighten",
    "touch",
    "write_durably",
]

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
PROBE = "probe"
PROBE_BYTES = 16_384
FORGOTTEN_S = 3_600.0
"""A temporary file older than this, in seconds, was left by a writer that was killed."""

OTHERS, WRITE = 0o077, 0o022

_NO_MODES = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""Errors of `fchmod` on file systems that store no modes."""
_DIRECTORY_SYNC_UNKNOWN = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


def temporary(path: Path) -> Path:
    """A new name beside `path`; any process may remove such a file after an hour."""
    import secrets  # a process that only reads needs no new name

    return path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")


def touch(path: Path) -> None:
    """Makes the empty private file `path` unless it exists. Raises `NotOurs` for another user's file."""
    with reached(path) as place:
        try:
            os.close(_open_new(place))
        except FileExistsError:
            found = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                refuse_strange(found, path)


def tighten(path: Path) -> None:
    """Takes read and write permission for `path` from others, if it is mine. Leaves another user's or a missing one
    alone; ignores a file system that refuses the change."""
    _take_away(path, lambda found: OTHERS)


def close(directory: Path) -> None:
    """Takes write permission for the directory from others, if it is mine and `reached` would refuse it. Read
    permission stays, because others may read its files; a sticky directory is shared on purpose."""
    _take_away(directory, lambda found: WRITE if exposed_to(found) and not found.st_mode & stat.S_ISVTX else 0)


def _take_away(path: Path, bits: Callable[[os.stat_result], int]) -> None:
    with suppress(OSError), reached(path, follow=True, private=False) as place:
        found = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
        is_ordinary = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
        if not is_ordinary or found.st_uid != os.geteuid() or not found.st_mode & bits(found):
            return
        descriptor = os.open(place.name, os.O_RDONLY | SAFELY | os.O_NOFOLLOW, dir_fd=place.directory)
        try:
            if os.path.samestat(os.fstat(descriptor), found):
                os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & ~bits(found))
        finally:
            os.close(descriptor)


def create_durably(path: Path, data: bytes, *, allocate: int = 0) -> bool:
    """Makes the file `path` with `data`, durably; False if it exists already.

    Allocates `allocate` bytes at once, so that a full disk fails now; a failure leaves no file behind.
    """
    with reached(path) as place:
        try:
            _write_new(place, data, allocate=allocate)
        except FileExistsError:
            return False
        try:
            _sync(place)
        except OSError:
            _remove(place)
            raise
    return True


def create(path: Path, data: bytes) -> None:
    """Makes the private file `path` with `data`, without `fsync`. Raises FileExistsError."""
    with reached(path) as place:
        _write_new(place, data, sync=False)


def link_durably(path: Path, data: bytes) -> bool:
    """`create_durably` for readers without a lock: the file appears whole. Renames on file systems without hard
    links."""
    with reached(path) as place:
        new = place.beside(temporary(path).name)
        _write_new(new, data)
        try:
            os.link(new.name, place.name, src_dir_fd=place.directory, dst_dir_fd=place.directory)
        except FileExistsError:
            return False
        except OSError:
            _rename(new, place)
        finally:
            _remove(new)
        _sync(place)
    return True


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Replaces the name of a temporary file in an error by `path`: the temporary file no longer exists then."""
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
    """Replaces the file `path` by `data` atomically and durably; a failure keeps the old file.

    `still` is called when the new content is on disk and the old file still there; if it returns False, the old
    stays.
    """
    with reached(path) as place, _about(path):
        new = place.beside(temporary(path).name)
        _write_new(new, data, allocate=allocate, mode=mode)
        try:
            if not still():
                return False
            _rename(new, place)
            _sync(place)
        finally:
            _remove(new)
    return True


def overwrite_durably(path: Path, head: bytes, data: bytes) -> bool:
    """Replaces the bytes of `path` after `head` by `data`, in its allocated blocks; False if it does not begin with
    `head`.

    It compares and writes through one descriptor, so a file that replaces this one meanwhile is not touched. It
    truncates first: a torn write then leaves no tail of the old bytes, which could pass for new ones.
    """
    with reached(path) as place:
        descriptor = os.open(place.name, os.O_RDWR | SAFELY | os.O_NOFOLLOW, dir_fd=place.directory)
    try:
        refuse_strange(os.fstat(descriptor), path)
        if os.pread(descriptor, len(head), 0) != head:
            return False
        os.ftruncate(descriptor, len(head) + len(data))
        _write(descriptor, data, len(head))
        system.sync(descriptor)
    finally:
        os.close(descriptor)
    return True


def rename_durably(old: Path, new: Path) -> None:
    """Renames `old` onto `new` in the same directory, durably."""
    rename(old, new)
    sync_directory(new.parent)


def rename(old: Path, new: Path) -> None:
    """Renames `old` onto `new` in the same directory."""
    with reached(new) as place:
        _rename(place.beside(old.name), place)


def remove(path: Path) -> bool:
    """Removes `path`; False if it was missing or could not be removed."""
    try:
        with reached(path) as place:
            return _remove(place)
    except OSError:
        return False


def remove_durably(path: Path) -> None:
    """Removes `path`, so that it stays removed after a power cut."""
    with suppress(FileNotFoundError), reached(path) as place:
        os.unlink(place.name, dir_fd=place.directory)
        _sync(place)


def remove_forgotten(path: Path, now_s: float) -> None:
    """Removes temporary files beside `path` that are older than an hour; a writer may still use younger ones."""
    name = re.compile(re.escape(path.name) + r"\.[0-9a-f]{12}\.tmp")
    with suppress(OSError), opened_directory(path.parent) as directory:
        for left in filter(name.fullmatch, os.listdir(directory)):  # noqa: PTH208
            if now_s - os.stat(left, dir_fd=directory, follow_symlinks=False).st_mtime > FORGOTTEN_S:
                os.unlink(left, dir_fd=directory)


def probe(directory: Path) -> None:
    """Raises if a small file cannot be made in the directory; leaves no file there."""
    path = temporary(directory / PROBE)
    with reached(path) as place:
        _write_new(place, bytes(PROBE_BYTES), allocate=PROBE_BYTES)
        _remove(place)


def sync_directory(directory: Path) -> None:
    """Makes the names in `directory` durable; ignores a file system without that operation."""
    with opened_directory(directory) as descriptor:
        _sync_names(descriptor)


def make_directories(path: Path) -> None:
    """Makes `path` and its missing parents, private; leaves existing directories unchanged."""
    if is_directory(path):
        return
    make_directories(path.parent)
    with reached(path, private=False) as place:
        try:
            os.mkdir(place.name, PRIVATE_DIRECTORY, dir_fd=place.directory)
        except FileExistsError:
            if not is_directory(path):
                raise
            return  # another process made it first
        _sync(place)


def _open_new(place: Place, mode: int = PRIVATE_FILE) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFELY | os.O_NOFOLLOW
    descriptor = os.open(place.name, flags, PRIVATE_FILE, dir_fd=place.directory)
    try:
        # The umask may have removed bits; some file systems refuse even a change to the mode that is there.
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.fchmod(descriptor, mode)
    except OSError as error:
        if error.errno not in _NO_MODES or keeps_modes(os.fstat(descriptor).st_dev):
            os.close(descriptor)
            _remove(place)
            raise
    return descriptor


def _write_new(place: Place, data: bytes, *, allocate: int = 0, mode: int = PRIVATE_FILE, sync: bool = True) -> None:
    descriptor = _open_new(place, mode)
    try:
        try:
            _allocate(descriptor, allocate)
            _write(descriptor, data, 0)
            if sync:
                system.sync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        _remove(place)
        raise


def _rename(old: Place, new: Place) -> None:
    os.replace(old.name, new.name, src_dir_fd=old.directory, dst_dir_fd=new.directory)


def _remove(place: Place) -> bool:
    try:
        os.unlink(place.name, dir_fd=place.directory)
    except OSError:
        return False
    return True


def _sync(place: Place) -> None:
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place.directory)
    try:
        _sync_names(descriptor)
    finally:
        os.close(descriptor)


def _sync_names(descriptor: int) -> None:
    try:
        system.sync(descriptor)
    except OSError as error:
        if error.errno not in _DIRECTORY_SYNC_UNKNOWN:
            raise


def _allocate(descriptor: int, size: int) -> None:
    if size <= 0:
        return
    if not system.allocate(descriptor, size):
        _write(descriptor, bytes(size), 0)  # without allocation, writing zeros reserves the blocks


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
