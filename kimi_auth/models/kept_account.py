"""When a login was made and with which account, as the platform named it then: `status` shows it without a request.

`kimi-auth/accounts/<login>.json` below the share dir, 0600: `{"v": 1, "issuer": ..., "subject": ..., "name": ..., "at": ...}`.
Optional: a file that cannot be read or written counts as absent. `subject` is that of the access token where it is a JWT
(RFC 7519 §4.1.2): the login of another account, made by another program, then does not get this name.
"""

from __future__ import annotations

import json
from binascii import Error, a2b_base64
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kimi_auth import files
from kimi_auth.platforms import Platform
from kimi_auth.support.text import clean
from kimi_auth.token import END_MAX_S, Token

__all__ = ["KeptAccount", "SignIn", "subject_of"]

BYTES_MAX = 4096
NAME_MAX = 100
PAYLOAD_MAX = 1 << 14


class SignIn(NamedTuple):
    """The account's name, "" if the platform did not say it, and the time of the sign-in in unix seconds, 0.0 unknown."""

    name: str = ""
    at_s: float = 0.0


class KeptAccount:
    """The kept account of one login. Nothing here raises."""

    def __init__(self, share_dir: Path, platform: Platform) -> None:
        self._path = share_dir / "kimi-auth" / "accounts" / f"{platform.login_name}.json"
        self._issuer = platform.oauth.host if platform.oauth else ""

    def recall(self, token: Token) -> SignIn:
        """The sign-in that was kept for this token, as far as it is known."""
        try:
            found = files.read_bounded(self._path, BYTES_MAX)
            data = json.loads(found.data) if found else None
        except (OSError, ValueError, RecursionError):
            return SignIn()
        if not isinstance(data, dict):
            return SignIn()
        if (data.get("v"), data.get("issuer"), data.get("subject")) != (1, self._issuer, subject_of(token)):
            return SignIn()
        name, at_s = data.get("name"), data.get("at")
        known_s = float(at_s) if isinstance(at_s, int | float) and 0 < at_s < END_MAX_S else 0.0
        return SignIn(clean(name, NAME_MAX) if isinstance(name, str) else "", known_s)

    def keep(self, token: Token, name: str, at_s: float) -> None:
        """Keeps the name of the account, "" for an unknown one, and the time of the sign-in."""
        data = {"v": 1, "issuer": self._issuer, "subject": subject_of(token), "name": name, "at": round(at_s, 3)}
        try:
            files.make_directories(self._path.parent)
            files.write_durably(self._path, json.dumps(data).encode())
        except OSError:
            files.remove(self._path)  # an older name would be wrong

    def moved_to(self, other: KeptAccount) -> None:
        """The kept account of a login belongs to another label from now on."""
        with suppress(OSError):
            files.rename(self._path, other._path)

    def forget(self) -> None:
        """Nothing is kept any more."""
        files.remove(self._path)


def subject_of(token: Token) -> str:
    """What ties a kept account to its token: the subject that the access token claims, where it is a JWT; for
    comparison only, since its signature is not checked."""
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
