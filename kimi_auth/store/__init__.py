"""Credentials at rest: the contract, and the stores that keep it."""

from __future__ import annotations

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
