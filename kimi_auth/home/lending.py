"""An access token lent to a kimi-code or a Kimi CLI in a sandbox: a home with a record that it can use and cannot renew.

kimi-code reads the record for every request, and with an `expires_at` of 0 never tries to renew it. The Kimi CLI reads it
before each turn and once a minute, and makes no request without a refresh token. So the record is replaced from outside
before it ends. No refresh token ever lies there.
"""

from __future__ import annotations

import json
from pathlib import Path

from kimi_auth import files
from kimi_auth.errors import ConfigError
from kimi_auth.store import medium
from kimi_auth.support.language import tr
from kimi_auth.token import RECORD_FILE_MAX_BYTES, Token

from .kinds import KIMI_CODE, Kind

__all__ = ["Loan"]


class Loan:
    """The record of the slot `key` in the home `directory`, which is of that kind. Raises ConfigError for a home that has a login of its own."""

    def __init__(self, directory: Path, key: str, kind: Kind = KIMI_CODE) -> None:
        self._kind = kind
        self.path: Path = directory / "credentials" / f"{key.removeprefix('oauth/')}.json"
        self._lent = ""
        if self._record().get("refresh_token"):
            raise ConfigError(
                tr("{directory} has a login of its own, which would be lost", directory=directory),
                hint=tr("lend to another, empty directory"),
            )

    def put(self, token: Token) -> bool:
        """Replaces the lent record by one with this access token; False if it is lent already. Raises StorageError."""
        if token.access_token == self._lent:
            return False
        end_s = token.expires_at_s if self._kind.lends_end else 0.0
        record = Token(token.access_token, "", end_s, token.expires_in_s, token.scope, token.token_type).record()
        medium.make_directories(self.path.parent)
        medium.write_durably(self.path, json.dumps(record, indent=2).encode() + b"\n")
        self._lent = token.access_token
        return True

    def end(self) -> bool:
        """Removes the record, if it is still the lent one; False if another program has replaced it. Raises
        StorageError."""
        record = self._record()
        if not self._lent or record.get("refresh_token") or record.get("access_token") != self._lent:
            return not record
        medium.remove_durably(self.path)
        return True

    def _record(self) -> dict[str, object]:
        try:
            found = files.read_bounded(self.path, RECORD_FILE_MAX_BYTES)
            record = json.loads(found.data) if found else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return record if isinstance(record, dict) else {}
