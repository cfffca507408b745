"""How a home keeps its record: as data, so that the store knows no home by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from kimi_auth.token import Token

from .formats import encode_record

__all__ = ["Layout", "PeerHold", "PeerLock"]


class PeerHold(Protocol):
    """The held lock of another program."""

    def check(self) -> None:
        """Raises LockLost unless this process certainly holds it."""

    def release(self) -> None:
        """Gives it back if it is still ours; never raises."""


class PeerLock(Protocol):
    """The lock that another program takes around its renewals. All calls are made with our own lock held."""

    def prepare(self) -> None:
        """Makes what the lock needs. Raises StorageError where it could never be taken."""

    def take(self) -> PeerHold | None:
        """One try; None: busy. Never waits. Raises StorageError if it can never be taken."""

    def holder(self) -> str:
        """Who holds it, for people; "" if it is free. Called without any lock."""


class Layout(NamedTuple):
    """`encode`: a record's bytes. `keeps_sign_out`: the empty record of a logout stays for good. `peer_lock`: the second
    lock, taken after ours; None where no other program has one of its own."""

    encode: Callable[[Token], bytes] = encode_record
    keeps_sign_out: bool = False
    peer_lock: PeerLock | None = None
