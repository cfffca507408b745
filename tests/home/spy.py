"""What the processes of a sandbox could read, searched for a refresh token from outside."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kimi_auth.testing import Emulator

__all__ = ["Spy"]


class Spy:
    """Looks, again and again, at what the processes of the sandbox could read: their files, environment and memory. `found`:
    where a forbidden text was; `saw`: how often an access token was in such a memory, so that it was really read; or, where a `control` is given, that
    text, and access tokens are forbidden, too. `box`: the
    BOX in the environment of those processes; `folders`: where their files lie, as they see them."""

    def __init__(self, emulator: Emulator, box: str, *folders: str) -> None:
        self.emulator = emulator
        self.box = box
        self.folders = folders
        self.control = b""
        self.found: set[str] = set()
        self.saw = 0
        self.looks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go)

    def begin(self) -> None:
        """Looks every four seconds, until `end`."""
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _go(self) -> None:
        while not self._over.wait(4.0):
            self.look()

    def look(self) -> None:
        """Looks now."""
        for process in _sandboxed(self.box):
            with suppress(OSError):
                self._look(process)

    def _look(self, process: Path) -> None:
        tokens = [token for family in self.emulator.state.families for token in family.tokens]
        secret = {token.value.encode() for token in tokens if token.kind == "refresh"}
        lent = {token.value.encode() for token in tokens if token.kind == "access"}
        places = {"environment": (process / "environ").read_bytes(), "memory": b"".join(_memory(process))}
        for name, data in (*places.items(), *(file for folder in self.folders for file in _files(process, folder))):
            if _holds(data, secret | lent if self.control else secret):
                self.found.add(name)
        self.saw += _holds(places["memory"], {self.control} if self.control else lent)
        self.looks += 1


def _holds(data: bytes, tokens: set[bytes]) -> bool:
    """Whether one of the tokens is there, in one pass over hundreds of megabytes."""
    return re.search(b"|".join(map(re.escape, sorted(tokens))), data) is not None


def _sandboxed(box: str) -> Iterator[Path]:
    """The processes that see the lent directory as `box`."""
    ours = Path("/proc/self/ns/mnt").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "ns/mnt").readlink() != ours and f"BOX={box}".encode() in (process / "environ").read_bytes():
                yield process


def _memory(process: Path) -> Iterator[bytes]:
    with (process / "mem").open("rb", buffering=0) as memory:
        for line in (process / "maps").read_text().splitlines():
            span, rights, *_ = line.split()
            start, end = (int(number, 16) for number in span.split("-"))
            if rights.startswith("rw") and end - start < 1 << 28:
                with suppress(OSError, ValueError):
                    memory.seek(start)
                    yield memory.read(end - start)


def _files(process: Path, directory: str) -> Iterator[tuple[str, bytes]]:
    for path in (process / "root" / directory.lstrip("/")).rglob("*"):
        with suppress(OSError):
            if path.is_file():
                yield str(path), path.read_bytes()
