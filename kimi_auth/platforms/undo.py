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

from kimi_auth.errors import ConfigError
from kimi_auth.platforms.disk import make_private_dir, read_regular, remove_durable, write_durable

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
            content = read_regular(self.path, bytes_max=_BYTES_MAX, follow=False)
            return _File.model_validate_json(content) if content is not None else _File()
        except (OSError, ValidationError, ConfigError):
            return _File()

    def _write(self, platforms: dict[str, UndoEntry]) -> None:
        if not platforms:
            remove_durable(self.path)
            return
        make_private_dir(self.path.parent)
        content = _File(platforms=platforms).model_dump_json().encode()
        write_durable(self.path, content, mode=0o600)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
