"""Writes, renames and removes files: whole or not at all, private, and safe from a power cut where a name says `durably`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kimi_auth.support import system

from .reach import Where, opened_directory, path_of, reached
from .reading import SAFELY
from .steps import PRIVATE_FILE, new_file, open_new, overwrite, removed, renamed, sync_names
from .unfit import refuse_strange

__all__ = [
    "create",
    "create_durably",
    "link_durably",
    "overwrite_durably",
    "probe",
    "remove",
    "remove_durably",
    "remove_forgotten",
    "rename",
    "rename_durably",
    "sync_directory",
    "temporary",
    "touch",
    "write_durably",
]

PROBE = "probe"
PROBE_BYTES = 16_384
FORGOTTEN_S = 3_600.0
"""A temporary file older than this, in seconds, was left by a writer that was killed."""


def temporary(path: Path) -> Path:
    """A new name beside `path`; any process may remove such a file after an hour."""
    import secrets  # a process that only reads needs no new name

    return path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")


def touch(where: Where) -> None:
    """Makes an empty private file unless it exists. Raises `NotOurs` for another user's file."""
    with reached(where) as place:
        try:
            os.close(open_new(place))
        except FileExistsError:
            found = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                refuse_strange(found, path_of(where))


def create_durably(where: Where, data: bytes, *, allocate: int = 0) -> bool:
    """Makes a file with `data`, durably; False if it exists already.

    Allocates `allocate` bytes at once, so that a full disk fails now; a failure leaves no file behind.
    """
    with reached(where) as place:
        try:
            new_file(place, data, allocate=allocate)
        except FileExistsError:
            return False
        try:
            sync_names(place)
        except OSError:
            removed(place)
            raise
    return True


def create(path: Path, data: bytes) -> None:
    """Makes the private file `path` with `data`, without `fsync`. Raises FileExistsError."""
    with reached(path) as place:
        new_file(place, data, sync=False)


def link_durably(path: Path, data: bytes) -> bool:
    """`create_durably` for readers without a lock: the file appears whole. Renames on file systems without hard
    links."""
    with reached(path) as place:
        new = place.beside(temporary(path).name)
        new_file(new, data)
        try:
            os.link(new.name, place.name, src_dir_fd=place.directory, dst_dir_fd=place.directory)
        except FileExistsError:
            return False
        except OSError:
            renamed(new, place)
        finally:
            removed(new)
        sync_names(place)
    return True


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Makes an error name `path`, the file that is written, instead of the temporary file, which no longer exists then."""
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str) and error.filename.endswith(".tmp"):
            error.filename, error.filename2 = str(path), None
        raise


def write_durably(
    where: Where,
    data: bytes,
    *,
    allocate: int = 0,
    mode: int = PRIVATE_FILE,
    still: Callable[[], bool] = lambda: True,
) -> bool:
    """Replaces a file by `data` atomically and durably; a failure keeps the old file.

    `still` is called when the new content is on disk and the old file still there; if it returns False, the old
    stays.
    """
    with reached(where) as place, _about(path_of(where)):
        new = place.beside(temporary(place.path).name)
        new_file(new, data, allocate=allocate, mode=mode)
        try:
            if not still():
                return False
            renamed(new, place)
            sync_names(place)
        finally:
            removed(new)
    return True


def overwrite_durably(where: Where, head: bytes, data: bytes) -> bool:
    """Replaces the bytes of a file after `head` by `data`, in its allocated blocks; False if it does not begin with
    `head`.

    It compares and writes through one descriptor, so a file that replaces this one meanwhile is not touched. It
    truncates first: a torn write then leaves no tail of the old bytes, which could pass for new ones.
    """
    with reached(where) as place:
        descriptor = os.open(place.name, os.O_RDWR | SAFELY | os.O_NOFOLLOW, dir_fd=place.directory)
    try:
        refuse_strange(os.fstat(descriptor), path_of(where))
        if os.pread(descriptor, len(head), 0) != head:
            return False
        os.ftruncate(descriptor, len(head) + len(data))
        overwrite(descriptor, data, len(head))
        system.sync(descriptor)
    finally:
        os.close(descriptor)
    return True


def rename_durably(old: Where, new: Where) -> None:
    """Renames `old` onto `new` in the same directory, so that it lasts through a power cut."""
    with reached(new) as place:
        renamed(place.beside(path_of(old).name), place)
        sync_names(place)


def rename(old: Where, new: Where) -> None:
    """Renames `old` onto `new` in the same directory, without the wait for the disk that makes `rename_durably` durable."""
    with reached(new) as place:
        renamed(place.beside(path_of(old).name), place)


def remove(where: Where) -> bool:
    """Removes a file, not durably; False if it was missing or could not be removed."""
    try:
        with reached(where) as place:
            return removed(place)
    except OSError:
        return False


def remove_durably(where: Where) -> None:
    """Removes a file, so that it stays removed after a power cut."""
    with suppress(FileNotFoundError), reached(where) as place:
        os.unlink(place.name, dir_fd=place.directory)
        sync_names(place)


def remove_forgotten(path: Path, now_s: float) -> None:
    """Removes temporary files beside `path` that are older than an hour; a writer may still use younger ones."""
    name = re.compile(re.escape(path.name) + r"\.[0-9a-f]{12}\.tmp")
    with suppress(OSError), opened_directory(path.parent) as directory:
        for left in filter(name.fullmatch, os.listdir(directory)):  # noqa: PTH208
            if now_s - os.stat(left, dir_fd=directory, follow_symlinks=False).st_mtime > FORGOTTEN_S:
                os.unlink(left, dir_fd=directory)


def probe(directory: Path) -> None:
    """Tries a write in the directory: raises if a small file cannot be written; leaves no file there."""
    with reached(temporary(directory / PROBE)) as place:
        new_file(place, bytes(PROBE_BYTES), allocate=PROBE_BYTES)
        removed(place)


def sync_directory(beside: Where) -> None:
    """Completes a durable write: the names in the directory of `beside` survive a power cut; ignores a file system without
    that operation."""
    with reached(beside) as place:
        sync_names(place)
