"""Records a walk as NDJSON, one transition a line: machine, from, event, to, seconds, step. It holds no secret."""

from __future__ import annotations

import json
from io import TextIOWrapper
from pathlib import Path
from typing import Self

from kimi_auth.errors import StoreUnwritable
from kimi_auth.machine import Transition

__all__ = ["WalkFile"]


class WalkFile:
    """An `Observer` that writes to `path` while its block runs. Raises StoreUnwritable if the file cannot be made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIOWrapper | None = None

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise StoreUnwritable(
                f"cannot write {self._path}: {error.strerror}", hint="name a file that can be written: --trace FILE"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def entered(self, machine: str, state: str, activity: str) -> None:
        """Only what came of it is recorded."""

    def moved(self, transition: Transition) -> None:
        if self._file is None or self._file.closed:
            return
        line = {
            "machine": transition.machine,
            "from": transition.source,
            "event": transition.event,
            "to": transition.target,
            "seconds": round(transition.seconds, 6),
            "step": transition.step,
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
