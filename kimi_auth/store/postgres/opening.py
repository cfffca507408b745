"""Opens the PostgreSQL store that `KIMI_AUTH_STORE` names."""

from __future__ import annotations

from pathlib import Path

from kimi_auth.clock import Clock
from kimi_auth.store.contract import CredentialStore

from .reader import PostgresReader
from .store import PostgresStore

__all__ = ["READER", "opened"]

READER = "postgresql+reader://"
"""Begins the address for a program that may read access tokens only; the rest is that of `postgresql://`."""


def opened(url: str, key: str, *, folder: Path | None, clock: Clock) -> CredentialStore:
    """The credential `key` in the database at `url`; `folder` as for `PostgresStore`. Raises ConfigError, without the
    address."""
    if url.startswith(READER):
        return PostgresReader("postgresql://" + url.removeprefix(READER), key, clock=clock)
    return PostgresStore(url, key, folder=folder, clock=clock)
