"""Writes that survive a power cut: whole or not at all, private, and durable when they return."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
"""What some file systems say that store no modes."""
_DIRECTORY_SYNC_UNKNOWN = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


def temporary(path: Path) -> Path:
    """A new name beside `path`; whoever finds it there after an hour may remove it."""
    import secrets  # what is only read needs no new name

    return path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")


def touch(path: Path) -> None:
    """Makes the empty private file `path` unless something is there. Raises `NotOurs` for another user's file."""
    with reached(path) as place:
        try:
            os.close(_open_new(place))
        except FileExistsError:
            found = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                refuse_strange(found, path)


def tighten(path: Path) -> None:
    """Others may neither read nor write the file or directory `path` any more, if it is mine. What is another's or not
    there is left as it is, and so is what the file system does not let be changed."""
    _take_away(path, lambda found: OTHERS)


def close(directory: Path) -> None:
    """No one else may write to the directory any more, if it is mine and `reached` would refuse it. It may hold what others
    read, so that stays as it is; a sticky one is meant for all."""
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
    """Makes the file `path` with `data`, durably; False when something is there already.

    `allocate` bytes are taken from the disk at once, so that a full disk shows now; a failure leaves nothing behind.
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
    """Makes the private file `path` with `data`, without waiting until it is durable. Raises FileExistsError."""
    with reached(path) as place:
        _write_new(place, data, sync=False)


def link_durably(path: Path, data: bytes) -> bool:
    """`create_durably` for readers that take no lock: the file appears whole. Where links do not work it is renamed."""
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
    """Replaces what `path` holds behind `head` by `data`, in the blocks that it has; False where it does not begin so.

    Compared and written through one descriptor: a file that takes this one's place meanwhile is not touched. Shortening
    comes first, so that a write cut off in the middle leaves neither the end of the old bytes nor anything that could pass
    for the new ones.
    """
    with reached(path) as place:
        descriptor = os.open(place.name, os.O_RDWR | SAFELY | os.O_NOFOLLOW, dir_fd=place.directory)
    try:
        refuse_strange(os.fstat(descriptor), path)
        if os.pread(descriptor, len(head), 0) != head:
            return False
        os.ftruncate(descriptor, len(head) + len(data))
        _write(descriptor, data, len(head))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def rename_durably(old: Path, new: Path) -> None:
    """`old` takes the place of `new`, which lies in the same directory."""
    rename(old, new)
    sync_directory(new.parent)


def rename(old: Path, new: Path) -> None:
    """`old` takes the place of `new`, which lies in the same directory."""
    with reached(new) as place:
        _rename(place.beside(old.name), place)


def remove(path: Path) -> bool:
    """Removes `path`; False when it was not there or would not go."""
    try:
        with reached(path) as place:
            return _remove(place)
    except OSError:
        return False


def remove_durably(path: Path) -> None:
    """`path` is gone when this returns, also after a power cut."""
    with suppress(FileNotFoundError), reached(path) as place:
        os.unlink(place.name, dir_fd=place.directory)
        _sync(place)


def remove_forgotten(path: Path, now_s: float) -> None:
    """Removes the temporary files beside `path` that its writers left an hour ago; younger ones may have an owner."""
    name = re.compile(re.escape(path.name) + r"\.[0-9a-f]{12}\.tmp")
    with suppress(OSError), opened_directory(path.parent) as directory:
        for left in filter(name.fullmatch, os.listdir(directory)):  # noqa: PTH208
            if now_s - os.stat(left, dir_fd=directory, follow_symlinks=False).st_mtime > FORGOTTEN_S:
                os.unlink(left, dir_fd=directory)


def probe(directory: Path) -> None:
    """Raises if a small file cannot be made in the directory; leaves nothing there."""
    path = temporary(directory / PROBE)
    with reached(path) as place:
        _write_new(place, bytes(PROBE_BYTES), allocate=PROBE_BYTES)
        _remove(place)


def sync_directory(directory: Path) -> None:
    """Makes the names in `directory` durable. A file system that cannot do that is left in peace."""
    with opened_directory(directory) as descriptor:
        _sync_names(descriptor)


def make_directories(path: Path) -> None:
    """Makes `path` and what is missing above it, private; a directory that exists is left as it is."""
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
        os.fchmod(descriptor, mode)  # whatever the umask took away
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
                os.fsync(descriptor)
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
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _DIRECTORY_SYNC_UNKNOWN:
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
