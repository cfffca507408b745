"""Refuses files that are unfit, and explains file errors, each with a next step: the system's, unexpected file types, other users' files."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path

from kimi_auth.support.language import tr

from .mounts import keeps_modes

__all__ = [
    "Exposed",
    "Fixed",
    "NotAFile",
    "NotOurs",
    "TooLarge",
    "Unfit",
    "is_ours",
    "reason",
    "refuse_foreign_link",
    "refuse_strange",
]

_MAKE_ROOM = tr("make room, then try again")
_WHOSE = tr("check owner and mode: ls -ld {directory} {path}")
_BLOCKED = tr("move it out of the way, then try again: {path}")
_INCAPABLE = tr("this file system cannot do that")
_LOCAL_DISK = tr("set KIMI_SHARE_DIR to a directory on a local disk")
_WORDS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: (tr("the disk is full"), _MAKE_ROOM),
    errno.EDQUOT: (tr("the disk quota is used up"), _MAKE_ROOM),
    errno.EFBIG: (
        tr("the file would be larger than this process may write"),
        tr("raise the limit (ulimit -f), then try again"),
    ),
    errno.EROFS: (
        tr("the file system is read-only"),
        tr("make it writable, or set KIMI_SHARE_DIR to another directory"),
    ),
    errno.EACCES: (tr("permission denied"), _WHOSE),
    errno.EPERM: (tr("not permitted"), _WHOSE),
    errno.EMFILE: (tr("this process has too many files open"), tr("raise the limit (ulimit -n), then try again")),
    errno.ENFILE: (tr("the system has too many files open"), tr("try again later")),
    errno.EBUSY: (
        tr("it is a mount of its own, which cannot be replaced"),
        tr("mount the directory that holds it instead of the file: {directory}"),
    ),
    errno.EIO: (tr("the disk reports an error"), tr("check the disk, then try again")),
    errno.ELOOP: (tr("it is a symbolic link that leads to no file"), _BLOCKED),
    errno.EISDIR: (tr("it is a directory"), _BLOCKED),
    errno.ENOTEMPTY: (tr("it is a directory"), _BLOCKED),
    errno.ENOTDIR: (tr("a part of its path is not a directory"), tr("look at each part of the path: {path}")),
    errno.EEXIST: (tr("it exists and is not a directory"), _BLOCKED),
    errno.ENOENT: (tr("its directory does not exist"), tr("make the directory, then try again")),
    errno.ENXIO: (tr("it is a socket or a device"), _BLOCKED),
    errno.ENOSYS: (_INCAPABLE, _LOCAL_DISK),
    errno.ENOLCK: (_INCAPABLE, _LOCAL_DISK),
    errno.EOPNOTSUPP: (_INCAPABLE, _LOCAL_DISK),
}
_KINDS = (
    (stat.S_ISDIR, tr("a directory")),
    (stat.S_ISFIFO, tr("a FIFO")),
    (stat.S_ISSOCK, tr("a socket")),
    (stat.S_ISLNK, tr("a symbolic link")),
    (stat.S_ISCHR, tr("a device")),
    (stat.S_ISBLK, tr("a device")),
)


class Unfit(OSError):
    """A file that fails the rules. `path` + " " + `message` is a sentence; `hint` is the next step."""

    def __init__(self, path: Path, words: str, hint: str = "") -> None:
        super().__init__(tr("{path} {message}", path=path, message=words))
        self.path = path
        self.message = words
        self.hint: str = _for_shell(hint, path)


class NotAFile(Unfit):
    """It is a directory, a FIFO, a device."""


class NotOurs(Unfit):
    """It belongs to another user."""


class Exposed(Unfit):
    """Other users may write to it."""


class Fixed(Unfit):
    """It cannot be replaced: a mount of its own, or a file that the file system protects."""


class TooLarge(Unfit):
    """It exceeds its size limit."""


def reason(error: OSError, path: Path) -> tuple[str, str]:
    """Why an operation on `path` failed, in plain language, and the next step ("" if none is known)."""
    words, hint = _WORDS.get(error.errno or 0, (error.strerror or type(error).__name__, ""))
    return words, _for_shell(hint, path)


def _for_shell(hint: str, path: Path) -> str:
    return hint.format(path=shlex.quote(str(path)), directory=shlex.quote(str(path.parent)))


def is_ours(found: os.stat_result) -> bool:
    """True for a fit owner, the effective user or root: root has every permission anyway."""
    return found.st_uid in {os.geteuid(), 0}


def is_outside(uid: int) -> bool:
    """True if a file's owner is outside of this user namespace: `uid` is the overflow id, for all ids that are not
    mapped (user_namespaces(7))."""
    try:
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text("ascii"))
        mapped = Path("/proc/self/uid_map").read_text("ascii").split()
    except (OSError, ValueError):
        return False
    return uid == overflow and mapped != ["0", "0", "4294967295"]


def refuse_strange(found: os.stat_result, path: Path) -> None:
    """Refuses, by `NotAFile` or `NotOurs`, what `found` (of `path`) says is no regular file or not ours."""
    if not stat.S_ISREG(found.st_mode):
        words = next((words for test, words in _KINDS if test(found.st_mode)), tr("something strange"))
        raise NotAFile(path, tr("is {kind}, not a file", kind=words), _BLOCKED)
    if not is_ours(found) and keeps_modes(found.st_dev):
        raise NotOurs(path, tr("belongs to another user (uid {uid})", uid=found.st_uid), _BLOCKED)


def refuse_foreign_link(found: os.stat_result, path: Path) -> None:
    """Refuses, by `NotOurs`, a symbolic link that is not ours: its own owner counts, not its target's."""
    if stat.S_ISLNK(found.st_mode) and not is_ours(found) and keeps_modes(found.st_dev):
        raise NotOurs(path, tr("is a symbolic link that another user made (uid {uid})", uid=found.st_uid), _BLOCKED)
