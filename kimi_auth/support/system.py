"""What POSIX systems do differently, each with its fallback.

| | Linux | macOS | elsewhere |
|---|---|---|---|
| a clock that counts suspension | CLOCK_BOOTTIME | CLOCK_MONOTONIC, which goes on there | CLOCK_MONOTONIC |
| the id of this boot | /proc/sys/kernel/random/boot_id | sysctl kern.bootsessionuuid | "": every boot may be this one |
| data safe from a power cut | fsync | F_FULLFSYNC: fsync leaves it in the drive's cache | fsync |
| room for a file | posix_fallocate | zeros are written | zeros are written |

Other facts from /proc (holders of a lock, processes, mounts, flags, namespaces) are unknown without it, and the reader says so:
`store/lock.py`, `store/owners.py` (which asks proc_pidinfo on macOS), `files/mounts.py`, `files/unfit.py`,
`credential/detached.py`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

__all__ = ["BOOTTIME", "allocate", "boot_id", "sync"]

BOOTTIME: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_NOT_HERE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOTTY, errno.EOPNOTSUPP}
"""Errors of a call that this file system, or this kind of file, does not have."""


def boot_id() -> str:
    """The id of this boot, as Linux or macOS has it; "" on a system that has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return _boot_session()


def _boot_session() -> str:
    import ctypes

    name = b"kern.bootsessionuuid"
    value, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    try:
        failed = ctypes.CDLL(None).sysctlbyname(name, value, ctypes.byref(size), None, ctypes.c_size_t(0))
    except (OSError, AttributeError):
        return ""
    return "" if failed else value.value.decode("ascii", "replace")


def sync(descriptor: int) -> None:
    """Returns when this system would keep the file's data through a power cut. Raises OSError."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(descriptor, full)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
        else:
            return
    os.fsync(descriptor)


def allocate(descriptor: int, size: int) -> bool:
    """Takes blocks for `size` bytes from the beginning; False where this system or the file system has no such call.
    Raises OSError: no room."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:
        return False
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return False
    return True
