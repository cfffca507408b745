"""Reaches a file: a path is walked to its directory by the rules of `walk`, once for any number of operations."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kimi_auth.support.language import tr

from .exposure import GROUP, exposed_to, group_name
from .mounts import keeps_modes
from .walk import ELSEWHERE, Location, Way, readable

__all__ = [
    "Location",
    "Where",
    "followed",
    "is_directory",
    "names",
    "opened_directory",
    "path_of",
    "reached",
    "remarks",
    "stat_at",
]

Where = Path | Location
"""A path, or a location in a directory that is open and checked already: several operations can share one walk."""


def path_of(where: Where) -> Path:
    """The full name of a file that is reached from a directory, for people."""
    return where.path if isinstance(where, Location) else where


@contextmanager
def reached(where: Where, *, follow: bool = False, private: bool = True) -> Iterator[Location]:
    """The `Location` that `where` names; it may not exist yet. `follow`: also follow a link at the end of a path.

    `private`: its directory is checked as the one that holds the file, else as one on the way (to make a directory in
    it). Raises `NotOurs` and `Exposed` for a path that fails the rules, else the system's `OSError`; a file name in an
    error of the body becomes a full path. A `Location` is not walked to again.
    """
    if isinstance(where, Location):
        yield where
        return
    way = Way(where)
    try:
        place = way.walk(follow=follow, private=private)
        try:
            yield place
        except OSError as error:
            if isinstance(error.filename, str) and "/" not in error.filename:
                error.filename = str(place.path.with_name(error.filename))
            raise
    finally:
        way.close()


def followed(path: Path) -> Path:
    """`path` reached, with every link at its end followed. Raises as `reached`."""
    with reached(path, follow=True) as place:
        return place.path


def stat_at(where: Where, *, follow: bool = False) -> os.stat_result | None:
    """Reaches a file for its `lstat`, None if it does not exist. Raises as `reached`."""
    try:
        with reached(where, follow=follow, private=False) as place:
            return os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def is_directory(path: Path) -> bool:
    """Reaches `path`: True if it is a directory, False if it does not exist. Raises as `reached`."""
    found = stat_at(path, follow=True)
    return found is not None and stat.S_ISDIR(found.st_mode)


@contextmanager
def opened_directory(directory: Where) -> Iterator[int]:
    """Reaches a directory, or that of a `Location`: a readable descriptor for listing and `fsync`. Raises OSError."""
    if isinstance(directory, Location):
        descriptor = readable(directory.directory)
    else:
        way = Way(directory)
        try:
            way.enter(private=True)
            descriptor = way.readable()
        finally:
            way.close()
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def names(directory: Where) -> list[str]:
    """Reaches a directory for the names in it, or beside a `Location`. Raises OSError."""
    with opened_directory(directory) as descriptor:
        return os.listdir(descriptor)  # noqa: PTH208


def remarks(directory: Path) -> Iterator[tuple[str, str]]:
    """Reaches `directory`, and remarks unusual but accepted properties of it and of the path, each with a next step.
    Raises as `reached`."""
    way = Way(directory)
    try:
        way.enter(private=True)
    finally:
        way.close()
    for path, found in way.seen:
        if not keeps_modes(found.st_dev):
            words = tr(
                "{path} is on a file system that stores no owners or modes: how it is mounted keeps others out",
                path=path,
            )
            yield words, ELSEWHERE
            return
        who = exposed_to(found) or (
            tr("the group {name}", name=group_name(found.st_gid)) if found.st_mode & GROUP else ""
        )
        if who and not found.st_mode & stat.S_ISVTX:
            mode = stat.S_IMODE(found.st_mode)
            yield (
                tr("{path} can be written by {who} (mode {mode:04o})", path=path, who=who, mode=mode),
                tr("if that is not intended: chmod go-w {path}", path=shlex.quote(path)),
            )
