"""What a platform's models API said last, with its ETag, so that it need not say it again (RFC 9110 §13.1.2).

`kimi-auth/models/<login>.json` below the share dir, 0600: `{"v": 1, "api_base": "...", "etag": "...", "data": {...}}`.
Optional: a file that cannot be read or written counts as absent, and its content is checked like a server's answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kimi_auth import files
from kimi_auth.platforms.spec import Platform

__all__ = ["CachedCatalogue", "CatalogueCache"]

BYTES_MAX = 2 << 20


class CachedCatalogue(BaseModel):
    """One platform's last answer: where it came from, its ETag and its decoded body."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    v: Literal[1] = 1
    api_base: str
    etag: str = Field(min_length=1, max_length=256)
    data: dict[str, Any]


class CatalogueCache:
    """The cached catalogues of one share dir. Nothing here raises."""

    def __init__(self, share_dir: Path) -> None:
        self._directory = share_dir / "kimi-auth" / "models"

    def recall(self, platform: Platform) -> CachedCatalogue | None:
        """The last answer of this very models API, if one with an ETag is kept."""
        try:
            found = files.read_bounded(self._path(platform), BYTES_MAX)
            memo = CachedCatalogue.model_validate_json(found.data) if found else None
        except (OSError, ValidationError):
            return None
        return memo if memo and memo.api_base == platform.api_base else None

    def keep(self, platform: Platform, etag: str, data: dict[str, Any]) -> None:
        """Keeps an answer of a models API; one without an ETag is of no use and clears the stored answer."""
        if not etag:
            self.forget(platform)
            return
        try:
            memo = CachedCatalogue(api_base=platform.api_base, etag=etag, data=data)
            files.make_directories(self._directory)
            files.write_durably(self._path(platform), memo.model_dump_json().encode())
        except (OSError, ValueError):
            return

    def forget(self, platform: Platform) -> None:
        """Drops the cached catalogue of a platform."""
        files.remove(self._path(platform))

    def _path(self, platform: Platform) -> Path:
        return self._directory / f"{platform.login_name}.json"
