"""The audit log: one JSON line for each thing that happened to a grant, appended and never rewritten. No token is in it.

    {"at": 1700000000.123, "what": "token", "grant": "agent", "id": "4f…", "uid": 1000, "pid": 4711, "door": "grant", "fp": "…"}

`fp` is the fingerprint of an access token. A line is one write to the end of the file, so lines of several processes never mix.
What changes a grant is forced to disk before it counts; a hand-out is written before its token leaves, and outlives every end of
the process. The file may be renamed away at any time (logrotate): the next line makes a new one.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from kimi_auth.errors import StorageError
from kimi_auth.files import make_directories, reason, refuse_strange
from kimi_auth.support import system
from kimi_auth.support.language import tr
from kimi_auth.support.text import clean

from .records import Caller, Grant

__all__ = ["Audit"]


class Audit:
    """Appends to the log at `path`. `now_s`: unix seconds."""

    def __init__(self, path: Path, now_s: Callable[[], float]) -> None:
        self.path = path
        self._now_s = now_s
        self._descriptor = -1
        self._inode = 0

    def write(
        self, what: str, caller: Caller, grant: Grant | None = None, *, durably: bool = False, **more: str | float
    ) -> None:
        """Appends one line to the log; `durably`: it is on disk when this returns. Raises StorageError where it is not written."""
        line: dict[str, Any] = {"at": round(self._now_s(), 3), "what": what}
        if grant is not None:
            line |= {"grant": grant.name, "id": grant.id}
        line |= {"uid": caller.uid, "pid": caller.pid, "door": caller.door}
        told = {name: clean(value, 120) if isinstance(value, str) else value for name, value in more.items()}
        line |= {name: value for name, value in told.items() if value != ""}
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            if durably:
                self._append_durably(data)
            else:
                self._append(self._opened(), data)
        except OSError as error:
            words, hint = reason(error, self.path)
            raise StorageError(tr("{path}: {reason}", path=self.path, reason=words), hint=hint) from None

    def lines(self) -> Iterator[dict[str, Any]]:
        """The lines of the audit log, the oldest first; a line that a power cut tore is left out."""
        with suppress(FileNotFoundError), self.path.open("rb") as log:
            for raw in log:
                try:
                    line = json.loads(raw)
                except (ValueError, RecursionError):
                    continue
                if isinstance(line, dict):
                    yield line

    def close(self) -> None:
        """Gives the log's file back; the next line opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _opened(self) -> int:
        """The log's descriptor for hand-outs, which one thread writes. A file that replaced it (logrotate) is opened instead."""
        with suppress(OSError):
            if self._descriptor >= 0 and self.path.stat(follow_symlinks=False).st_ino == self._inode:
                return self._descriptor
        self.close()
        self._descriptor = self._open()
        self._inode = os.fstat(self._descriptor).st_ino
        return self._descriptor

    def _append_durably(self, data: bytes) -> None:
        """Appends to the log by a descriptor of its own: any thread may do so, and none waits for the disk but this one."""
        descriptor = self._open()
        try:
            self._append(descriptor, data)
            system.sync(descriptor)
        finally:
            os.close(descriptor)

    def _append(self, descriptor: int, data: bytes) -> None:
        if os.write(descriptor, data) != len(data):
            self.close()  # a full disk took a part: the next line is opened anew, and begins on its own
            raise OSError(28, os.strerror(28), str(self.path))

    def _open(self) -> int:
        make_directories(self.path.parent)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self.path, flags, 0o600)
        try:
            found = os.fstat(descriptor)
            refuse_strange(found, self.path)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(22, os.strerror(22), str(self.path))
            _end_torn_line(self.path, descriptor, found.st_size)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def _end_torn_line(path: Path, descriptor: int, size: int) -> None:
    """A line that was torn, by a power cut or a full disk, ends here, so that it takes no other one with it."""
    if not size:
        return
    with path.open("rb") as log:
        log.seek(size - 1)
        if log.read(1) != b"\n":
            os.write(descriptor, b"\n")
