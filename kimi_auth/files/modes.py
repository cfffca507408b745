"""Keeps others out of files and directories, and makes private directories."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .exposure import exposed_to
from .reach import Where, is_directory, reached
from .reading import SAFELY
from .steps import sync_names

__all__ = ["PRIVATE_DIRECTORY", "close", "make_directories", "tighten"]

PRIVATE_DIRECTORY = 0o700
OTHERS, WRITE = 0o077, 0o022


def tighten(where: Where) -> None:
    """Keeps others out: takes read and write permission from others, if the file is mine. Leaves another user's or a
    missing one alone; ignores a file system that refuses the change."""
    _take_away(where, lambda found: OTHERS)


def close(directory: Path) -> None:
    """Keeps others out: takes write permission for the directory from others, if it is mine and `reached` would refuse
    it. Read permission stays, because others may read its files; a sticky directory is shared on purpose."""
    _take_away(directory, lambda found: WRITE if exposed_to(found) and not found.st_mode & stat.S_ISVTX else 0)


def _take_away(where: Where, bits: Callable[[os.stat_result], int]) -> None:
    with suppress(OSError), reached(where, follow=True, private=False) as place:
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
        sync_names(place)
