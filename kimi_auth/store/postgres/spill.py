"""What a host keeps beside a database: answers that the database could not take yet, and the newest generation it has seen.

    <folder>/<database>.<name>.<fp>.answer   {"v": 1, "record": {…}, "sha256": …}: the answer to the rotation of pair <fp>
                                             {"v": 1, "sealed": base64}: the same, where the row is encrypted
    <folder>/<database>.<name>.seen          {"v": 1, "generation": n, "fp": its pair}

An answer exists once: while its database is away it must not live in one process's memory only. It is written durably, 0600,
and removed once the database has it. Containers without a disk have none of this: then a killed process loses the answer,
as it does between the server's answer and the first write of a file.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from kimi_auth import files
from kimi_auth.store import medium
from kimi_auth.token import RECORD_FILE_MAX_BYTES, RecordError, Token, parse_record

from .address import Address
from .encryption import Cipher

__all__ = ["Seen", "Spill"]

VERSION = 1
SEEN_MAX_BYTES = 1024
ANSWER_MAX_BYTES = 2 * RECORD_FILE_MAX_BYTES
"""An encrypted one is in base64."""


class Seen(NamedTuple):
    """The newest generation of a row that a process or a host has seen, and its pair, "" for one that cannot be sent."""

    generation: int = 0
    fp: str = ""

    def then(self, row: Seen) -> Seen:
        """The newest generation after `row`. A pair that comes a second time is as new as it was."""
        return row if row.generation > self.generation and not self._is_again(row) else self

    def forbids(self, row: Seen) -> bool:
        """True if the database has gone back: to an older pair, or behind the newest one, which then was installed a second
        time: its claims are lost, and it may have been sent."""
        return row.generation < self.generation or (row.generation > self.generation and self._is_again(row))

    def _is_again(self, row: Seen) -> bool:
        return row.fp == self.fp != ""


class Spill:
    """The files of the row `key` below `folder`, where this host keeps any: without a folder nothing is kept."""

    def __init__(self, folder: Path | None, address: Address, key: str, cipher: Cipher) -> None:
        self._folder = folder
        self._name = f"{address.name}.{key.replace('/', '.')}"
        self._key = key
        self._cipher = cipher

    def keep(self, fp: str, token: Token) -> bool:
        """Writes the answer to the rotation of pair `fp`, durably; False where this host keeps none. Raises StoreUnwritable."""
        if self._folder is None:
            return False
        medium.make_directories(self._folder)
        record = token.record()
        data: dict[str, object] = {"v": VERSION, "record": record, "sha256": _checksum(record)}
        if self._cipher.writes:
            sealed = self._cipher.seal("spill", self._key, fp, json.dumps(record).encode())
            data = {"v": VERSION, "sealed": b64encode(sealed).decode()}
        medium.write_durably(self._folder / self._answer_to(fp), json.dumps(data).encode())
        return True

    def answer(self, fp: str) -> Token | None:
        """The answer that this host keeps for pair `fp`; None for none, or a torn one. Raises StorageError for one
        whose key is not here: its pair must not be sent."""
        try:
            found = files.read_bounded(self._folder / self._answer_to(fp), ANSWER_MAX_BYTES) if self._folder else None
            data = json.loads(found.data) if found else None
            if not isinstance(data, dict):
                return None
            if isinstance(sealed := data.get("sealed"), str):
                opened = self._cipher.open("spill", self._key, fp, b64decode(sealed, validate=True))
                return parse_record(json.loads(opened))
            record = data.get("record")
            return parse_record(record) if data.get("sha256") == _checksum(record) else None
        except (OSError, ValueError, RecursionError, RecordError):
            return None

    def drop(self, fp: str) -> None:
        """Removes the answer to pair `fp` that this host keeps beside the database; nothing to do where there is none."""
        self._remove(self._answer_to(fp))

    def drop_others(self, fps: Iterable[str]) -> None:
        """Removes the kept answers to all pairs but these."""
        kept = {self._answer_to(fp) for fp in fps}
        for name in self._answers():
            if name not in kept:
                self._remove(name)

    def kept(self) -> tuple[str, ...]:
        """The files beside a database, with answers that are there now."""
        return tuple(str(self._folder / name) for name in self._answers()) if self._folder else ()

    def newest(self) -> Seen:
        """The newest generation that this host has seen."""
        if self._folder is None:
            return Seen()
        try:
            found = files.read_bounded(self._folder / f"{self._name}.seen", SEEN_MAX_BYTES)
            value = json.loads(found.data) if found else {}
            number, fp = value.get("generation"), value.get("fp")
        except (OSError, ValueError, RecursionError, AttributeError):
            return Seen()
        return Seen(number if type(number) is int else 0, fp if isinstance(fp, str) else "")

    def see(self, seen: Seen) -> None:
        """Notes a generation, if it is newer; best effort."""
        if self.newest().then(seen) == seen:
            self.note(seen)

    def note(self, seen: Seen) -> None:
        """Notes a generation as the newest; best effort."""
        if self._folder is None:
            return
        with suppress(OSError):
            files.make_directories(self._folder)
            data = json.dumps({"v": VERSION, "generation": seen.generation, "fp": seen.fp}).encode()
            files.write_durably(self._folder / f"{self._name}.seen", data)

    def _answers(self) -> list[str]:
        try:
            names = files.names(self._folder) if self._folder else []
        except OSError:
            return []
        return sorted(name for name in names if name.startswith(f"{self._name}.") and name.endswith(".answer"))

    def _remove(self, name: str) -> None:
        if self._folder is not None:
            with suppress(OSError):
                files.remove(self._folder / name)

    def _answer_to(self, fp: str) -> str:
        return f"{self._name}.{fp}.answer"


def _checksum(record: object) -> str:
    return sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
