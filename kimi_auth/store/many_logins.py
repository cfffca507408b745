"""A store of many logins, as a database is one: what it can do beside the contract, which is of one login."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .contract import CredentialStore

__all__ = ["ManyLogins"]


@runtime_checkable
class ManyLogins(Protocol):
    """A store that keeps many logins beside this one, of all accounts, apart from any home."""

    def logins(self) -> list[str]:
        """The keys that have a record there, signed in or not. Asks the store; raises StorageError."""

    def rename(self, target: CredentialStore) -> str:
        """The login of this store is that of `target` from now on, in one step; returns the fingerprint of its pair.

        Both locks are held meanwhile. Raises NotSignedIn, ConfigError for a target with a login, CredentialLocked, and
        StorageError, also where a renewal was begun and not finished.
        """
