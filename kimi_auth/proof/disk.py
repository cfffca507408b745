"""The simulated world as text: the record, its sidecars, the lock and the server, as a reader of a walk sees them."""

from __future__ import annotations

from .effects import SENDING_AGAIN, UNSAVED, owns, pair_at
from .kimi_code import THEIRS
from .state import (
    ABSENT,
    ALIVE,
    CLOSED,
    CORRUPT,
    DEAD,
    EMPTY,
    EXPIRED,
    EXPIRING,
    FOREIGN,
    FRESH,
    GONE,
    GOOD,
    LEFT,
    NO_CLAIM,
    STALE,
    TOMBSTONE,
    Pair,
    Process,
    Shared,
)

__all__ = ["COLUMNS", "FILES", "ON_DISK", "VALUES", "VOID", "Disk", "disk_of", "numbered"]

Disk = tuple[str, ...]
"""A value for each of `COLUMNS`."""

COLUMNS = (
    "record",
    "claim",
    "staged pair",
    "revoked mark",
    "answers that are not OAuth",
    "backoff",
    "lock",
    "disk",
    "refresh token at the server",
    "in memory only",
    "request",
)

ON_DISK = COLUMNS[:6]
"""The columns that outlive a process."""

FILES = dict(
    zip(
        ON_DISK,
        (
            "credentials/kimi-code.json",
            "credentials/kimi-code.<fp>.next",
            "credentials/kimi-code.<fp>.next, with the answer in it",
            "credentials/kimi-code.<fp>.revoked",
            "credentials/kimi-code.backoff",
            "credentials/kimi-code.backoff",
        ),
        strict=True,
    )
)
"""The file of each of these, in the Kimi CLI's home, for the login of kimi-code. `<fp>`: the fingerprint of the pair."""

_RECORDS = {
    EMPTY: "empty: signed out",
    ABSENT: "none: signed out",
    CORRUPT: "cannot be read",
    FOREIGN: "of another issuer",
    TOMBSTONE: "kimi-code's tombstone",
}
_PHASES = {FRESH: "a pair, fresh", EXPIRING: "a pair, expiring", EXPIRED: "a pair, expired"}
_ANSWERS = ("none", "one", "two or more")
VOID = "of an older pair: void"
"""A claim of this walk, whose pair another party replaced: no process takes it over, and the next claim sweeps it away."""

VALUES = (
    *_RECORDS.values(),
    *_PHASES.values(),
    *_ANSWERS,
    "closed: its owner left the lock, or is seen to be dead",
    "open: its owner died",
    "open: its owner is at work",
    "made, with the answer in it",
    "yes",
    "set",
    "held",
    "free",
    "full: takes no writes",
    "takes writes",
    "none is stored",
    "the login has ended",
    "good",
    "spent",
    "a new pair, not yet on disk",
    "nothing",
    "sent",
    "sent a second time, declared by the claim",
    "held by kimi-code",
    "away: the store cannot be reached",
    "open: its owner could not close it",
    "on a host's disk",
    VOID,
)
"""Every value that a column can have. Files name a value by its number here."""


def numbered(disk: Disk) -> list[int]:
    """The numbers of its values."""
    return [VALUES.index(word) for word in disk]


def disk_of(shared: Shared, process: Process) -> Disk:
    """The world as text, with the facts that `process` alone knows. Sidecars are those of the record."""
    has_pair = shared.record >= 0
    pair = pair_at(shared, shared.record)
    claimed = has_pair and pair.owner != NO_CLAIM
    is_void = not claimed and process.record not in (shared.record, STALE) and owns(shared, process)
    return (
        _PHASES[pair.phase] if has_pair else _RECORDS[shared.record],
        _claim(pair) if claimed else VOID if is_void else "none",
        "yes" if claimed and pair.staged >= 0 else "on a host's disk" if has_pair and pair.spill else "none",
        "set" if has_pair and pair.revoked else "none",
        _ANSWERS[pair.unrecognized] if has_pair else "none",
        "set" if shared.held else "none",
        "held by kimi-code" if shared.locks == THEIRS else "held" if shared.locks else "free",
        "away: the store cannot be reached"
        if shared.away
        else "full: takes no writes"
        if shared.full
        else "takes writes",
        _token(shared) if has_pair else "none is stored",
        "a new pair, not yet on disk" if process.marks & UNSAVED else "nothing",
        _request(process),
    )


def _claim(pair: Pair) -> str:
    if pair.staged >= 0:
        return "made, with the answer in it"
    if pair.owner == CLOSED:
        return "closed: its owner left the lock, or is seen to be dead"
    if pair.owner == LEFT:
        return "open: its owner could not close it"
    return "open: its owner died" if pair.owner == GONE or pair.owner >= DEAD else "open: its owner is at work"


def _token(shared: Shared) -> str:
    pair = pair_at(shared, shared.record)
    if not shared.logins[pair.login] & ALIVE:
        return "the login has ended"
    return "good" if pair.good == GOOD else "spent"


def _request(process: Process) -> str:
    if not process.stage or not process.location:
        return "none"
    return "sent a second time, declared by the claim" if process.stage == SENDING_AGAIN else "sent"
