"""The environment of the processes: callers, people, time, transient errors, the kernel, late requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kimi_auth.proof.explore import Kind

from .effects import MUST_HAVE, Config, Effect, orphaned, unmet, with_pair
from .server import ended, given_up, served
from .state import (
    ABSENT,
    ALIVE,
    AWAITED,
    CLOSED,
    CORRUPT,
    EXPIRED,
    FOREIGN,
    FRESH,
    GONE,
    MEDDLED,
    NO_CLAIM,
    NOTHING,
    SPENT,
    SPENT_LATELY,
    Pair,
    Process,
    Shared,
    idle,
)

__all__ = ["Cancel", "beginning", "begun", "cancelled", "environment_moves", "killed", "logins", "power_cut"]

EnvironmentMove = tuple[int, Shared, str]

Cancel = Callable[[Config, Shared, Process, str], Effect | None]
"""The effect of the caller's cancellation on a walk in the given activity."""


def beginning(config: Config) -> Shared:
    """The environment at the beginning: signed in a moment ago; with `waiters`, so long ago that the access token has expired."""
    return Shared(
        0,
        (Pair(0, phase=EXPIRED if config.waiters else FRESH),),
        (ALIVE,),
        logins_left=config.logins,
        logouts_left=config.logouts,
        spoils_left=config.spoils,
        faults_left=int(config.waiters),
        upsets_left=config.upsets,
    )


def begun(
    config: Config, shared: Shared, process: Process, state: str, event: str
) -> Iterator[tuple[int, Shared, Process]]:
    """The environment's moves by which a caller begins a walk with `event` in the rest state `state`."""
    begins = process._replace(event=event)
    if config.waiters:
        if event == "renew" and state not in ("fresh", "usable"):
            yield Kind.BEGIN, shared, begins._replace(marks=begins.marks | MUST_HAVE)
    elif event == "touched":
        yield Kind.BEGIN, shared, begins
    elif event == "logout":
        if shared.logouts_left:
            yield Kind.FAULT, shared._replace(logouts_left=shared.logouts_left - 1), begins
    elif event == "rejected":
        if not config.rejections:
            return
        alive = shared.record >= 0 and shared.logins[shared.pairs[shared.record].login] & ALIVE
        wants = begins._replace(need="not_bearer", bearer=shared.record)
        yield Kind.FAULT if alive else Kind.BEGIN, shared, wants
    else:
        if state not in ("fresh", "usable"):
            yield Kind.BEGIN, shared, begins
        if config.any_need:
            yield Kind.FAULT, shared, begins._replace(need="not_pair", bearer=shared.record)


def logins(config: Config, shared: Shared, process: Process) -> Iterator[tuple[Shared, Process]]:
    """The moves of the environment by which a person approves a new login."""
    if shared.logins_left:
        after = shared._replace(
            logins=(*shared.logins, ALIVE),
            pairs=(*shared.pairs, Pair(len(shared.logins))),
            logins_left=shared.logins_left - 1,
        )
        yield after, process._replace(pair=len(shared.pairs))


def cancelled(config: Config, shared: Shared, process: Process, activity: str) -> Effect | None:
    """A caller goes away. A walk of the credential runs in its own thread and continues unchanged; a login that waits
    for the lock returns its grant."""
    if activity != "store_credential" or process.pair < 0:
        return None
    after = ended(shared, shared.pairs[process.pair].login)
    return Effect("", after, idle(process), "is interrupted while it waits for the lock, and revokes its grant")


def killed(config: Config, shared: Shared, process: Process) -> Shared:
    """The environment kills the process: the kernel releases its lock, and its request continues without a reader."""
    return orphaned(config, given_up(config, shared, process), process)


def environment_moves(config: Config, shared: Shared) -> Iterator[EnvironmentMove]:
    """The moves of the environment that do not depend on any process."""
    for move in OF_THE_WORLD[:3]:
        yield from move(config, shared)
    for number in range(len(shared.pairs)):
        for of_pair in OF_A_PAIR:
            yield from of_pair(config, shared, number)
    for number in range(len(shared.logins)):
        for of_login in OF_A_LOGIN:
            yield from of_login(config, shared, number)
    for move in OF_THE_WORLD[3:]:
        yield from move(config, shared)


def _ages(config: Config, shared: Shared) -> Iterator[EnvironmentMove]:
    if not config.waiters and any(pair.phase != EXPIRED for pair in shared.pairs):
        older = tuple(pair._replace(phase=min(pair.phase + 1, EXPIRED)) for pair in shared.pairs)
        yield Kind.WORLD, shared._replace(pairs=older), "tokens grow older"


def _backoff_ends(config: Config, shared: Shared) -> Iterator[EnvironmentMove]:
    if shared.held or shared.forced:
        yield Kind.WORLD, shared._replace(held=0, forced=0), "the backoff is over"


def _grace_closes(config: Config, shared: Shared) -> Iterator[EnvironmentMove]:
    if config.policy == "grace" and any(pair.good == SPENT_LATELY for pair in shared.pairs):
        over = tuple(pair._replace(good=SPENT) if pair.good == SPENT_LATELY else pair for pair in shared.pairs)
        yield Kind.WORLD, shared._replace(pairs=over), "the grace window of the server closes"


def _late_request(config: Config, shared: Shared, number: int) -> Iterator[EnvironmentMove]:
    pair = shared.pairs[number]
    if pair.late:
        after, _, _ = served(config, with_pair(shared, number, late=pair.late - 1), number, has_reader=False)
        yield Kind.WORLD, after, "a late request reaches the server; no process reads the answer"


def _silence(config: Config, shared: Shared, number: int) -> Iterator[EnvironmentMove]:
    pair = shared.pairs[number]
    if pair.owner == GONE and 1 in pair.met:
        met = tuple(2 if digit == 1 else digit for digit in pair.met)
        yield Kind.WORLD, with_pair(shared, number, met=met, late=0), "75 s pass, and no request takes longer"


def _awaited(config: Config, shared: Shared, number: int) -> Iterator[EnvironmentMove]:
    if shared.logins[number] & AWAITED:
        text = "a late request with a spent token reaches the server and ends the login"
        yield Kind.WORLD, ended(shared, number), text


def _directories(config: Config, shared: Shared) -> Iterator[EnvironmentMove]:
    if shared.lasting:
        yield Kind.WORLD, shared._replace(lasting=None), "the kernel writes its directories to disk"


def _disk(config: Config, shared: Shared) -> Iterator[EnvironmentMove]:
    if shared.full:
        yield Kind.WORLD, shared._replace(full=0), "the disk takes writes again"
    elif config.full_disk:
        yield Kind.FAULT, shared._replace(full=1), "the disk takes no more writes"


def _spoils(config: Config, shared: Shared) -> Iterator[EnvironmentMove]:
    if shared.spoils_left and shared.record not in (CORRUPT, FOREIGN):
        after = shared._replace(spoils_left=shared.spoils_left - 1)
        yield Kind.FAULT, after._replace(record=CORRUPT), "the record is spoiled"
        yield Kind.FAULT, after._replace(record=FOREIGN), "another OAuth host is asked for: the record is not its own"


def _old_program(config: Config, shared: Shared) -> Iterator[EnvironmentMove]:
    """A program without lock and claim, around the processes. Each of its actions is one move."""
    if not config.old_program:
        return
    if shared.logins_left:
        for after, process in logins(config, shared, Process(1)):
            yield Kind.FAULT, after._replace(record=process.pair), "an old program signs in, without the lock"
    if shared.record < 0:
        return
    if shared.logouts_left:
        out = ended(shared, shared.pairs[shared.record].login, signed_out=True)
        out = out._replace(record=ABSENT, logouts_left=shared.logouts_left - 1)
        yield Kind.FAULT, out, "an old program signs out, without the lock"
    after, pair, _ = served(config, shared, shared.record, has_reader=False)
    if pair >= 0:
        login = after.pairs[pair].login
        bits = tuple(bits | MEDDLED if at == login else bits for at, bits in enumerate(after.logins))
        yield Kind.FAULT, after._replace(record=pair, logins=bits), "an old program renews, without the lock"


OF_THE_WORLD = (_ages, _backoff_ends, _grace_closes, _directories, _disk, _spoils, _old_program)
OF_A_PAIR = (_late_request, _silence)
OF_A_LOGIN = (_awaited,)
"""The moves of the environment, one function each: those about all, about one pair and about one login."""


def power_cut(config: Config, shared: Shared, processes: Sequence[Process]) -> tuple[Shared, str]:
    """A power cut around the processes: every one dies at once, the disk falls back to its last synchronised state, and
    the next boot has another id."""
    for process in processes:
        shared = given_up(config, shared, process)
    if shared.lasting:
        record, claims = shared.lasting
        none = (NO_CLAIM, NOTHING, ())
        kept = (*claims, *(none for _ in range(len(shared.pairs) - len(claims))))
        pairs = tuple(
            pair._replace(owner=owner, staged=staged, met=met)
            for pair, (owner, staged, met) in zip(shared.pairs, kept, strict=True)
        )
        shared = shared._replace(record=record, pairs=pairs, lasting=None)
    pairs = tuple(
        pair._replace(owner=GONE, met=unmet(config)) if pair.owner not in (NO_CLAIM, CLOSED) else pair
        for pair in shared.pairs
    )
    return shared._replace(pairs=pairs, locks=0), "the power is cut"
