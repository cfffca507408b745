"""Locks that a person waits for: of one login or of several, for what takes it to another name, store or host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from kimi_auth.errors import CredentialLocked
from kimi_auth.support.language import tr

from .contract import CredentialStore, Hold

__all__ = ["all_locked"]


@contextmanager
def all_locked(stores: Iterable[CredentialStore], patience_s: float) -> Iterator[list[Hold]]:
    """Holds the lock of each, in this order, waiting `patience_s` seconds for it. Raises CredentialLocked, StorageError."""
    with ExitStack() as stack:
        holds = []
        for store in stores:
            if (hold := stack.enter_context(store.locked(patience_s))) is None:
                holder = store.holder() or tr("another process")
                raise CredentialLocked(
                    tr("{holder} holds the lock of {location}", holder=holder, location=store.location)
                )
            holds.append(hold)
        yield holds
