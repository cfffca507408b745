"""Keeps the last walks of all processes of a share dir, each in a file that `diagram --trace` draws.

Only logins, renewals and logouts are recorded. Inspecting a credential, or waiting for a fresh pair of another process,
writes nothing.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kimi_auth import files

if TYPE_CHECKING:  # to look at a credential records nothing
    from kimi_auth.machine import Machine, Observer
    from kimi_auth.machine.trace import Walk

__all__ = ["UNFINISHED", "WalkFile", "WalkHistory"]

log: logging.Logger = logging.getLogger("kimi_auth.credential")

KEPT_OF_A_KIND = 20
"""Walks kept for each machine and end: a day of successful renewals must not evict the one that failed."""

KEPT = 200
"""Walks kept in total."""

LINES_MAX = 200
"""Lines kept of one walk. A longer one, such as an hour of polling, keeps its beginning and its end."""

BYTES_MAX = LINES_MAX * 500
"""Read limit: larger than any file written here."""

WRITING = {"claiming", "reclaiming", "committing"}
"""States of a walk that writes. One without them that ends fresh was served by another process, and is not kept: a herd's waiters
would evict the walk of the one that renewed, and write a file each before they hand out the token."""

UNFINISHED = "unfinished"
"""The end of a walk that raised."""


class WalkFile(NamedTuple):
    """One walk on disk. `began` is in UTC, to the millisecond; `end` is a rest state, or `unfinished`."""

    began: str
    machine: str
    end: str
    walk: str

    @property
    def name(self) -> str:
        """The file's name; names sort by time."""
        return f"{'-'.join(self)}.ndjson"

    @classmethod
    def parse(cls, name: str) -> WalkFile | None:
        """The kept walk that a file's name tells of; None for a file that this module did not write."""
        parts = name.removesuffix(".ndjson").split("-")
        kept = cls(*parts) if len(parts) == len(cls._fields) else None
        return kept if kept and kept.name == name else None


class WalkHistory:
    """The walks kept in a share dir, in at most 200 small files; without a share dir, none. `login`: the name of a login of
    an account with a label, whose walks lie apart.

    Safe for several processes at a time. A disk error loses a record, never a walk.
    """

    def __init__(self, share_dir: Path | None, wall_s: Callable[[], float] = time.time, login: str = "") -> None:
        self._share_dir = share_dir
        self._wall_s = wall_s
        self._login = login

    @property
    def folder(self) -> Path | None:
        """The directory of the files."""
        return self._share_dir and self._share_dir / "kimi-auth" / "walks" / self._login

    @contextmanager
    def recording(self, machine: Machine, observe: Observer) -> Iterator[Observer]:
        """Keeps one walk of `machine`, as its observer: it forwards to `observe`; the file is written when the block
        exits."""
        if self._share_dir is None:
            yield observe
            return
        from kimi_auth.machine import Observers
        from kimi_auth.machine.trace import Trace, Walk

        trace = Trace(wall_s=self._wall_s)
        try:
            yield Observers(observe, trace)
        finally:
            if trace.traced:
                self._keep(Walk(tuple(trace.traced)), machine)

    def kept(self) -> list[WalkFile]:
        """All kept walks of the share dir, oldest first; none if the folder is missing or cannot be read."""
        try:
            names = files.names(self.folder) if self.folder is not None else []
        except OSError:
            names = []
        return [kept for name in sorted(names) if (kept := WalkFile.parse(name)) is not None]

    def read(self, kept: WalkFile) -> Walk | None:
        """A kept walk, one of `kept()`; None if another process has just removed it, or it cannot be read."""
        from kimi_auth.machine.trace import parse

        try:
            found = files.read_bounded(self.folder / kept.name, BYTES_MAX) if self.folder is not None else None
        except OSError:
            found = None
        walks = parse(found.data.decode("utf-8", "replace")) if found else []
        return walks[0] if walks else None

    def _keep(self, walk: Walk, machine: Machine) -> None:
        end = walk.ended_in(machine) if walk.machine == machine.name else ""
        if end == "fresh" and WRITING.isdisjoint(step.source for step in walk.traced):
            return
        lines = [traced.line() for traced in walk.traced]
        if len(lines) > LINES_MAX:
            lines = lines[: LINES_MAX // 2] + lines[-LINES_MAX // 2 :]
        from datetime import UTC, datetime

        try:
            began = datetime.fromtimestamp(walk.began_at_s, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
            self._write(WalkFile(began, machine.name, end or UNFINISHED, walk.traced[0].walk).name, "".join(lines))
        except (OSError, OverflowError, ValueError) as error:  # the disk, or a clock that shows no year
            log.debug("a walk could not be recorded: %s", getattr(error, "strerror", None) or error)

    def _write(self, name: str, text: str) -> None:
        folder = self.folder
        if folder is None or self._share_dir is None or not files.is_directory(self._share_dir):
            return  # no login has ever happened here: a walk that changed nothing makes no share dir
        files.make_directories(folder)
        try:
            files.create(folder / name, text.encode())  # nothing waits until it is durable
        finally:
            self._make_room(folder)

    def _make_room(self, folder: Path) -> None:
        counts: Counter[tuple[str, str]] = Counter()
        for total, kept in enumerate(reversed(self.kept()), 1):
            counts[kept.machine, kept.end] += 1
            if total > KEPT or counts[kept.machine, kept.end] > KEPT_OF_A_KIND:
                files.remove(folder / kept.name)
