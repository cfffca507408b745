"""Checks through an open descriptor whether a file has changed, for half the cost of a check by path.

A replaced or removed file loses its name, a written one changes its size or its times: `fstat` shows both. It cannot
show that a directory above the file or a link to it was swapped; so the caller checks the path again from time to time.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress

from .contract import Stamp

__all__ = ["Watch", "stamp_of"]

_FLAGS = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_CLOEXEC  # O_PATH: a handle without opening the file


def stamp_of(found: os.stat_result) -> Stamp:
    """The stamp of a file, by which a change of it is noticed."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Watch:
    """The file at `path` at construction. Raises OSError if it is missing or cannot be opened."""

    __slots__ = ("__weakref__", "_fd", "_seen", "stamp", "until_s")

    def __init__(self, path: str, until_s: float) -> None:
        fd = os.open(path, _FLAGS)
        try:
            found = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise
        self.stamp: Stamp = stamp_of(found)
        self.until_s: float = until_s
        """When to check the path again, on the caller's clock."""
        self._fd = fd
        self._seen = _seen(found)
        weakref.finalize(self, _close, fd, found).atexit = False

    def holds(self) -> bool:
        """True if the watched file was not replaced, removed or written since. One system call."""
        try:
            return _seen(os.fstat(self._fd)) == self._seen
        except OSError:
            return False


def _seen(found: os.stat_result) -> tuple[int, ...]:
    # The link count reveals a replacement within one clock tick, in which the times stay equal.
    return found.st_ino, found.st_nlink, found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_dev


def _close(fd: int, found: os.stat_result) -> None:
    """Closes the descriptor, unless other code closed it and its number now belongs to another file."""
    with suppress(OSError):
        if os.path.samestat(os.fstat(fd), found):
            os.close(fd)
