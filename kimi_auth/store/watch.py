"""Looking at a file before each use of what was read from it, for half of what its path costs: by its descriptor.

A file that is replaced or removed loses its name, one that is written to changes its size or its times: a descriptor
shows both. It cannot show that a directory above the file or a link to it was swapped; for that, the path is looked at
again as often as the caller wants.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress

from .contract import Stamp

__all__ = ["Watch", "stamp_of"]

_FLAGS = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_CLOEXEC  # opens nothing, where the system has that


def stamp_of(found: os.stat_result) -> Stamp:
    """The stamp of a record in a file."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Watch:
    """The file that lay at `path` when this was made. Raises OSError where there is none, or it cannot be opened."""

    __slots__ = ("__weakref__", "_fd", "_seen", "stamp", "until_s")

    def __init__(self, path: str, until_s: float) -> None:
        fd = os.open(path, _FLAGS)
        try:
            found = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise
        self.stamp = stamp_of(found)
        self.until_s = until_s
        """When the path is to be looked at again, on the clock that the caller reads."""
        self._fd = fd
        self._seen = _seen(found)
        weakref.finalize(self, _close, fd, found).atexit = False

    def holds(self) -> bool:
        """Whether nobody has replaced, removed or written to the file since. One system call."""
        try:
            return _seen(os.fstat(self._fd)) == self._seen
        except OSError:
            return False


def _seen(found: os.stat_result) -> tuple[int, ...]:
    # The count of names tells a replaced file within the one tick of the clock that its times cannot tell apart.
    return found.st_ino, found.st_nlink, found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_dev


def _close(fd: int, found: os.stat_result) -> None:
    """Closes the descriptor, unless somebody has, and its number is another file's by now."""
    with suppress(OSError):
        if os.path.samestat(os.fstat(fd), found):
            os.close(fd)
