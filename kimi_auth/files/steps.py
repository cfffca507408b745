"""Single steps on a file in an open directory, from which durable writes are made."""

from __future__ import annotations

import errno
import os
import stat

from kimi_auth.support import system

from .mounts import keeps_modes
from .reach import Location, opened_directory
from .reading import SAFELY

__all__ = ["PRIVATE_FILE", "new_file", "open_new", "overwrite", "removed", "renamed", "sync_names"]

PRIVATE_FILE = 0o600

_NO_MODES = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""Errors of `fchmod` on file systems that store no modes."""
_DIRECTORY_SYNC_UNKNOWN = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


def open_new(location: Location, mode: int = PRIVATE_FILE) -> int:
    """The step that makes the new file `location`: returns its descriptor. Raises FileExistsError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFELY | os.O_NOFOLLOW
    descriptor = os.open(location.name, flags, PRIVATE_FILE, dir_fd=location.directory)
    try:
        # The umask may have removed bits; some file systems refuse even a change to the mode that is there.
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.fchmod(descriptor, mode)
    except OSError as error:
        if error.errno not in _NO_MODES or keeps_modes(os.fstat(descriptor).st_dev):
            os.close(descriptor)
            removed(location)
            raise
    return descriptor


def new_file(
    location: Location, data: bytes, *, allocate: int = 0, mode: int = PRIVATE_FILE, sync: bool = True
) -> None:
    """The step that makes the file `location` with `data`; a failure leaves none behind. Raises FileExistsError."""
    descriptor = open_new(location, mode)
    try:
        try:
            _allocate(descriptor, allocate)
            overwrite(descriptor, data, 0)
            if sync:
                system.sync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        removed(location)
        raise


def renamed(old: Location, new: Location) -> None:
    """Renames `old` onto `new`."""
    os.replace(old.name, new.name, src_dir_fd=old.directory, dst_dir_fd=new.directory)


def removed(location: Location) -> bool:
    """The step that removes a file of an open directory; False if it was missing or could not be removed."""
    try:
        os.unlink(location.name, dir_fd=location.directory)
    except OSError:
        return False
    return True


def sync_names(location: Location) -> None:
    """The step that makes the names beside `location` durable; ignores a file system without that operation."""
    with opened_directory(location) as descriptor:
        try:
            system.sync(descriptor)
        except OSError as error:
            if error.errno not in _DIRECTORY_SYNC_UNKNOWN:
                raise


def overwrite(descriptor: int, data: bytes, offset: int) -> None:
    """The step that writes all of `data` at `offset` of an open file, in as many writes as it takes."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _allocate(descriptor: int, size: int) -> None:
    if size <= 0:
        return
    if not system.allocate(descriptor, size):
        overwrite(descriptor, bytes(size), 0)  # without allocation, writing zeros reserves the blocks
