"""What login replaced in config.toml, kept so that logout can put it back byte for byte.

`kimi-auth/undo.json` below the share dir (0600 in 0700, it may hold the user's own API keys):
`{"v": 1, "platforms": {"<id>": {"before": "<base64>" | null, "written_sha256": ["<hex>", ...]}}}`. `before` is the file as
the first login found it, null if there was none. Only while the file is exactly something that this platform wrote
(`written_sha256`, the newest last) may those bytes replace it; otherwise somebody else has changed it since.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from kimi_auth import files

__all__ = ["UNDO_PATH", "Undo", "UndoEntry"]

UNDO_PATH = Path("kimi-auth") / "undo.json"
_BYTES_MAX = 16 << 20
_WRITTEN_KEPT = 2
"""The file may still be as it was before the newest write, if that was cut short: both count as written by us."""


class UndoEntry(BaseModel):
    """One platform's undo. The bytes may hold secrets: they are not in the repr."""

    model_config = ConfigDict(frozen=True)

    before: Base64Bytes | None = Field(repr=False)
    written_sha256: tuple[str, ...]

    @classmethod
    def first(cls, old: bytes | None, new: bytes) -> UndoEntry:
        """The entry of a first login: `old` is the original."""
        return _entry(old, _sha256(new))

    def wrote(self, content: bytes | None) -> bool:
        """Whether the file, as it is now, is what this platform wrote."""
        return content is not None and _sha256(content) in self.written_sha256

    def after_login(self, old: bytes | None, new: bytes) -> UndoEntry:
        """After one more login: the first original stays; its bytes no longer count if somebody else has written since."""
        return self.after_sync(new) if old == self.before or self.wrote(old) else _entry(self.before)

    def after_sync(self, new: bytes) -> UndoEntry:
        """After another write of this platform's own."""
        kept = [digest for digest in self.written_sha256 if digest != _sha256(new)]
        return _entry(self.before, *[*kept, _sha256(new)][-_WRITTEN_KEPT:])


def _entry(before: bytes | None, *written: str) -> UndoEntry:
    return UndoEntry.model_construct(before=before, written_sha256=written)


class _File(BaseModel):
    v: Literal[1] = 1
    platforms: dict[str, UndoEntry] = {}


class Undo:
    """The undo file of one share dir. Everything that writes is called under the config's lock."""

    def __init__(self, share_dir: Path) -> None:
        self.path = share_dir / UNDO_PATH

    def entry(self, platform_id: str) -> UndoEntry | None:
        """The platform's entry; None also where the file cannot be understood, since undo is a courtesy."""
        return self._read().platforms.get(platform_id)

    def keep(self, platform_id: str, entry: UndoEntry) -> None:
        """Stores the entry, durably."""
        self._write(self._read().platforms | {platform_id: entry})

    def forget(self, platform_id: str) -> None:
        """Drops the entry, and the file with the last one."""
        platforms = self._read().platforms
        if platform_id in platforms:
            self._write({key: entry for key, entry in platforms.items() if key != platform_id})

    def _read(self) -> _File:
        try:
            found = files.read_bounded(self.path, _BYTES_MAX)
            return _File.model_validate_json(found.data) if found else _File()
        except (OSError, ValidationError):
            return _File()

    def _write(self, platforms: dict[str, UndoEntry]) -> None:
        if not platforms:
            files.remove_durably(self.path)
            return
        files.make_directories(self.path.parent)
        files.write_durably(self.path, _File(platforms=platforms).model_dump_json().encode())
        files.remove_forgotten(self.path, self.path.stat().st_mtime)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
