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
import stat
from pathlib import Path
from typing import NamedTuple

from kimi_auth.support.language import tr

from .exposure import GROUP, OTHERS, exposed_to
from .mounts import keeps_modes
from .unfit import Exposed, NotOurs, Unfit, is_ours, is_outside, refuse_foreign_link

__all__ = ["ELSEWHERE", "Location", "Way", "readable"]

LINKS_MAX = 40
"""The limit of links that Linux follows in one path (path_resolution(7))."""

# O_PATH, O_SEARCH: a directory on the way must be entered, not read.
_ENTER = getattr(os, "O_PATH", getattr(os, "O_SEARCH", os.O_RDONLY)) | os.O_DIRECTORY | os.O_CLOEXEC


class Location(NamedTuple):
    """The end of a path: `name` in the directory with the open descriptor `directory`. `path` is its full name."""

    directory: int
    name: str
    path: Path

    def beside(self, name: str) -> Location:
        """Another name in the directory in which the walk of this path ended."""
        return Location(self.directory, name, self.path.with_name(name))


def readable(directory: int) -> int:
    """Another descriptor of an open `directory` on the walk, for listing and `fsync`."""
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)


class Way:
    """One walk along a path; raises as `reached`. `seen`: the directories entered, each with its `fstat`."""

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

    def walk(self, *, follow: bool, private: bool) -> Location:
        """Walks to the `Location` that the path names."""
        name, is_linked = self._walk([], follow=follow)
        if private:
            self._check_holder(is_linked=is_linked)
        path = Path(self._words or "/") / name if is_linked else self._asked
        return Location(self._here, name, path)

    def enter(self, *, private: bool) -> None:
        """Walks into the directory that the path names, also through a link."""
        self._walk(["."], follow=False)
        if private:
            self._check_holder(is_linked=False)

    def readable(self) -> int:
        """A readable descriptor of the entered directory."""
        return readable(self._here)

    def _walk(self, end: list[str], *, follow: bool) -> tuple[str, bool]:
        try:
            return self._go_along(end, follow=follow)
        except Unfit:
            raise
        except OSError as error:
            error.filename = str(self._asked)
            raise

    def _go_along(self, end: list[str], *, follow: bool) -> tuple[str, bool]:
        """Walks into every directory of the path; returns the last name, and whether a link led to it."""
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
        # Fast path: most directories need no more checks.
        if found.st_uid not in self._trusted or found.st_mode & (OTHERS | GROUP):
            self._check(found)
        self.seen.append((words or "/", found))

    def _enters(self, name: str) -> bool:
        """Walks into the directory `name`; False if it is a link or a file."""
        try:
            descriptor = os.open(name, _ENTER | os.O_NOFOLLOW, dir_fd=self._here)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
                return False
            raise
        self._go(descriptor, f"{self._words}/{name}" if name != ".." else os.path.dirname(self._words))  # noqa: PTH120
        return True

    def _link(self, name: str, *, is_last: bool) -> str | None:
        """The target of the link `name` on the walk; None for a last name that is no link. A file on the way is an error."""
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

    def _check(self, found: os.stat_result) -> None:
        is_sticky = bool(found.st_mode & stat.S_ISVTX)
        if not (is_ours(found) or is_sticky or is_outside(found.st_uid)) and keeps_modes(found.st_dev):
            raise self._foreign(found)
        if found.st_uid == os.geteuid() and not is_sticky:
            self._refuse_exposed(found)

    def _check_holder(self, *, is_linked: bool) -> None:
        found = self.seen[-1][1]
        if not is_ours(found) and keeps_modes(found.st_dev):
            raise self._foreign(found)
        if not (is_linked and found.st_mode & stat.S_ISVTX):
            self._refuse_exposed(found)

    def _refuse_exposed(self, found: os.stat_result) -> None:
        if found.st_mode & (OTHERS | GROUP) and (who := exposed_to(found)) and keeps_modes(found.st_dev):
            words = tr(
                "can be written by {who} (mode {mode:04o}, owner uid {uid})",
                who=who,
                mode=stat.S_IMODE(found.st_mode),
                uid=found.st_uid,
            )
            raise Exposed(Path(self._words or "/"), words, _CLOSE if found.st_uid == os.geteuid() else ELSEWHERE)

    def _foreign(self, found: os.stat_result) -> NotOurs:
        words = tr(
            "belongs to another user (uid {uid}, mode {mode:04o})",
            uid=found.st_uid,
            mode=stat.S_IMODE(found.st_mode),
        )
        return NotOurs(
            Path(self._words or "/"), words, _AS_OWNER.format(uid=found.st_uid) if os.geteuid() == 0 else ELSEWHERE
        )


_CLOSE = tr("keep others out: chmod go-w {path}")
ELSEWHERE = tr("use a directory of your own: export KIMI_SHARE_DIR=/a/directory")
_AS_OWNER = tr(
    "run the program as that user: sudo -u '#{uid}' ...; or give root one of its own: export KIMI_SHARE_DIR=/a/directory"
)


def _parts(text: str) -> list[str]:
    """The components of a path, the last one first."""
    return [part for part in reversed(text.split("/")) if part not in {"", "."}]
