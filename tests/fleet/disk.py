"""A disk that is full or read-only: a small tmpfs where this machine lets us mount one, else errors injected by the worker."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Disk", "small_disk"]

SIZE = 512 * 1024


@dataclass
class Disk:
    """`options` are for every worker on this disk. It stays broken until `repair`."""

    path: Path
    flag: Path
    is_real: bool

    @property
    def options(self) -> dict[str, Any]:
        return {} if self.is_real else {"broken": str(self.flag)}

    def fill(self) -> None:
        """Not a byte is left."""
        if not self.is_real:
            self.flag.write_text("ENOSPC", "ascii")
            return
        descriptor = os.open(self.path / "filler", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while True:
                os.write(descriptor, bytes(4096))
        except OSError:
            pass
        finally:
            os.close(descriptor)

    def freeze(self) -> None:
        """Nothing can be written. A real disk refuses while a file is open for writing, so no process may hold the
        lock."""
        if self.is_real:
            subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True)
        else:
            self.flag.write_text("EROFS", "ascii")

    def repair(self) -> None:
        """All is well again."""
        self.flag.unlink(missing_ok=True)
        if self.is_real:
            subprocess.run(["mount", "-o", "remount,rw", str(self.path)], check=True)
            (self.path / "filler").unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """A disk below `folder`, for the length of the block."""
    path = folder / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)]
    try:
        is_real = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        is_real = False
    try:
        yield Disk(path, folder / "broken", is_real)
    finally:
        if is_real:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
