"""Credentials at rest: the contract, and the stores that keep it."""

from __future__ import annotations

from .contract import Claim, ClaimState, CredentialStore, Pace, RecordState, Refusal, Snapshot, Stamp
from .file import FileStore
from .memory import MemoryStore

__all__ = [
    "Claim",
    "ClaimState",
    "CredentialStore",
    "FileStore",
    "MemoryStore",
    "Pace",
    "RecordState",
    "Refusal",
    "Snapshot",
    "Stamp",
]
