"""Credentials at rest: the contract, and the stores that keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kimi_auth.lazily import lazily

if TYPE_CHECKING:
    from .contract import Binding, Claim, ClaimState, CredentialStore, Pace, RecordState, Refusal, Snapshot, Stamp
    from .file import FileStore
    from .keyring import LegacyKeyring, NoKeyring, SystemKeyring
    from .memory import MemoryStore

__all__ = [
    "Binding",
    "Claim",
    "ClaimState",
    "CredentialStore",
    "FileStore",
    "LegacyKeyring",
    "MemoryStore",
    "NoKeyring",
    "Pace",
    "RecordState",
    "Refusal",
    "Snapshot",
    "Stamp",
    "SystemKeyring",
]

__getattr__ = lazily(
    __name__,
    {
        "contract": (
            "Binding",
            "Claim",
            "ClaimState",
            "CredentialStore",
            "Pace",
            "RecordState",
            "Refusal",
            "Snapshot",
            "Stamp",
        ),
        "file": ("FileStore",),
        "keyring": ("LegacyKeyring", "NoKeyring", "SystemKeyring"),
        "memory": ("MemoryStore",),
    },
)
