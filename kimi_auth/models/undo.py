"""The content of config.toml before the logins, kept so that logout can restore it: byte for byte if the file is unchanged since.

`kimi-auth/undo.json` below the share dir (0600 in 0700: `before` may hold the user's own API keys):
`{"v": 1, "before": "<base64>" | null, "written_sha256": ["<hex>", ...], "logins": {"<id>": {"default_model": "..." | null,
"default_thinking": true | false | null, "put_thinking": true | false | null}}}`, the logins in their order.

`before` is the file without any of these logins, null if there would be none: the last of them to go gives it back, while
the file is something that we wrote (`written_sha256`). After an edit by hand, and while other logins stay,
a platform is taken out of the text instead. Only the defaults need remembering for that: each login keeps those that it
found. One text serves all logins because what a logout in their midst takes out is what its login put in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from kimi_auth import files
from kimi_auth.models.configtext import Content

__all__ = ["UNDO_PATH", "Found", "Undo", "UndoFile"]

UNDO_PATH = Path("kimi-auth") / "undo.json"
_BYTES_MAX = 16 << 20


class Found(BaseModel):
    """The defaults that a login found, None for a key that was not there, and the `default_thinking` that it put there."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    default_model: str | None = None
    default_thinking: bool | None = None
    put_thinking: bool | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any], *, put_thinking: bool | None) -> Found:
        """The defaults of a config."""
        model, thinking = config.get("default_model"), config.get("default_thinking")
        return cls(
            default_model=model if isinstance(model, str) else None,
            default_thinking=thinking if isinstance(thinking, bool) else None,
            put_thinking=put_thinking,
        )

    def defaults(self) -> dict[str, str | bool]:
        """As they were in the config."""
        found = {"default_model": self.default_model, "default_thinking": self.default_thinking}
        return {key: value for key, value in found.items() if value is not None}


class Undo(BaseModel):
    """The undo of all logins. The text may hold secrets: it is not in the repr."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    v: Literal[1] = 1
    before: Base64Bytes | None = Field(default=None, repr=False)
    written_sha256: tuple[str, ...] = ()
    logins: dict[str, Found] = {}

    def wrote(self, content: Content) -> bool:
        """Whether the content is what we wrote, so that `before` is that content without the logins."""
        return content is not None and _sha256(content) in self.written_sha256

    def writing(self, old: Content, new: Content, before: Content, logins: Mapping[str, Found]) -> Undo:
        """The undo to keep before `new` replaces `old`: after a crash either may be there. `new` counts as ours if
        `old` does, and if these are the first logins."""
        if not logins:
            return Undo()
        counts = self.wrote(old) or not self.logins
        ours = [content for content in (old if self.wrote(old) else None, new) if content is not None and counts]
        digests = tuple(dict.fromkeys(map(_sha256, ours)))
        return Undo.model_construct(v=1, before=before, written_sha256=digests, logins=dict(logins))

    def less(self, platform: str) -> Undo:
        """Without one platform's login."""
        return self.model_copy(
            update={"logins": {name: found for name, found in self.logins.items() if name != platform}}
        )


class UndoFile:
    """The undo file of one share dir. Everything that writes is called under the config's lock."""

    def __init__(self, share_dir: Path) -> None:
        self.path: Path = share_dir / UNDO_PATH

    def read(self) -> Undo:
        """The stored undo; an empty one also if the file cannot be understood, because undo is a courtesy."""
        try:
            found = files.read_bounded(self.path, _BYTES_MAX)
            return Undo.model_validate_json(found.data) if found else Undo()
        except (OSError, ValidationError):
            return Undo()

    def keep(self, undo: Undo) -> None:
        """Stores the content that undoes the logins, durably; without any login the file goes."""
        if not undo.logins:
            files.remove_durably(self.path)
            return
        files.tighten(self.path.parent)
        files.make_directories(self.path.parent)
        files.write_durably(self.path, undo.model_dump_json().encode())
        found = files.stat_at(self.path)
        files.remove_forgotten(self.path, found.st_mtime if found else 0.0)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
