"""Walks the path to a file: every directory and symbolic link on it is checked before it is entered.

A path is walked from the root with `openat`, one component at a time, so the checked component is the one that is used:
swapping a name between check and use has no effect. The rules are those of `sshd`'s StrictModes and of sudo, relaxed
where another user could at most cause a denial of service:

    link           made by me or by root
    on the way     belongs to me, to root, to an id outside of this user namespace, or is sticky;
                   my own must not be writable by others (unless it is sticky)
    holds the file belongs to me or to root and is not writable by others, sticky or not

"Others" are all users except me and root. A group counts as mine if it has no other member: umask 002 with a group
for each user, and the group that Kubernetes gives to a volume. A file system that stores no modes proves nothing
(`mounts.keeps_modes`), so these rules do not apply there.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .mounts import keeps_modes
from .unfit import Exposed, NotOurs, Unfit, is_ours, is_outside, refuse_foreign_link

__all__ = [
    "Place",
    "exposed_to",
    "followed",
    "is_directory",
    "names",
    "opened_directory",
    "reached",
    "remarks",
    "stat_at",
]

LINKS_MAX = 40
"""The limit of links that Linux follows in one path (path_resolution(7))."""

# O_PATH, O_SEARCH: a directory on the way must be entered, not read.
_ENTER = getattr(os, "O_PATH", getattr(os, "O_SEARCH", os.O_RDONLY)) | os.O_DIRECTORY | os.O_CLOEXEC
_OTHERS, _GROUP = 0o002, 0o020


class Place(NamedTuple):
    """The end of a path: `name` in the directory with the open descriptor `directory`. `path` is its full name."""

    directory: int
    name: str
    path: Path

    def beside(self, name: str) -> Place:
        """Another name in the same directory."""
        return Place(self.directory, name, self.path.with_name(name))


@contextmanager
def reached(path: Path, *, follow: bool = False, private: bool = True) -> Iterator[Place]:
    """The `Place` that `path` names; it may not exist yet. `follow`: also follow a link at its end.

    `private`: its directory is checked as the one that holds the file, else as one on the way (to make a directory in
    it). Raises `NotOurs` and `Exposed` for a path that fails the rules, else the system's `OSError`; a file name in an
    error of the body becomes a full path.
    """
    way = _Way(path)
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
    """`path` with every link at its end followed. Raises as `reached`."""
    with reached(path, follow=True) as place:
        return place.path


def stat_at(path: Path, *, follow: bool = False) -> os.stat_result | None:
    """The `lstat` of `path`, None if it does not exist. Raises as `reached`."""
    try:
        with reached(path, follow=follow, private=False) as place:
            return os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def is_directory(path: Path) -> bool:
    """True if `path` leads to a directory, False if it does not exist. Raises as `reached`."""
    found = stat_at(path, follow=True)
    return found is not None and stat.S_ISDIR(found.st_mode)


@contextmanager
def opened_directory(path: Path) -> Iterator[int]:
    """A readable descriptor of the checked directory `path`, for listing and `fsync`. Raises OSError."""
    way = _Way(path)
    try:
        way.enter(private=True)
        descriptor = way.readable()
    finally:
        way.close()
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def names(directory: Path) -> list[str]:
    """The names in the directory. Raises OSError."""
    with opened_directory(directory) as descriptor:
        return os.listdir(descriptor)  # noqa: PTH208


def remarks(directory: Path) -> Iterator[tuple[str, str]]:
    """Unusual but accepted properties of `directory` and of the path to it, each with a next step. Raises as
    `reached`."""
    way = _Way(directory)
    try:
        way.enter(private=True)
    finally:
        way.close()
    for path, found in way.seen:
        if not keeps_modes(found.st_dev):
            words = f"{path} is on a file system that stores no owners or modes: how it is mounted keeps others out"
            yield words, _ELSEWHERE
            return
        who = exposed_to(found) or (f"the group {_group_name(found.st_gid)}" if found.st_mode & _GROUP else "")
        if who and not found.st_mode & stat.S_ISVTX:
            mode = stat.S_IMODE(found.st_mode)
            yield (
                f"{path} can be written by {who} (mode {mode:04o})",
                f"if that is not meant: chmod go-w {shlex.quote(path)}",
            )


def exposed_to(found: os.stat_result) -> str:
    """A description of the others who may write to the directory; "" if none are known."""
    mode = found.st_mode
    if mode & _OTHERS:
        return "every user"
    if mode & _GROUP and not _is_group_ours(found.st_gid):
        return f"the group {_group_name(found.st_gid)}"
    return ""


class _Way:
    """One walk along a path. `seen`: the directories entered, each with its `fstat`."""

    def __init__(self, path: Path) -> None:
        self._asked = path
        self._here = -1
        self._trusted = (os.geteuid(), 0)
        self._words = ""
        self.seen: list[tuple[str, os.stat_result]] = []

    def close(self) -> None:
        if self._here >= 0:
            os.close(self._here)
            self._here = -1

    def walk(self, *, follow: bool, private: bool) -> Place:
        """Walks to the `Place` that the path names."""
        name, is_linked = self._walk([], follow=follow)
        if private:
            self._judge_holder(is_linked=is_linked)
        path = Path(self._words or "/") / name if is_linked else self._asked
        return Place(self._here, name, path)

    def enter(self, *, private: bool) -> None:
        """Enters the directory that the path names, also through a link."""
        self._walk(["."], follow=False)
        if private:
            self._judge_holder(is_linked=False)

    def readable(self) -> int:
        """A readable descriptor of the entered directory."""
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._here)

    def _walk(self, end: list[str], *, follow: bool) -> tuple[str, bool]:
        try:
            return self._go_along(end, follow=follow)
        except Unfit:
            raise
        except OSError as error:
            error.filename = str(self._asked)
            raise

    def _go_along(self, end: list[str], *, follow: bool) -> tuple[str, bool]:
        """Enters every directory of the path; returns the last name, and whether a link led to it."""
        asked = os.fspath(self._asked)
        left = end + _parts(asked if asked[0] == "/" else f"{Path.cwd()}/{asked}") or ["."]
        self._start()
        links, is_linked = 0, False
        while True:
            name = left.pop()
            if not left and not follow:
                return name, is_linked
            if left and self._enters(name):
                continue
            text = self._link(name, is_last=not left)
            if text is None:
                return name, is_linked
            links += 1
            if links > LINKS_MAX:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(self._asked))
            is_linked = is_linked or not left
            left += _parts(text) or ["."]
            if text.startswith("/"):
                self._start()

    def _start(self) -> None:
        self._go(os.open("/", _ENTER), "")

    def _go(self, descriptor: int, words: str) -> None:
        before, self._here, self._words = self._here, descriptor, words
        if before >= 0:
            os.close(before)
        found = os.fstat(descriptor)
        # Fast path: most directories need no judgement.
        if found.st_uid not in self._trusted or found.st_mode & (_OTHERS | _GROUP):
            self._judge(found)
        self.seen.append((words or "/", found))

    def _enters(self, name: str) -> bool:
        """Enters the directory `name`; False if it is a link or a file."""
        try:
            descriptor = os.open(name, _ENTER | os.O_NOFOLLOW, dir_fd=self._here)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
                return False
            raise
        self._go(descriptor, f"{self._words}/{name}" if name != ".." else os.path.dirname(self._words))  # noqa: PTH120
        return True

    def _link(self, name: str, *, is_last: bool) -> str | None:
        """The target of the link `name`; None for a last name that is no link. A file on the way is an error."""
        try:
            found = os.stat(name, dir_fd=self._here, follow_symlinks=False)
        except FileNotFoundError:
            if is_last:
                return None
            raise
        if stat.S_ISLNK(found.st_mode):
            if not is_outside(found.st_uid):
                refuse_foreign_link(found, Path(f"{self._words}/{name}"))
            return os.readlink(name, dir_fd=self._here)
        if not is_last:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self._asked))
        return None

    def _judge(self, found: os.stat_result) -> None:
        is_sticky = bool(found.st_mode & stat.S_ISVTX)
        if not (is_ours(found) or is_sticky or is_outside(found.st_uid)) and keeps_modes(found.st_dev):
            raise self._foreign(found)
        if found.st_uid == os.geteuid() and not is_sticky:
            self._refuse_exposed(found)

    def _judge_holder(self, *, is_linked: bool) -> None:
        found = self.seen[-1][1]
        if not is_ours(found) and keeps_modes(found.st_dev):
            raise self._foreign(found)
        if not (is_linked and found.st_mode & stat.S_ISVTX):
            self._refuse_exposed(found)

    def _refuse_exposed(self, found: os.stat_result) -> None:
        if found.st_mode & (_OTHERS | _GROUP) and (who := exposed_to(found)) and keeps_modes(found.st_dev):
            words = f"can be written by {who} (mode {stat.S_IMODE(found.st_mode):04o}, owner uid {found.st_uid})"
            raise Exposed(Path(self._words or "/"), words, _CLOSE if found.st_uid == os.geteuid() else _ELSEWHERE)

    def _foreign(self, found: os.stat_result) -> NotOurs:
        words = f"belongs to another user (uid {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o})"
        return NotOurs(Path(self._words or "/"), words, _AS_OWNER % found.st_uid if os.geteuid() == 0 else _ELSEWHERE)


_CLOSE = "keep others out: chmod go-w {path}"
_ELSEWHERE = "use a directory of your own: export KIMI_SHARE_DIR=/a/directory"
_AS_OWNER = (
    "run the program as that user: sudo -u '#%d' ...; or give root one of its own: export KIMI_SHARE_DIR=/a/directory"
)


def _parts(text: str) -> list[str]:
    """The components of a path, the last one first."""
    return [part for part in reversed(text.split("/")) if part not in {"", "."}]


def _is_group_ours(gid: int) -> bool:
    """True if the group has no known member except me and root."""
    import grp  # only for a group-writable directory: a directory service may be slow
    import pwd

    me = os.geteuid()
    try:
        listed = grp.getgrgid(gid).gr_mem
    except KeyError:
        # A group without a name: a container runtime assigned it for volumes.
        return gid in {os.getegid(), *os.getgroups()}
    try:
        uids = {pwd.getpwnam(name).pw_uid for name in listed}
    except KeyError:
        return False
    uids |= {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == gid}
    return uids <= {me, 0}


def _group_name(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
