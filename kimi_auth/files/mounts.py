"""What file systems and attributes forbid: whether modes are stored, and whether a file can be replaced (proc(5), chattr(1))."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["Mount", "is_protected", "keeps_modes", "mount_at", "mount_of_its_own"]

TABLE = Path("/proc/self/mountinfo")

_GET_FLAGS = 2 << 30 | struct.calcsize("l") << 16 | 0x6601
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20

_MODELESS = r"vfat|msdos|exfat|ntfs3?|9p|drvfs|cifs|smb3|smbfs|vboxsf|prl_fs|vmhgfs|fakeowner|fuse.*"
"""File systems that show one owner or one mode for every file, whatever `chmod` set: FAT, Windows' disks in WSL, shared
folders of virtual machines and of desktop container engines, most of FUSE. There the kernel uses the mount's modes,
too. A pattern that is compiled where it is asked for: most processes never do."""


class Mount(NamedTuple):
    """One line of the table."""

    number: str
    device: str
    root: str
    point: str
    kind: str


def keeps_modes(device: int) -> bool:
    """False for the device number of a file system that stores no owners and modes for each file."""
    name = f"{os.major(device)}:{os.minor(device)}"
    kinds = {mount.kind for mount in _table() if mount.device == name}
    return not any(re.fullmatch(_MODELESS, kind) for kind in kinds)


def mount_at(path: Path) -> Mount | None:
    """The mount that `path` lies on; None where the system has no table."""
    real = os.path.realpath(path)
    holding = [mount for mount in _table() if Path(real).is_relative_to(mount.point)]
    return max(
        reversed(holding), key=lambda mount: len(mount.point), default=None
    )  # of two on one point the later counts


def mount_of_its_own(name: str, directory: int) -> str:
    """The mount point of the file `name` in a directory, if it is a mount of its own: renaming onto it fails (EBUSY).

    A mount id that differs from the directory's shows it; "" also if the system gives no ids.
    """
    try:
        descriptor = os.open(name, getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return ""
        raise
    try:
        number, around = _number(descriptor), _number(directory)
        other_device = os.fstat(descriptor).st_dev != os.fstat(directory).st_dev
    finally:
        os.close(descriptor)
    if number == around and not (number == "" and other_device):
        return ""
    return next((mount.point for mount in _table() if mount.number == number), name)


def is_protected(name: str, directory: int) -> bool:
    """True if chattr(1) flags forbid to replace the file or names in its directory; they bind root, too."""
    return any(
        _flags(path, kind, directory) & bits
        for path, kind, bits in ((name, os.O_NOFOLLOW, _IMMUTABLE | _APPEND_ONLY), (".", os.O_DIRECTORY, _APPEND_ONLY))
    )


def _flags(name: str, kind: int, directory: int) -> int:
    """What attributes a file has: ioctl_iflags(2); 0 if the system or the file system has no flags."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | kind, dir_fd=directory)
    except OSError:
        return 0
    try:
        flags = fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8)) if sys.platform == "linux" else bytes(8)
    except OSError:
        return 0
    finally:
        os.close(descriptor)
    return int.from_bytes(flags[:4], sys.byteorder)


def _number(descriptor: int) -> str:
    try:
        about = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        text = os.read(about, 4096)
    finally:
        os.close(about)
    return text.partition(b"\nmnt_id:")[2].partition(b"\n")[0].strip().decode("ascii", "replace")


def _table() -> list[Mount]:
    # "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
    try:
        lines = TABLE.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        left, _, right = line.partition(" - ")
        parts, kind = left.split(" "), right.partition(" ")[0]
        if len(parts) >= 5:
            found.append(Mount(parts[0], parts[2], _plain(parts[3]), _plain(parts[4]), kind))
    return found


def _plain(text: str) -> str:
    """Decodes octal escapes: the kernel writes space, tab, newline and backslash that way."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
