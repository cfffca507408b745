"""The world of a store with sessions: one row in a database, hosts that may be cut off from it, and a store that restarts.

A lease with a fence says who may write; it ends by the store's time alone. A claim is committed before anything is sent, and
its owner closes it by its nonce. A session of the owner witnesses it: a session may end without its process, and a process
without its session. The answer is installed by comparison with the pair that was sent, and spilled to the host's disk while
the store is away. Processes have numbers here, so that the fence and the nonce of each are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from kimi_auth.proof.explore import Kind

from .effects import HOLDS, Config, has_open_claim, is_incomplete, owns, pair_at, with_pair
from .server import given_up
from .sessions_hooks import HOOKS_ON_SESSIONS, OLD, OUTLASTED, YOUNG, host_of, is_away, upset
from .state import CLOSED, DEAD, EXPIRED, LEFT, MEDDLED, NO_CLAIM, NOTHING, Process, Shared, entombed
from .stores import StoreModel, Told

__all__ = ["SESSIONS"]


# --- leaving, and dying ------------------------------------------------------------------------------------------------


def leave(config: Config, shared: Shared, process: Process) -> Shared:
    """The world of a store with sessions, after a walk closed its claim, by its nonce. A claim stays open if
    the walk cannot close it, or if its answer is on a host's disk."""
    pair = pair_at(shared, process.record)
    mine = owns(shared, process) or config.lacks == "nonce"
    if not is_incomplete(pair) or not mine:
        return shared
    if is_away(config, shared, process) or pair.spill:
        return with_pair(shared, process.record, owner=LEFT) if owns(shared, process) else shared
    return shared if config.lacks == "close" else with_pair(shared, process.record, owner=CLOSED, met=(), witness=0)


def release(config: Config, shared: Shared, process: Process) -> Shared:
    """The world of a store with sessions, after a process gave back its lease, if the fence is still its own."""
    if not process.marks & HOLDS or shared.locks != process.host:
        return shared
    if is_away(config, shared, process):
        return shared._replace(locks=LEFT)
    return shared._replace(locks=0, over=0)


def killed(config: Config, shared: Shared, process: Process) -> Shared | None:
    """A kill with sessions leaves claim and lease, and maybe the session that witnesses the claim. None: no upset is left."""
    if not shared.upsets_left:
        return None
    shared = given_up(config, upset(shared), process)
    dead = DEAD + host_of(config, process.host)
    if has_open_claim(shared, process):
        shared = with_pair(shared, process.record, owner=dead)
    return shared._replace(locks=dead) if process.marks & HOLDS and shared.locks == process.host else shared


# --- what the store does -----------------------------------------------------------------------------------------------


def _is_at_work(owner: int) -> bool:
    return 0 < owner < CLOSED


def moved(config: Config, shared: Shared) -> Iterator[Told]:
    """The moves of a store with sessions: those of its time, of its sessions, and of its faults."""
    if shared.locks and not shared.over:
        if not _is_at_work(shared.locks):
            yield Kind.WORLD, shared._replace(locks=0), "the lease is over, by the store's time", ()
        elif shared.upsets_left:
            yield Kind.FAULT, upset(shared)._replace(over=1), "a process stands still until its lease is over", ()
    if shared.record >= 0 and is_incomplete(shared.pairs[shared.record]):
        yield from _of_the_claim(shared)
    every = (1 << config.hosts) - 1
    if shared.down:
        up = shared._replace(away=0, down=0)
        if config.lacks != "incarnation":
            up = _redated(up)
        yield Kind.WORLD, up, "the store starts again: another incarnation", ()
    elif shared.away:
        for host in range(config.hosts):
            if shared.away >> host & 1:
                yield (
                    Kind.WORLD,
                    shared._replace(away=shared.away & ~(1 << host)),
                    f"host {host + 1} reaches the store",
                    (),
                )
    if not shared.upsets_left or shared.down:
        return
    upset_once = upset(shared)
    for host in range(config.hosts):
        if not shared.away >> host & 1:
            yield Kind.FAULT, upset_once._replace(away=shared.away | 1 << host), f"host {host + 1} is cut off", ()
    yield (
        Kind.FAULT,
        _without_sessions(upset_once)._replace(away=every, down=1),
        "the store stops, and all sessions end",
        (),
    )
    if shared.lasting and config.goes_back:
        yield Kind.FAULT, _gone_back(config, upset_once), "another primary takes over, without the newest commit", ()


def _of_the_claim(shared: Shared) -> Iterator[Told]:
    """The moves of an open claim in a store with sessions: those of its age, and of its witness."""
    number, pair = shared.record, shared.pairs[shared.record]
    if pair.owner == CLOSED:
        return
    working = _is_at_work(pair.owner)
    if pair.witness:
        ended = with_pair(shared, number, witness=0)
        if not working:
            yield Kind.WORLD, ended, "the session that witnesses the claim ends, as its owner has", ()
        elif shared.upsets_left:
            yield Kind.FAULT, upset(ended), "a session ends without its process", ()
    holds = working and shared.locks == pair.owner and not shared.over
    if holds and not shared.away:
        return
    if pair.met == YOUNG:
        met = OUTLASTED if shared.down else OLD
        late = pair.late if working else 0
        yield Kind.WORLD, with_pair(shared, number, met=met, late=late), "75 s of the store's time pass", ()
    elif pair.met == OUTLASTED and not shared.down:
        yield Kind.WORLD, with_pair(shared, number, met=OLD), "75 s of the store's time pass", ()


def _redated(shared: Shared) -> Shared:
    """A claim of another incarnation counts from now."""
    pairs = tuple(pair._replace(met=YOUNG) if is_incomplete(pair) and pair.met else pair for pair in shared.pairs)
    return shared._replace(pairs=pairs)


def _without_sessions(shared: Shared) -> Shared:
    return shared._replace(pairs=tuple(pair._replace(witness=0) for pair in shared.pairs))


def _gone_back(config: Config, shared: Shared) -> Shared:
    """Hosts that have seen the newer pair spend the older one no more, nor the newer one if it is installed a second time, as
    its claims are lost. Where some have not seen it, the store has lost its one history, and no client can hold I1 and I7."""
    assert shared.lasting
    record, _ = shared.lasting
    lost = record, shared.record
    every = (1 << config.hosts) - 1
    refused_by = 0 if config.lacks == "generation" else shared.seen
    pairs = tuple(
        pair._replace(owner=NO_CLAIM, staged=NOTHING, met=(), refused_by=refused_by if at in lost else pair.refused_by)
        for at, pair in enumerate(_without_sessions(shared).pairs)
    )
    forked = MEDDLED if shared.seen != every else 0
    logins = tuple(bits | forked for bits in shared.logins)
    return shared._replace(record=record, pairs=pairs, logins=logins, lasting=None, seen=0, locks=0, over=0)


def is_left(config: Config, shared: Shared) -> bool:
    """True if only a new login helps in a world with sessions: the login is signed out, ended by the server, or gone
    back behind what every host has seen."""
    if shared.record < 0:
        return entombed(shared) < 0
    pair = shared.pairs[shared.record]
    return bool(pair.revoked) or pair.refused_by == (1 << config.hosts) - 1


def is_beyond(config: Config, shared: Shared) -> bool:
    """True if a world with sessions has an owner at work, or an answer on a host's disk, that is not heard of for 75 s
    and until the token has ended: a partition that outlasts the wait, which I7 exempts."""
    if shared.record < 0 or shared.down:
        return False
    pair = shared.pairs[shared.record]
    held = _is_at_work(pair.owner) or pair.spill
    return bool(is_incomplete(pair) and held and not pair.witness and pair.met == OLD and pair.phase == EXPIRED)


SESSIONS = StoreModel(HOOKS_ON_SESSIONS, leave, release, killed, moved, is_left, is_beyond)
