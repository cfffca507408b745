"""What the simulated world consists of: credential, claims, server, lock, clock and processes, as small frozen tuples.

Pairs are numbered in the order in which the server gave them, and nobody cares for the number itself: when nothing refers
to a pair any more it is forgotten and the others move up, so that a finite number of worlds is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

__all__ = [
    "ABSENT",
    "CLOSED",
    "CORRUPT",
    "EMPTY",
    "FRESH_PAIR",
    "GONE",
    "NOTHING",
    "NO_CLAIM",
    "Pair",
    "Process",
    "Shared",
    "compacted",
    "idle",
    "references",
    "renumbering",
]

# What stands for a pair's number: records without one, nothing known, and what is not the record any more.
EMPTY, ABSENT, CORRUPT, NOTHING, STALE, FOREIGN = -1, -2, -3, -4, -5, -6

# Life left in an access token.
FRESH, EXPIRING, EXPIRED = 0, 1, 2

# What the server makes of a refresh token: spent, spent a moment ago, good.
SPENT, SPENT_LATELY, GOOD = 0, 1, 2

# The owner of a claim: there is none; it is dead, and left the claim open; a process of host number 1, 2, ... at work; or it closed
# the claim. Where a death is always noticed, a claim of the dead is as good as closed.
NO_CLAIM, GONE, CLOSED = -1, 0, 9

# Bits of a login. AWAITED: a request with one of its spent tokens is still on the way, and has no reader.
# MEDDLED: a program that takes no lock has renewed it.
ALIVE, SIGNED_OUT, AWAITED, MEDDLED = 1, 2, 4, 8


class Pair(NamedTuple):
    """One pair of tokens: the server's view of it, and what lies on disk that is bound to it.

    `login`: which sign-in it comes from. `sent`: its refresh token was sent and may have been processed. `denied`: the
    server answered an OAuth error for it. `revoked`, `unrecognized`, `rejected`: so it is written on disk. `late`: requests
    without a reader that may still arrive. `owner`, `staged`, `met`: the claim; `met` has a digit for each boot: 0 not
    met, 1 met, 2 met long ago.
    """

    login: int
    good: int = GOOD
    phase: int = FRESH
    sent: int = 0
    denied: int = 0
    revoked: int = 0
    unrecognized: int = 0
    rejected: int = 0
    late: int = 0
    owner: int = NO_CLAIM
    staged: int = NOTHING
    met: tuple[int, ...] = ()


FRESH_PAIR: Final = Pair(0)


class Shared(NamedTuple):
    """Everything outside of processes. `held`: a `not_before` lies ahead. `forced`: the same for forced rotations.
    `faults_left`: how many answers may still go wrong, where that is bounded. `full`: the disk takes no writes. `locks`: a bit for each host. `lasting`: what a power cut would leave of record and
    claims, None where that is what is there now. `logins_left`, `logouts_left`, `spoils_left`: how often that may still
    happen."""

    record: int
    pairs: tuple[Pair, ...]
    logins: tuple[int, ...] = (ALIVE,)
    held: int = 0
    forced: int = 0
    full: int = 0
    locks: int = 0
    lasting: tuple[int, tuple[tuple[int, int, tuple[int, ...]], ...]] | None = None
    logins_left: int = 0
    logouts_left: int = 0
    spoils_left: int = 0
    faults_left: int = 0


class Process(NamedTuple):
    """One process: where its walk is (`place`, 0: none), and what it knows.

    `event`: what began the walk, "" once that is served. `need`: what the token must be, beyond
    fresh; `bearer`: the pair it must not be. `record`: the record as it was read. `claim`: what the claim hook found.
    `pair`: what the server gave. `stage`: how far an activity of several steps is. `marks`: what happened in this walk.
    """

    host: int
    place: int = 0
    event: str = ""
    need: str = ""
    bearer: int = NOTHING
    record: int = NOTHING
    claim: str = ""
    pair: int = NOTHING
    recoveries: int = 0
    stage: int = 0
    marks: int = 0


def idle(process: Process) -> Process:
    """The process without a walk: it remembers nothing."""
    return Process(process.host)


def references(shared: Shared, *, orphans: bool) -> int:
    """Bits of the pairs that must be remembered, whatever the processes hold. A claim on a pair that is not the record is
    void for good; with `orphans` it is remembered all the same."""
    mask = 1 << shared.record if shared.record >= 0 else 0
    if orphans:
        mask |= sum(1 << number for number, pair in enumerate(shared.pairs) if pair.owner != NO_CLAIM)
    if shared.lasting:
        record, claims = shared.lasting
        mask |= 1 << record if record >= 0 else 0
        for number, (owner, staged, _) in enumerate(claims):
            mask |= (1 << number if owner != NO_CLAIM else 0) | (1 << staged if staged >= 0 else 0)
    return mask


def with_staged(shared: Shared, mask: int) -> int:
    """`mask`, and the staged pairs of its pairs."""
    for number, pair in enumerate(shared.pairs):
        if pair.staged >= 0 and mask >> number & 1:
            mask |= 1 << pair.staged
    return mask


def simplified(shared: Shared, policy: str) -> Shared:
    """The same world without differences that nobody can notice any more."""
    logins = list(shared.logins)
    pairs = []
    for pair in shared.pairs:
        login = logins[pair.login]
        if pair.late and (pair.good != GOOD or not login & ALIVE or policy == "none"):
            if login & ALIVE and policy in ("strict", "grace"):
                logins[pair.login] |= AWAITED
            pair = pair._replace(late=0)
        if not login & ALIVE and pair.good != SPENT:
            pair = pair._replace(good=SPENT)
        if pair.rejected and pair.phase == EXPIRED:
            pair = pair._replace(rejected=0)  # it has ended by itself, so nothing follows from that any more
        if pair.revoked:  # it is never sent again
            pair = pair._replace(sent=1, denied=1, unrecognized=0, good=SPENT, late=0)
            if pair.staged < 0:
                pair = pair._replace(owner=NO_CLAIM, met=())
        pairs.append(pair)
    return _with_logins(shared._replace(pairs=tuple(pairs)), logins)


def _with_logins(shared: Shared, logins: Sequence[int]) -> Shared:
    """`shared` with those of `logins` that a pair comes from, in the same order."""
    used = sorted({pair.login for pair in shared.pairs})
    kept = tuple(logins[number] if logins[number] & ALIVE else logins[number] & ~AWAITED for number in used)
    pairs = shared.pairs
    if used != list(range(len(used))):
        pairs = tuple(pair._replace(login=used.index(pair.login)) for pair in pairs)
    return shared._replace(pairs=pairs, logins=kept)


def held_by(process: Process) -> int:
    """Bits of the pairs that the process must not lose sight of."""
    mask = 1 << process.record if process.record >= 0 else 0
    return mask | (1 << process.pair if process.pair >= 0 else 0)


def renumbering(mask: int, count: int) -> tuple[int, ...]:
    """The new number of each pair when only those in `mask` are kept; the others become NOTHING."""
    numbers, free = [], 0
    for number in range(count):
        kept = mask >> number & 1
        numbers.append(free if kept else NOTHING)
        free += kept
    return tuple(numbers)


def compacted(shared: Shared, numbers: Sequence[int]) -> Shared:
    """`shared` without the pairs that have no new number."""
    pairs = []
    for number, pair in enumerate(shared.pairs):
        if numbers[number] >= 0:
            if pair.staged >= 0:
                pair = pair._replace(staged=numbers[pair.staged])
            pairs.append(pair)
    lasting = shared.lasting
    if lasting:
        record, claims = lasting
        lasting = (
            numbers[record] if record >= 0 else record,
            tuple(_compacted_claims(claims, numbers)),
        )
    record = numbers[shared.record] if shared.record >= 0 else shared.record
    return _with_logins(shared._replace(record=record, pairs=tuple(pairs), lasting=lasting), shared.logins)


def _compacted_claims(
    claims: Iterable[tuple[int, int, tuple[int, ...]]], numbers: Sequence[int]
) -> Iterable[tuple[int, int, tuple[int, ...]]]:
    for number, (owner, staged, met) in enumerate(claims):
        if numbers[number] >= 0:
            yield owner, numbers[staged] if staged >= 0 else staged, met


def forgetful(process: Process, record: int, *, waits: bool) -> Process:
    """`process` while `record` is what is stored: a pair that it must not get again, or one that it saw before it began to
    wait for the lock, is of no interest once it is not the record."""
    if process.need and process.bearer != record:
        process = process._replace(bearer=NOTHING, need="" if process.need == "not_bearer" else process.need)
    if waits and process.record not in (record, NOTHING):
        process = process._replace(record=STALE)
    return process


def compacted_process(process: Process, numbers: Sequence[int]) -> Process:
    """`process` in the new numbers."""
    return process._replace(
        record=numbers[process.record] if process.record >= 0 else process.record,
        pair=numbers[process.pair] if process.pair >= 0 else process.pair,
        bearer=numbers[process.bearer] if process.bearer >= 0 else process.bearer,
    )
