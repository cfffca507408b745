"""The predicate of each rest state: the condition under which a walk may end there. A walk that ends elsewhere breaks rule
I8."""

from __future__ import annotations

from collections.abc import Callable

from .effects import (
    INSTALLED,
    MUST_HAVE,
    OWES_CONFIG,
    OWES_RETRY,
    OWES_SERVING,
    SAW_ABSENT,
    SPENT_IT,
    UNSAVED,
    is_fresh,
    is_incomplete,
    works,
)
from .state import ABSENT, CORRUPT, EMPTY, EXPIRING, FOREIGN, TOMBSTONE, Process, Shared, entombed

__all__ = ["DUTIES", "PREDICATES", "owed"]

Fact = Callable[[Shared, Process], bool]

OUT = (EMPTY, ABSENT, FOREIGN)


def _revoked(shared: Shared, process: Process) -> bool:
    if shared.record == TOMBSTONE:
        return entombed(shared) < 0
    return shared.record >= 0 and bool(shared.pairs[shared.record].revoked)


def _expiring(shared: Shared, process: Process) -> bool:
    return works(shared, shared.record) and shared.pairs[shared.record].phase == EXPIRING


def _in_doubt(shared: Shared, process: Process) -> bool:
    return not _works(shared, process) and process.record >= 0 and is_incomplete(shared.pairs[process.record])


def _is_blocked(shared: Shared, process: Process) -> bool:
    return not _works(shared, process) and process.record >= 0 and shared.pairs[process.record].unrecognized >= 2


def _works(shared: Shared, process: Process) -> bool:
    return works(shared, process.record)


def _another(shared: Shared, process: Process) -> bool:
    return shared.record != process.record and not process.marks & SAW_ABSENT


def _claimed(shared: Shared, process: Process) -> bool:
    return process.record >= 0 and is_incomplete(shared.pairs[process.record])


PREDICATES: dict[tuple[str, str], Fact] = {
    ("token_lifecycle", "fresh"): lambda shared, process: is_fresh(shared) and not _revoked(shared, process),
    ("token_lifecycle", "expiring"): lambda shared, process: (
        _expiring(shared, process) and not _revoked(shared, process)
    ),
    ("token_lifecycle", "expired"): lambda shared, process: (
        (process.record >= 0 or entombed(shared) >= 0) and not _works(shared, process)
    ),
    ("token_lifecycle", "usable"): _works,
    ("token_lifecycle", "in_doubt"): _in_doubt,
    ("token_lifecycle", "blocked"): _is_blocked,
    ("token_lifecycle", "revoked"): _revoked,
    ("token_lifecycle", "corrupt"): lambda shared, process: shared.record == CORRUPT,
    ("token_lifecycle", "absent"): lambda shared, process: shared.record in OUT,
    ("token_refresh", "renewed"): lambda shared, process: bool(process.marks & INSTALLED),
    ("token_refresh", "adopted"): lambda shared, process: (
        is_fresh(shared) and not process.marks & (SPENT_IT | UNSAVED | INSTALLED)
    ),
    ("token_refresh", "superseded"): _another,
    ("token_refresh", "gone"): lambda shared, process: bool(process.marks & SAW_ABSENT),
    ("token_refresh", "unreadable"): lambda shared, process: shared.record == CORRUPT,
    ("token_refresh", "revoked"): lambda shared, process: (
        bool(shared.pairs[process.record].revoked) if process.record >= 0 else process.record == TOMBSTONE
    ),
    ("token_refresh", "postponed"): lambda shared, process: not process.marks & (SPENT_IT | INSTALLED),
    ("token_refresh", "in_doubt"): _claimed,
    ("token_refresh", "uncommitted"): lambda shared, process: process.pair >= 0 and not process.marks & INSTALLED,
    ("sign_out", "signed_out"): lambda shared, process: (
        shared.record in OUT or shared.record != process.record or (shared.record == TOMBSTONE and entombed(shared) < 0)
    ),
    ("sign_out", "unwritable"): lambda shared, process: shared.record not in (EMPTY, ABSENT),
}
"""By machine and rest state. A state without an entry has no predicate in this world."""

TRANSIENT = frozenset({"expiring", "expired", "usable", "in_doubt", "blocked"})

WITHOUT_TOKEN = frozenset({"expired", "in_doubt", "blocked", "revoked", "corrupt", "absent"})

OWED = {
    OWES_SERVING: "clients are served",
    OWES_CONFIG: "config follows a logout",
    OWES_RETRY: "one recovery in line",
}


Duty = Callable[[Shared, Process, str], bool]


def _owes(bit: int) -> Duty:
    return lambda shared, process, state: bool(process.marks & bit)


DUTIES: dict[str, Duty] = {
    **{rule: _owes(bit) for bit, rule in OWED.items()},
    "an event is acted on": lambda shared, process, state: process.event in ("renew", "rejected", "logout"),
    "progress": lambda shared, process, state: (
        state in TRANSIENT and bool(process.marks & INSTALLED) and is_fresh(shared)
    ),
    "I4b": lambda shared, process, state: state in WITHOUT_TOKEN and _is_withheld(shared, process),
    "I10": lambda shared, process, state: state in WITHOUT_TOKEN and bool(process.marks & MUST_HAVE),
}
"""By rule: whether a walk of token_lifecycle that ends in a state now breaks it."""


def owed(shared: Shared, process: Process, state: str) -> tuple[str, ...]:
    """The rules broken where a walk of token_lifecycle may not end, in `state` now: the duties that it began and did
    not finish."""
    return tuple(rule for rule, is_broken in DUTIES.items() if is_broken(shared, process, state))


def _is_withheld(shared: Shared, process: Process) -> bool:
    """True if the record's access token is still valid and the server has not ended its login."""
    return shared.record == process.record and _works(shared, process) and not _revoked(shared, process)
