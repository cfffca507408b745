"""The simulated world as small frozen tuples (pairs, the shared part, processes), and how it forgets values without an effect.

Pairs are numbered in the order in which the server issued them, and nothing depends on the number itself. When nothing
refers to a pair any more, the model forgets it and renumbers the others, which keeps the state space finite.
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

# Values instead of a pair's number: records without a pair, nothing known, and a pair that is no longer the record.
EMPTY, ABSENT, CORRUPT, NOTHING, STALE, FOREIGN = -1, -2, -3, -4, -5, -6

TOMBSTONE = -7
"""The record of another program that the server refused: empty, and not a logout."""

# Remaining life of an access token.
FRESH, EXPIRING, EXPIRED = 0, 1, 2

# A refresh token at the server: spent, spent a moment ago, good.
SPENT, SPENT_LATELY, GOOD = 0, 1, 2

# The owner of a claim: there is no claim; the owner died and left the claim open; a process of host 1, 2, ... is at
# work; the owner closed the claim. Where every death is detected, the claim of a dead owner counts as closed.
NO_CLAIM, GONE, CLOSED = -1, 0, 9

# In a store with sessions a claim or a lease may also be left open by a process that could not reach the store, or by one
# that died: on host 0, 1, ... Processes are numbered below these.
LEFT, DEAD = 10, 20

# Bits of a login. AWAITED: a request with one of its spent tokens is still on the way and has no reader. MEDDLED: a
# program that takes no lock has renewed it.
ALIVE, SIGNED_OUT, AWAITED, MEDDLED = 1, 2, 4, 8


class Pair(NamedTuple):
    """One pair of tokens: the server's view of it, and the files that are bound to it.

    `login`: the sign-in that it comes from. `sent`: its refresh token was sent and may have been processed. `denied`:
    the server answered it with an OAuth error. `revoked`, `unrecognized`, `rejected`: the marks on disk. `late`:
    requests without a reader that may still arrive. `owner`, `staged`, `met`: the claim; `met` has a digit per boot: 0
    not met, 1 met, 2 met long ago. In a store with sessions: `witness`: the session that witnesses the claim lives;
    `spill`: a bit per host whose disk holds the `answer` to this pair; `refused_by`: a bit per host that does not spend
    it, because it has seen a newer one.
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
    witness: int = 0
    spill: int = 0
    answer: int = NOTHING
    refused_by: int = 0


FRESH_PAIR: Final = Pair(0)


class Shared(NamedTuple):
    """Everything outside the processes. `held`: a `retry_at` lies ahead. `forced`: the same for forced rotations.
    `faults_left`: how many answers may still fail, where that is bounded. `full`: the disk takes no writes. `locks`: a
    bit per host. `lasting`: the record and claims that a power cut would leave, None if they equal the present ones.
    `logins_left`, `logouts_left`, `spoils_left`, `upsets_left`: how often these may still happen. `peer`: what a kimi-code
    is about, and with which pair. In a store with sessions `locks` is the holder of the fence; `over`: his lease is over;
    `away`: a bit per host that cannot reach the store; `down`: the store itself has stopped; `seen`: a bit per host that
    has seen the record, where `lasting` is an older one."""

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
    upsets_left: int = 0
    peer: tuple[int, int] = (0, NOTHING)
    over: int = 0
    away: int = 0
    down: int = 0
    seen: int = 0


class Process(NamedTuple):
    """One process: where its walk is (`location`, 0: no walk), and what it knows.

    `event`: the event that began the walk, "" once it is served. `need`: the requirement beyond a fresh token;
    `bearer`: the pair that the caller does not accept. `record`: the record as it was read. `claim`: the claim hook's
    finding. `pair`: the pair from the server. `stage`: the progress of an activity of several steps. `marks`: the
    events of this walk.
    """

    host: int
    location: int = 0
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
    """The tuple of a process without a walk: it remembers nothing."""
    return Process(process.host)


def references(shared: Shared, *, orphans: bool) -> int:
    """Bits of the pairs that the model must remember independently of the processes. A claim on a pair other than the
    record is void for good; with `orphans` the model remembers it anyway."""
    mask = 1 << shared.record if shared.record >= 0 else 0
    mask |= 1 << shared.peer[1] if shared.peer[1] >= 0 else 0
    if orphans:
        mask |= sum(1 << number for number, pair in enumerate(shared.pairs) if pair.owner != NO_CLAIM)
    if shared.lasting:
        record, claims = shared.lasting
        mask |= 1 << record if record >= 0 else 0
        for number, (owner, staged, _) in enumerate(claims):
            mask |= (1 << number if owner != NO_CLAIM else 0) | (1 << staged if staged >= 0 else 0)
    return mask


def with_staged(shared: Shared, mask: int) -> int:
    """`mask`, of what a world remembers, with the staged pairs of its pairs added."""
    for number, pair in enumerate(shared.pairs):
        if mask >> number & 1:
            mask |= (1 << pair.staged if pair.staged >= 0 else 0) | (1 << pair.answer if pair.answer >= 0 else 0)
    return mask


def simplified(shared: Shared, policy: str) -> Shared:
    """The same shared part, which forgets differences that can no longer have an effect."""
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
            pair = pair._replace(rejected=0)  # expired, so the rejection has no further effect
        if pair.revoked:  # it is never sent again, so the server's view of it no longer matters
            pair = pair._replace(sent=1, denied=1, unrecognized=0, good=SPENT, late=0)
            if pair.staged < 0:
                pair = pair._replace(owner=NO_CLAIM, met=())
        pairs.append(pair)
    return _with_logins(shared._replace(pairs=tuple(pairs)), logins)


def _with_logins(shared: Shared, logins: Sequence[int]) -> Shared:
    """`shared` with only those `logins` that a pair comes from, in the same order."""
    used = sorted({pair.login for pair in shared.pairs})
    kept = tuple(logins[number] if logins[number] & ALIVE else logins[number] & ~AWAITED for number in used)
    pairs = shared.pairs
    if used != list(range(len(used))):
        pairs = tuple(pair._replace(login=used.index(pair.login)) for pair in pairs)
    return shared._replace(pairs=pairs, logins=kept)


def entombed(shared: Shared) -> int:
    """The newest pair of the shared part that has a staged answer, where its record is another program's tombstone; else
    NOTHING."""
    if shared.record != TOMBSTONE:
        return NOTHING
    return max((number for number, pair in enumerate(shared.pairs) if pair.staged >= 0), default=NOTHING)


def held_by(process: Process) -> int:
    """Bits of the pairs that are not forgotten because the process still refers to them."""
    mask = 1 << process.record if process.record >= 0 else 0
    return mask | (1 << process.pair if process.pair >= 0 else 0)


def renumbering(mask: int, count: int) -> tuple[int, ...]:
    """The new number of each pair when only those in `mask` are kept; NOTHING for the others."""
    numbers, free = [], 0
    for number in range(count):
        kept = mask >> number & 1
        numbers.append(free if kept else NOTHING)
        free += kept
    return tuple(numbers)


def compacted(shared: Shared, numbers: Sequence[int]) -> Shared:
    """`shared`, which forgets the pairs that have no new number."""
    pairs = []
    for number, pair in enumerate(shared.pairs):
        if numbers[number] >= 0:
            if pair.staged >= 0:
                pair = pair._replace(staged=numbers[pair.staged])
            if pair.answer >= 0:
                pair = pair._replace(answer=numbers[pair.answer])
            pairs.append(pair)
    lasting = shared.lasting
    if lasting:
        record, claims = lasting
        lasting = (numbers[record] if record >= 0 else record, tuple(_compacted_claims(claims, numbers)))
    record = numbers[shared.record] if shared.record >= 0 else shared.record
    if shared.peer[1] >= 0:
        shared = shared._replace(peer=(shared.peer[0], numbers[shared.peer[1]]))
    return _with_logins(shared._replace(record=record, pairs=tuple(pairs), lasting=lasting), shared.logins)


def _compacted_claims(
    claims: Iterable[tuple[int, int, tuple[int, ...]]], numbers: Sequence[int]
) -> Iterable[tuple[int, int, tuple[int, ...]]]:
    for number, (owner, staged, met) in enumerate(claims):
        if numbers[number] >= 0:
            yield owner, numbers[staged] if staged >= 0 else staged, met


def forgetful(process: Process, record: int, *, waits: bool) -> Process:
    """`process` while `record` is stored, which forgets two values that no longer matter once they are not the record:
    the pair that the caller does not accept, and the pair that was read before the wait for the lock."""
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
