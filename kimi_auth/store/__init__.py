"""Credentials at rest: the contract, and its implementations."""

from __future__ import annotations

from kimi_auth.support.lazily import lazily

TYPE_CHECKING = False  # the one in `typing` would cost the fast lane of `kimi-auth token` half of Python's own start

if TYPE_CHECKING:
    from .contract import (
        Backoff,
        Binding,
        Claim,
        ClaimState,
        Committed,
        CredentialStore,
        Finding,
        Hold,
        RecordState,
        RevokedMark,
        Snapshot,
        Stamp,
        View,
    )
    from .file import FileStore
    from .keyring import LegacyKeyring, NoKeyring, SystemKeyring
    from .many_logins import ManyLogins
    from .memory import MemoryStore

__all__ = [
    "Backoff",
    "Binding",
    "Claim",
    "ClaimState",
    "Committed",
    "CredentialStore",
    "FileStore",
    "Finding",
    "Hold",
    "LegacyKeyring",
    "ManyLogins",
    "MemoryStore",
    "NoKeyring",
    "RecordState",
    "RevokedMark",
    "Snapshot",
    "Stamp",
    "SystemKeyring",
    "View",
]

__getattr__ = lazily(
    __name__,
    {
        "contract": (
            "Binding",
            "Claim",
            "ClaimState",
            "Committed",
            "CredentialStore",
            "Finding",
            "Hold",
            "Backoff",
            "RecordState",
            "RevokedMark",
            "Snapshot",
            "Stamp",
            "View",
        ),
        "file": ("FileStore",),
        "keyring": ("LegacyKeyring", "NoKeyring", "SystemKeyring"),
        "many_logins": ("ManyLogins",),
        "memory": ("MemoryStore",),
    },
)
