"""What a sandbox holds instead of the login's refresh token: a handle that names its grant, and a MAC that only we can make.

    kah.<grant id>.<fingerprint of the access token that it came with>.<mac>     a refresh token, for OAuth clients
    kas.<grant id>.<mac>                                                         a secret, for everything else

Neither is stored: both follow from the key. A handle may be used again and by any number of processes, as clients with one
credential file do; it is worth nothing at another grant's socket, or after the grant has ended.
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import NamedTuple

__all__ = ["Handle", "Handles"]

KEY_BYTES = 32
TEXT_MAX = 200
_HANDLE = re.compile(r"kah\.([0-9a-f]{16})\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})", re.ASCII)
_SECRET = re.compile(r"kas\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})", re.ASCII)


class Handle(NamedTuple):
    """A handle or secret that was made here. `has_fp`: "" for a secret."""

    grant: str
    has_fp: str = ""


class Handles:
    """Makes and reads handles. `key`: at least 32 random bytes; without it none can be forged."""

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError("the key of handles is too short")
        self._key = key

    def __repr__(self) -> str:
        return "Handles()"

    def handle(self, grant: str, has_fp: str) -> str:
        """A handle, the refresh token of a sandbox that was given the access token with this fingerprint."""
        return f"kah.{grant}.{has_fp}.{self._mac('handle', grant, has_fp)}"

    def secret(self, grant: str) -> str:
        """The secret of a grant, for a bearer header."""
        return f"kas.{grant}.{self._mac('secret', grant)}"

    def read(self, text: str) -> Handle | None:
        """The content of a sandbox's handle or secret; None for anything that was not made with this key."""
        if len(text) > TEXT_MAX:
            return None
        if found := _HANDLE.fullmatch(text):
            grant, has_fp, mac = found.groups()
            expected = self._mac("handle", grant, has_fp)
        elif found := _SECRET.fullmatch(text):
            (grant, mac), has_fp = found.groups(), ""
            expected = self._mac("secret", grant)
        else:
            return None
        return Handle(grant, has_fp) if hmac.compare_digest(mac, expected) else None

    def _mac(self, *parts: str) -> str:
        digest = hmac.digest(self._key, "\0".join(parts).encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
