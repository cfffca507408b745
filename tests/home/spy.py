"""What the processes of a sandbox could read, searched for a refresh token from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["Spy"]

REFRESH, ACCESS = b"emulated-refresh-", b"emulated-access-"
"""How every token of the emulator begins. One text is found in a gigabyte in a second; a pattern of all tokens took ten."""

PART_BYTES, OVERLAP_BYTES = 16 << 20, 64
"""Of memory, read at once; a text that lies across two parts is whole in the first one."""


class Spy:
    """Looks, again and again, at what the processes of the sandbox could read: their files, environment and memory.

    `mark`: what SPIED says in the environment of those processes, and of none but them: a sandbox of another test holds other
    tokens by right. `folders`: where their files lie, as they see them. `found`: where a forbidden text was. `saw`: how often an
    access token was in such a memory, so that it was really read; or, where a `control` is given, that text, and then access
    tokens are forbidden, too.
    """

    def __init__(self, mark: str, *folders: str) -> None:
        self.mark = mark
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
        for process in _sandboxed(self.mark):
            with suppress(OSError):
                self._look(process)

    def _look(self, process: Path) -> None:
        forbidden, sought = ((REFRESH, ACCESS), self.control) if self.control else ((REFRESH,), ACCESS)
        has_seen = False
        for name, data in self._read(process):
            if any(token in data for token in forbidden):
                self.found.add(name)
            has_seen = has_seen or (name == "memory" and sought in data)
        self.saw += has_seen
        self.looks += 1

    def _read(self, process: Path) -> Iterator[tuple[str, bytes]]:
        yield "environment", (process / "environ").read_bytes()
        for part in _memory(process):
            yield "memory", part
        for folder in self.folders:
            yield from _files(process, folder)


def _sandboxed(mark: str) -> Iterator[Path]:
    """The processes that carry the mark, which a sandbox gives to what it starts once its mounts are made."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"SPIED={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                yield process


def _memory(process: Path) -> Iterator[bytes]:
    """Each writable region that is not empty; V8 reserves gigabytes that it never touches."""
    spans: list[tuple[int, int]] = []
    for line in (process / "smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            start, end = (int(number, 16) for number in name.split("-"))
            is_writable = rest[0].startswith("rw")
        elif name in {"Rss:", "Swap:"} and is_writable and rest[0] != "0" and spans[-1:] != [(start, end)]:
            spans.append((start, end))
    with (process / "mem").open("rb", buffering=0) as memory:
        for start, end in spans:
            for at in range(start, end, PART_BYTES):
                with suppress(OSError, ValueError):
                    memory.seek(at)
                    yield memory.read(min(end - at, PART_BYTES + OVERLAP_BYTES))


def _files(process: Path, directory: str) -> Iterator[tuple[str, bytes]]:
    for path in (process / "root" / directory.lstrip("/")).rglob("*"):
        with suppress(OSError):
            if path.is_file():
                yield str(path), path.read_bytes()
