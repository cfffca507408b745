"""What a host keeps beside a database: answers that the database could not take yet, and the newest generation it has seen.

    <folder>/<database>.<name>.<fp>.answer   {"v": 1, "record": {…}, "sha256": …}: the answer to the rotation of pair <fp>
    <folder>/<database>.<name>.seen          {"v": 1, "generation": n, "fp": its pair}

An answer exists once: while its database is away it must not live in one process's memory only. It is written durably, 0600,
and removed once the database has it. Containers without a disk have none of this: then a killed process loses the answer,
as it does between the server's answer and the first write of a file.
"""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from kimi_auth import files
from kimi_auth.errors import StorageError
from kimi_auth.store import medium
from kimi_auth.token import RECORD_FILE_MAX_BYTES, RecordError, Token, parse_record

__all__ = ["Seen", "Spill"]

VERSION = 1
SEEN_MAX_BYTES = 1024


class Seen(NamedTuple):
    """The newest generation of a row that a process or a host has seen, and its pair, "" for one that cannot be sent."""

    generation: int = 0
    fp: str = ""

    def then(self, row: Seen) -> Seen:
        """The newest after `row`. A pair that comes a second time is as new as it was."""
        return row if row.generation > self.generation and not self._is_again(row) else self

    def forbids(self, row: Seen) -> bool:
        """True if the database has gone back: to an older pair, or behind the newest one, which then was installed a second
        time: its claims are lost, and it may have been sent."""
        return row.generation < self.generation or (row.generation > self.generation and self._is_again(row))

    def _is_again(self, row: Seen) -> bool:
        return row.fp == self.fp != ""


class Spill:
    """The files of one credential below `folder`; `name` is that of its database and its key."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    def keep(self, fp: str, token: Token) -> None:
        """Writes the answer to the rotation of pair `fp`, durably. Raises StoreUnwritable."""
        medium.make_directories(self._folder)
        record = token.record()
        data = {"v": VERSION, "record": record, "sha256": _checksum(record)}
        medium.write_durably(self._path(fp), json.dumps(data).encode())

    def answer(self, fp: str) -> Token | None:
        """The answer that is kept for pair `fp`; None for none, or a torn one."""
        try:
            found = files.read_bounded(self._path(fp), RECORD_FILE_MAX_BYTES)
            data = json.loads(found.data) if found else None
            if not isinstance(data, dict) or data.get("sha256") != _checksum(data.get("record")):
                return None
            return parse_record(data["record"])
        except (OSError, ValueError, RecursionError, RecordError, StorageError):
            return None

    def drop(self, fp: str) -> None:
        """Removes it; nothing to do where there is none."""
        with suppress(OSError):
            files.remove(self._path(fp))

    def kept(self) -> tuple[str, ...]:
        """The files with answers that are there now."""
        try:
            names = files.names(self._folder)
        except OSError:
            return ()
        mine = sorted(name for name in names if name.startswith(f"{self._name}.") and name.endswith(".answer"))
        return tuple(str(self._folder / name) for name in mine)

    def newest(self) -> Seen:
        """The newest generation that this host has seen."""
        try:
            found = files.read_bounded(self._folder / f"{self._name}.seen", SEEN_MAX_BYTES)
            value = json.loads(found.data) if found else {}
            number, fp = value.get("generation"), value.get("fp")
        except (OSError, ValueError, RecursionError, AttributeError):
            return Seen()
        return Seen(number if type(number) is int else 0, fp if isinstance(fp, str) else "")

    def see(self, seen: Seen) -> None:
        """Notes a generation, if it is newer; best effort."""
        if self.newest().then(seen) != seen:
            return
        with suppress(OSError):
            files.make_directories(self._folder)
            data = json.dumps({"v": VERSION, "generation": seen.generation, "fp": seen.fp}).encode()
            files.write_durably(self._folder / f"{self._name}.seen", data)

    def _path(self, fp: str) -> Path:
        return self._folder / f"{self._name}.{fp}.answer"


def _checksum(record: object) -> str:
    return sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
