"""The account that a login was made with, as the platform named it then: `status` shows it without a request.

`kimi-auth/accounts/<platform id>.json` below the share dir, 0600: `{"v": 1, "issuer": ..., "subject": ..., "name": ...}`.
Optional: a file that cannot be read or written counts as absent. `subject` is that of the access token where it is a JWT
(RFC 7519 §4.1.2): the login of another account, made by another program, then does not get this name.
"""

from __future__ import annotations

import json
from binascii import Error, a2b_base64
from pathlib import Path

from kimi_auth import files
from kimi_auth.platforms import Platform
from kimi_auth.support.text import clean
from kimi_auth.token import Token

__all__ = ["KeptAccount", "subject_of"]

BYTES_MAX = 4096
NAME_MAX = 100
PAYLOAD_MAX = 1 << 14


class KeptAccount:
    """The kept account of one platform's login. Nothing here raises."""

    def __init__(self, share_dir: Path, platform: Platform) -> None:
        self._path = share_dir / "kimi-auth" / "accounts" / f"{platform.id}.json"
        self._issuer = platform.oauth.host if platform.oauth else ""

    def recall(self, token: Token) -> str:
        """The name of the account that this token belongs to, "" if it is not known."""
        try:
            found = files.read_bounded(self._path, BYTES_MAX)
            data = json.loads(found.data) if found else None
        except (OSError, ValueError, RecursionError):
            return ""
        if not isinstance(data, dict):
            return ""
        known = (data.get("v"), data.get("issuer"), data.get("subject"))
        name = data.get("name") if known == (1, self._issuer, subject_of(token)) else None
        return clean(name, NAME_MAX) if isinstance(name, str) else ""

    def keep(self, token: Token, name: str) -> None:
        """Keeps the name; "" clears it."""
        if not name:
            files.remove(self._path)
            return
        data = {"v": 1, "issuer": self._issuer, "subject": subject_of(token), "name": name}
        try:
            files.make_directories(self._path.parent)
            files.write_durably(self._path, json.dumps(data).encode())
        except OSError:
            files.remove(self._path)  # an older name would be wrong

    def forget(self) -> None:
        """Nothing is kept any more."""
        files.remove(self._path)


def subject_of(token: Token) -> str:
    """The subject that the access token claims, where it is a JWT: for comparison only, its signature is not checked."""
    parts = token.access_token.split(".")
    if len(parts) != 3 or len(parts[1]) > PAYLOAD_MAX:
        return ""
    payload = parts[1].replace("-", "+").replace("_", "/")
    try:
        claims = json.loads(a2b_base64(payload + "=" * (-len(payload) % 4)))
    except (Error, ValueError, RecursionError):
        return ""
    subject = (claims.get("sub") or claims.get("user_id")) if isinstance(claims, dict) else None
    return subject[:200] if isinstance(subject, str) else ""
