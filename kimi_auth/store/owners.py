"""Identifies the process that made a claim, and tells whether it is certainly dead.

A lock proves nothing about the owner of a claim: shared folders of container engines grant one `flock` twice, and two
containers of one machine share its boot id. Only the kernel that runs the owner knows whether it lives, and it answers
only within the same PID namespace. Everything else is *unknown*, and unknown counts as alive.

`_Linux` and `_Darwin` hold the differences between systems; on any other system everything is unknown.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import NamedTuple, Protocol

__all__ = ["Owner", "host_name", "is_certainly_dead", "this_process"]

TEXT_MAX = 64
"""Characters of a name in a claim: the header of a claim has a bounded size."""


class Owner(NamedTuple):
    """A process. "" and 0 mean unknown.

    `boot`: boot id. `namespace`: the PID namespace of `pid` and the time namespace of `started`. `started`: the
    kernel's start time of the process, an opaque word that is only compared. `host`: for people.
    """

    boot: str = ""
    namespace: str = ""
    pid: int = 0
    started: str = ""
    host: str = ""

    @property
    def text(self) -> str:
        """For people: "pid 7 on laptop", "" if unknown."""
        return f"pid {self.pid} on {self.host}" if self.pid else ""


class System(Protocol):
    """The kernel's information about processes; "" and False if it gives none."""

    def namespace(self) -> str:
        """Names the namespaces in which this process sees other processes."""

    def started(self, pid: int) -> str:
        """The start time of process `pid`."""

    def is_zombie(self, pid: int) -> bool:
        """True if no thread of the process runs any more and its parent has not reaped it."""


def this_process(boot: str) -> Owner:
    """The calling process as the owner of a claim, on the boot that `boot` names."""
    system, pid = _system(), os.getpid()
    return Owner(printable(boot), printable(system.namespace()), pid, printable(system.started(pid)), host_name())


def is_certainly_dead(owner: Owner, me: Owner) -> bool:
    """True if the kernel that ran `owner` reports it dead to the calling process `me`; False if it may live."""
    if not (owner.boot and owner.namespace and owner.pid > 0):
        return False
    # On another boot or host, or in another container, the same pid is another process.
    if (owner.boot, owner.namespace) != (me.boot, me.namespace):
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # EPERM: it exists and is another user's
        pass
    system = _system()
    # Pids are reused: another start time means another process, so the owner is dead.
    started = system.started(owner.pid)
    return bool(owner.started and started and started != owner.started) or system.is_zombie(owner.pid)


def host_name() -> str:
    """The name of the host of the process that makes a claim, printable characters only."""
    return printable(_node_name())


def _node_name() -> str:
    return os.uname().nodename  # as socket.gethostname, which takes half of Python's own start to load


def printable(text: str) -> str:
    """`text` for the description of a claim's owner: printable characters, at most `TEXT_MAX`."""
    return "".join(filter(str.isprintable, text))[:TEXT_MAX]


def _system() -> System:
    return _Darwin() if sys.platform == "darwin" else _Linux()


class _Linux:
    """proc(5), pid_namespaces(7). Without a Linux /proc everything is unknown."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def namespace(self) -> str:
        try:
            found = [(self._proc / "self/ns" / kind).stat().st_ino for kind in ("pid", "time")]
        except FileNotFoundError:  # Linux before 5.6 has no time namespaces
            return self._pid_namespace()
        except OSError:
            return ""
        return "{}/{}".format(*found)

    def _pid_namespace(self) -> str:
        try:
            return str((self._proc / "self/ns/pid").stat().st_ino)
        except OSError:
            return ""

    def started(self, pid: int) -> str:
        stat = self._stat(str(pid)) if self._is_of_this_namespace() else []
        return stat[19] if len(stat) > 19 else ""  # field 22; the first two are cut off

    def is_zombie(self, pid: int) -> bool:
        if not self._is_of_this_namespace():
            return False
        try:
            tasks = os.listdir(self._proc / str(pid) / "task")  # noqa: PTH208 - names are wanted
        except OSError:
            return False
        # The main thread may have ended while others run: then /proc shows a zombie, but the process lives.
        return bool(tasks) and all(self._stat(f"{pid}/task/{task}")[:1] in (["Z"], ["X"]) for task in tasks)

    def _is_of_this_namespace(self) -> bool:
        """False if /proc shows another PID namespace than this process's own (`unshare --pid` without a new mount)."""
        try:
            lines = (self._proc / "self/status").read_text("utf-8", "replace").splitlines()
        except OSError:
            return False
        return [line.split()[1:] for line in lines if line.startswith("NSpid:")] == [[str(os.getpid())]]

    def _stat(self, task: str) -> list[str]:
        """The fields of stat after the name, which may contain spaces and parentheses; [] if it cannot be read."""
        try:
            return (self._proc / task / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            return []


class _Darwin:
    """`proc_pidinfo` with PROC_PIDTBSDINFO, from <sys/proc_info.h>. There are no PID namespaces."""

    _TBSDINFO, _SIZE, _ZOMBIE = 3, 136, 5
    _STATUS_AT, _START_AT = 4, 120

    def namespace(self) -> str:
        return "-"

    def started(self, pid: int) -> str:
        data = self._info(pid)
        return "{}.{:06}".format(*struct.unpack_from("=QQ", data, self._START_AT)) if data else ""

    def is_zombie(self, pid: int) -> bool:
        data = self._info(pid)
        return bool(data) and struct.unpack_from("=I", data, self._STATUS_AT)[0] == self._ZOMBIE

    def _info(self, pid: int) -> bytes:
        """The kernel's `proc_bsdinfo` of the process that made a claim; b"" if it gives none, as for another user's process."""
        import ctypes

        buffer = ctypes.create_string_buffer(self._SIZE)
        try:
            size = ctypes.CDLL(None).proc_pidinfo(pid, self._TBSDINFO, ctypes.c_uint64(0), buffer, self._SIZE)
        except (OSError, AttributeError):
            return b""
        return buffer.raw if size == self._SIZE else b""
