"""The access tokens that this process has given to running clients, or would have: digests, and the newest one."""

from __future__ import annotations

import hashlib
import threading
from collections import deque

__all__ = ["GivenTokens"]

TOKENS_REMEMBERED = 256


class GivenTokens:
    """Thread-safe. `newest`: the token of now, "" for none, None before the first; older ones are kept as digests."""

    def __init__(self) -> None:
        self.newest: str | None = None
        self._digests: deque[bytes] = deque(maxlen=TOKENS_REMEMBERED)
        self._lock = threading.RLock()  # a finalizer may run at any allocation

    def add(self, token: str) -> None:
        """From now on this is the newest access token that clients are given."""
        with self._lock:
            if token and token != self.newest:
                self._digests.append(_digest(token))
            self.newest = token

    def __contains__(self, key: str | None) -> bool:
        """Whether a client's key, or its Authorization, is one of these tokens: not a key of its own."""
        return key is not None and _digest(key.removeprefix("Bearer ")) in self._digests


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
