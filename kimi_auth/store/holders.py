"""The processes that hold a lock, as the kernel lists and names them. The fast lane of `kimi-auth token` asks too: only `os` here."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["TABLE", "holder_pids", "process", "process_name"]

TABLE = "/proc/locks"


def holder_pids(paths: Iterable[str | os.PathLike[str]], table: str | os.PathLike[str] = TABLE) -> list[int] | None:
    """The processes that hold a `flock` on one of `paths`; None if the system has no such table. Linux:
    proc_locks(5)."""
    try:
        with open(table, encoding="ascii", errors="replace") as opened:  # noqa: PTH123
            lines = opened.read().splitlines()
    except OSError:
        return None
    names = {name for path in paths if (name := _name(path))}
    # "1: FLOCK  ADVISORY  WRITE 709 08:01:1310 0 EOF"; a waiter's line has "->" in the second column.
    rows = (line.split() for line in lines)
    pids = (int(row[4]) for row in rows if len(row) >= 8 and row[1] == "FLOCK" and row[5] in names)
    return [pid for pid in pids if pid > 0]  # 0 and -1: a process outside of this PID namespace


def _name(path: str | os.PathLike[str]) -> str:
    """The file as the table names it, "" for one that is missing."""
    try:
        found = os.lstat(path)
    except OSError:
        return ""
    return f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"


def process(pid: int) -> str:
    """Describes a holder, process `pid`; for another user's process, with the command that ends it."""
    from kimi_auth.support.language import tr  # the fast lane does without

    name = process_name(pid)
    words = tr("pid {pid} ({name})", pid=pid, name=name) if name else tr("pid {pid}", pid=pid)
    try:
        uid = os.stat(f"/proc/{pid}").st_uid  # noqa: PTH116
    except OSError:
        return words
    return (
        words
        if uid in {os.geteuid(), 0}
        else tr("{process} of uid {uid} (to end it: sudo kill {pid})", process=words, uid=uid, pid=pid)
    )


def process_name(pid: int) -> str:
    """The name of a holder, process `pid`, "" if unknown."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as opened:  # noqa: PTH123
            return opened.read().strip()
    except OSError:
        return ""
