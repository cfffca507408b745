"""What each login replaced in config.toml, kept so that logout can put it back byte for byte.

`kimi-auth/undo.json` below the share dir (0600 in 0700, it may hold the user's own API keys):
`{"v": 1, "platforms": {"<id>": {"before": "<base64>" | null, "written_sha256": ["<hex>", ...], "default_thinking": true |
false | null}}}`, in the order of the logins. `before` is the file as it would be without this login, null if there would
be none. Only while the file is exactly something that we wrote with this login as the last one in it (`written_sha256`,
the newest last) may those bytes replace it; otherwise it was changed since. `default_thinking` is what the
login put there; older versions of kimi-auth wrote no such key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from kimi_auth import files
from kimi_auth.models.configtext import Content

__all__ = ["UNDO_PATH", "Entries", "Undo", "UndoEntry"]

UNDO_PATH = Path("kimi-auth") / "undo.json"
_BYTES_MAX = 16 << 20
_WRITTEN_KEPT = 4
"""The file, and the text that the next login remembers, each before and after the newest write: that may be cut short."""


class UndoEntry(BaseModel):
    """One platform's undo. The bytes may hold secrets: they are not in the repr."""

    model_config = ConfigDict(frozen=True)

    before: Base64Bytes | None = Field(repr=False)
    written_sha256: tuple[str, ...]
    default_thinking: bool | None = None

    @classmethod
    def of(cls, before: Content, written: Iterable[Content], *, default_thinking: bool | None = None) -> UndoEntry:
        """An entry from the contents that were written."""
        digests = _kept(_sha256(content) for content in written if content is not None)
        return cls.model_construct(before=before, written_sha256=digests, default_thinking=default_thinking)

    def wrote(self, content: Content) -> bool:
        """Whether the content is what we wrote with this platform as the last one in it."""
        return content is not None and _sha256(content) in self.written_sha256

    def moved(self, before: Content, moves: Iterable[tuple[Content, Content]]) -> UndoEntry:
        """The entry with another `before`; each of the moves leads from a content to one that counts as much as the first."""
        newer = [_sha256(new) for old, new in moves if new is not None and self.wrote(old)]
        return self.model_copy(update={"before": before, "written_sha256": _kept([*self.written_sha256, *newer])})


Entries = dict[str, UndoEntry]
"""By platform id, in the order of the logins."""


class _File(BaseModel):
    v: Literal[1] = 1
    platforms: Entries = {}


class Undo:
    """The undo file of one share dir. Everything that writes is called under the config's lock."""

    def __init__(self, share_dir: Path) -> None:
        self.path = share_dir / UNDO_PATH

    def entries(self) -> Entries:
        """All entries; none also where the file cannot be understood, since undo is a courtesy."""
        try:
            found = files.read_bounded(self.path, _BYTES_MAX)
            return _File.model_validate_json(found.data).platforms if found else {}
        except (OSError, ValidationError):
            return {}

    def keep(self, entries: Entries) -> None:
        """Stores the entries, durably; without any the file goes."""
        if not entries:
            files.remove_durably(self.path)
            return
        files.tighten(self.path.parent)
        files.make_directories(self.path.parent)
        files.write_durably(self.path, _File.model_construct(v=1, platforms=entries).model_dump_json().encode())
        found = files.stat_at(self.path)
        files.remove_forgotten(self.path, found.st_mtime if found else 0.0)


def _kept(digests: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(digests))[-_WRITTEN_KEPT:]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
