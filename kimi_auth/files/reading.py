"""Reads that never block: not on a FIFO without a writer, not on an endless file."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from kimi_auth.support.language import tr

from .reach import Where, path_of, reached
from .unfit import TooLarge, refuse_foreign_link, refuse_strange

__all__ = ["SAFELY", "Found", "read_bounded"]

# O_NONBLOCK: opening a FIFO must not wait for its other end. O_NOCTTY: a terminal must not become ours.
SAFELY = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Found(NamedTuple):
    """A file's bytes, and the `fstat` of the descriptor that they were read from."""

    data: bytes
    stat: os.stat_result

    def __repr__(self) -> str:
        return f"Found({len(self.data)} bytes)"


def read_bounded(where: Where, limit: int, *, follow: bool = False) -> Found | None:
    """The bytes of a regular file, None if it does not exist. Never blocks.

    The file and its directory must be ours (`reach`). A link at its name is an error; with `follow`, one of ours is
    followed. Raises `Unfit` for a file that fails these rules, is not regular, or holds more than `limit` bytes.
    """
    path = path_of(where)
    try:
        with reached(where, follow=follow) as place:
            try:
                descriptor = os.open(place.name, os.O_RDONLY | SAFELY | os.O_NOFOLLOW, dir_fd=place.directory)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    refuse_foreign_link(os.stat(place.name, dir_fd=place.directory, follow_symlinks=False), path)
                raise
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(descriptor)
        refuse_strange(found, path)
        data = _read(descriptor, limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise TooLarge(path, tr("holds more than {limit} bytes, the limit for such a file", limit=limit))
    return Found(data, found)


def _read(descriptor: int, limit: int) -> bytes:
    parts: list[bytes] = []
    while limit > 0 and (part := os.read(descriptor, limit)):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)
