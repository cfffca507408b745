"""What happened yesterday: the last walks of all processes of a share dir, each in a file that `diagram --trace` draws.

Only walks that do something are recorded: logins, renewals, logouts. To look at a credential leaves nothing behind.
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

log = logging.getLogger("kimi_auth.credential")

KEPT_OF_A_KIND = 20
"""Walks of one machine with one end: a day of renewals that went well does not push out the one that did not."""

KEPT = 200
"""Walks in all."""

LINES_MAX = 200
"""Of a longer walk, which has polled for an hour, the beginning and the end are kept."""

BYTES_MAX = LINES_MAX * 500
"""More than any file of ours has."""

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
        """Its file's; names sort by time."""
        return f"{'-'.join(self)}.ndjson"

    @classmethod
    def parse(cls, name: str) -> WalkFile | None:
        """What a file's name says; None for a file that is not ours."""
        parts = name.removesuffix(".ndjson").split("-")
        kept = cls(*parts) if len(parts) == len(cls._fields) else None
        return kept if kept and kept.name == name else None


class WalkHistory:
    """The walks that are kept in a share dir, in at most 200 small files; without a share dir, nothing is kept.

    Everything may happen in several processes at a time. Trouble with the disk loses a record, never a walk.
    """

    def __init__(self, share_dir: Path | None, wall_s: Callable[[], float] = time.time) -> None:
        self._share_dir = share_dir
        self._wall_s = wall_s

    @property
    def folder(self) -> Path | None:
        """Where the files are."""
        return self._share_dir and self._share_dir / "kimi-auth" / "walks"

    @contextmanager
    def recording(self, machine: Machine, observe: Observer) -> Iterator[Observer]:
        """The observer for one walk of `machine`: it tells `observe`, and the walk is kept when the `with` is left."""
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
        """All that are kept, oldest first; none where the folder is not there or cannot be read."""
        try:
            names = files.names(self.folder) if self.folder is not None else []
        except OSError:
            names = []
        return [kept for name in sorted(names) if (kept := WalkFile.parse(name)) is not None]

    def read(self, kept: WalkFile) -> Walk | None:
        """One of `kept()`; None if another process has just removed it, or it cannot be read."""
        from kimi_auth.machine.trace import parse

        try:
            found = files.read_bounded(self.folder / kept.name, BYTES_MAX) if self.folder is not None else None
        except OSError:
            found = None
        walks = parse(found.data.decode("utf-8", "replace")) if found else []
        return walks[0] if walks else None

    def _keep(self, walk: Walk, machine: Machine) -> None:
        end = walk.ended_in(machine) if walk.machine == machine.name else ""
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
        if folder is None or not files.is_directory(folder.parents[1]):
            return  # nobody has ever signed in here: a walk that changed nothing makes no share dir
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
