"""Credentials at rest: the contract, and its implementations."""

from __future__ import annotations

from .contract import Backoff, Binding, Claim, ClaimState, CredentialStore, RecordState, RevokedMark, Snapshot, Stamp
from .file import FileStore
from .keyring import LegacyKeyring, NoKeyring, SystemKeyring
from .memory import MemoryStore

__all__ = [
    "Backoff",
    "Binding",
    "Claim",
    "ClaimState",
    "CredentialStore",
    "FileStore",
    "LegacyKeyring",
    "MemoryStore",
    "NoKeyring",
    "RecordState",
    "RevokedMark",
    "Snapshot",
    "Stamp",
    "SystemKeyring",
]
