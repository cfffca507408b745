"""The world of a store with sessions: one row in a database, hosts that may be cut off from it, and a store that restarts.

A lease with a fence says who may write; it ends by the store's time alone. A claim is committed before anything is sent, and
its owner closes it by its nonce. A session of the owner witnesses it: a session may end without its process, and a process
without its session. The answer is installed by comparison with the pair that was sent, and spilled to the host's disk while
the store is away. Processes have numbers here, so that the fence and the nonce of each are told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kimi_auth.machine import ACQUIRED
from kimi_auth.proof.explore import Kind

from .effects import (
    AWAITS_CLAIM,
    HOLDS,
    Config,
    Effect,
    can_wait,
    given_up,
    is_incomplete,
    lock_bit,
    owns,
    pair_at,
    with_pair,
)
from .hooks_inside import REFRESH, SIGN_OUT, Hook, claim, commit, look_again, stage
from .hooks_outside import HOOKS, back_off, hold_credential, hold_credential_to_sign_out, inspect, put
from .places import Place, Told
from .state import (
    CLOSED,
    DEAD,
    EXPIRED,
    LEFT,
    MEDDLED,
    NO_CLAIM,
    NOTHING,
    Process,
    Shared,
    entombed,
)

__all__ = ["SESSIONS"]

YOUNG, OLD, OUTLASTED = (0,), (2,), (3,)
"""`Pair.met`: 75 s of the store's time have passed since the claim, or only while the store itself was down."""

ANSWERS = frozenset({"in_doubt", "not_processed"})
"""How an answer fails here; the worlds of files have the others."""


# --- hosts, the fence, and the claim -----------------------------------------------------------------------------------


def host_of(config: Config, number: int) -> int:
    """The host of the process of that number."""
    return (number - 1) % config.hosts


def _bit(config: Config, process: Process) -> int:
    return 1 << host_of(config, process.host)


def is_away(config: Config, shared: Shared, process: Process) -> bool:
    """True if the process cannot reach the store."""
    return bool(shared.away & _bit(config, process))


def may_write(config: Config, shared: Shared, process: Process) -> bool:
    """True if the store is there and takes a write under this process's fence."""
    return not is_away(config, shared, process) and (shared.locks == process.host or config.lacks == "fence")


def may_take(config: Config, shared: Shared, process: Process) -> bool:
    """True if the lease is free, over, or of a process of this host that is certainly dead."""
    if is_away(config, shared, process):
        return False
    return not shared.locks or bool(shared.over) or shared.locks == DEAD + host_of(config, process.host)


def may_recover(config: Config, shared: Shared, process: Process) -> bool:
    """True if the open claim on the record may be recovered: closed, or its owner is certainly dead, or it has been silent
    for 75 s of the store's time, without a witness, and the need is mandatory."""
    pair = pair_at(shared, process.record)
    if pair.owner in (CLOSED, DEAD + host_of(config, process.host)):
        return True
    if pair.witness and config.lacks != "witness":
        return False
    ahead = config.lacks == "store time" and host_of(config, process.host) == 1
    return (pair.met in (OLD, OUTLASTED) or ahead) and not can_wait(shared, process)


# --- our hooks ---------------------------------------------------------------------------------------------------------


def _leased(hook: Hook) -> Hook:
    """`hook`, which takes the lease: the fence is its own from here on."""

    def leased(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
        bit = 0 if may_take(config, shared, process) else lock_bit(config, process)
        for effect in hook(config, shared._replace(locks=bit), process):
            if effect.outcome == ACQUIRED:
                yield effect._replace(shared=effect.shared._replace(locks=process.host, over=0))
            elif effect.outcome != "changed" or not is_away(config, shared, process):
                yield effect._replace(shared=effect.shared._replace(locks=shared.locks))

    return leased


def _fenced(hook: Hook) -> Hook:
    """`hook`, whose writes the store refuses without the fence, as a full disk would; with another's they break I9."""

    def fenced(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
        if may_write(config, shared, process):
            broken = () if shared.locks == process.host else ("I9",)
            for effect in hook(config, shared, process):
                yield effect._replace(broken=effect.broken + broken) if effect.shared != shared else effect
            return
        for effect in hook(config, shared._replace(full=1), process):
            yield effect._replace(shared=effect.shared._replace(full=0))

    return fenced


def _look(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if is_away(config, shared, process):
        return []  # it keeps what it knows until it can look
    return inspect(config, _seen(config, shared, process), process)


def _reread(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if is_away(config, shared, process):
        return [Effect("backing_off", shared, process, "the store is away")]
    return REFRESH["reread"](config, _seen(config, shared, process), process)


def _seen(config: Config, shared: Shared, process: Process) -> Shared:
    return shared._replace(seen=shared.seen | _bit(config, process)) if shared.lasting else shared


def _claim(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    number, pair = process.record, pair_at(shared, process.record)
    if pair.spill & _bit(config, process) and shared.record == number:
        return [Effect("staged", shared, process._replace(claim="staged", pair=pair.answer), "from this host's disk")]
    if pair.refused_by & _bit(config, process):
        return [Effect("unwritable", shared, process, "the store has gone back")]
    owner = CLOSED if may_recover(config, shared, process) else pair.owner
    seen = with_pair(shared, number, owner=owner) if is_incomplete(pair) else shared
    return (_as_found(effect, number, pair.owner) for effect in claim(config, seen, process))


def _as_found(effect: Effect, number: int, owner: int) -> Effect:
    """A claim that was found is still its owner's; one that was made is young, and has a witness."""
    if effect.outcome == "claimed":
        return effect._replace(shared=with_pair(effect.shared, number, met=YOUNG, witness=1))
    return effect._replace(shared=with_pair(effect.shared, number, owner=owner))


def _renew_claim(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.full or not is_incomplete(pair_at(shared, process.record)) or shared.record != process.record:
        return [Effect("unwritable", shared, process)]
    effects = REFRESH["renew_claim"](config._replace(exclusive=False), shared, process)
    return [_as_found(effect, process.record, NO_CLAIM) for effect in effects]


def _look_again(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if is_away(config, shared, process):
        return [Effect("changed", shared, process, "the store is away: nothing is sent")]
    return look_again(config, shared, process)


def _back_off(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if is_away(config, shared, process):
        yield from (effect for effect in back_off(config, shared, process) if effect.outcome == "gave_up")
        return
    pair = pair_at(shared, process.record)
    is_open = process.record >= 0 and is_incomplete(pair) and may_recover(config, shared, process)
    seen = with_pair(shared, process.record, owner=CLOSED) if is_open else shared
    for effect in back_off(config, seen, process):
        # A notification tells of a new record; that an owner has been silent for long, no one tells.
        if config.lacks != "looking" or effect.outcome == "changed" or not process.marks & AWAITS_CLAIM:
            yield effect._replace(shared=shared)


def _exchange(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    """Answers may fail as often as the world has upsets left."""
    for effect in REFRESH["exchange"](config, shared, process):
        if not effect.hurt:
            yield effect
        elif effect.outcome in ANSWERS and shared.upsets_left:
            yield effect._replace(shared=_upset(effect.shared))


def _stage(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    """The answer goes into the row, or to this host's disk while the store is away."""
    if not is_away(config, shared, process):
        return [
            effect._replace(shared=with_pair(effect.shared, process.record, owner=_owner(shared, process)))
            for effect in stage(config, shared, process)
        ]
    saved = stage(config, shared, process)
    if config.lacks == "spill":
        text = "the store is still away, and the command ends"
        return [Effect("unwritable", shared, effect.process, text, hurt=True, broken=("I2",)) for effect in saved]
    spill = pair_at(shared, process.record).spill | _bit(config, process)
    kept = with_pair(shared, process.record, spill=spill, answer=process.pair)
    return [effect._replace(shared=kept, note="to this host's disk") for effect in saved]


def _owner(shared: Shared, process: Process) -> int:
    owner = pair_at(shared, process.record).owner
    return process.host if owner == NO_CLAIM else owner


def _commit(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    """One comparing statement, with or without the fence: the answer to the pair that is the record is never refused."""
    if is_away(config, shared, process):
        return [Effect("unwritable", shared, process, "the store is away, and the command ends", hurt=True)]
    if shared.record >= 0 and shared.record == process.pair:
        return [Effect("superseded", shared, process)]
    if shared.record != process.record:
        return commit(config, shared, process)
    if config.goes_back:
        shared = _remembering(config, shared, process)
    seen = with_pair(shared, process.record, staged=process.pair, owner=_owner(shared, process))
    return commit(config, seen, process)


def _remembering(config: Config, shared: Shared, process: Process) -> Shared:
    """A store that forgets its newest commit comes back with this row."""
    claims = tuple((NO_CLAIM, NOTHING, ()) for _ in shared.pairs)
    return shared._replace(lasting=(shared.record, claims), seen=_bit(config, process))


def _empty_record(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if is_away(config, shared, process):
        return [Effect("unwritable", shared, process._replace(record=shared.record))]
    return SIGN_OUT["empty_record"](config, shared, process)


def _store_credential(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    """A login waits for the lease, and takes the fence from its last holder."""
    if not may_take(config, shared, process):
        return []
    return [effect._replace(shared=effect.shared._replace(locks=0, over=0)) for effect in put(config, shared, process)]


OVER: dict[str, Hook] = {
    "inspect": _look,
    "reread": _fenced(_reread),
    "claim": _fenced(_claim),
    "renew_claim": _fenced(_renew_claim),
    "look_again": _look_again,
    "exchange": _exchange,
    "withdraw_claim": _fenced(REFRESH["withdraw_claim"]),
    "stage": _stage,
    "commit": _commit,
    "back_off": _back_off,
    "empty_record": _fenced(_empty_record),
    "discard_staged": _fenced(SIGN_OUT["discard_staged"]),
    "clear_sidecars": _fenced(SIGN_OUT["clear_sidecars"]),
    "store_credential": _store_credential,
    "hold_credential": _leased(hold_credential),
    "hold_credential_to_sign_out": _leased(hold_credential_to_sign_out),
    **{name: _fenced(REFRESH[name]) for name in ("record_revoked", "record_unrecognized", "postpone")},
}


# --- leaving, and dying ------------------------------------------------------------------------------------------------


def leave(config: Config, shared: Shared, process: Process) -> Shared:
    """The walk closes its claim, by its nonce. One that it cannot close, or whose answer is on a host's disk, stays open."""
    pair = pair_at(shared, process.record)
    mine = owns(shared, process) or config.lacks == "nonce"
    if not is_incomplete(pair) or not mine:
        return shared
    if is_away(config, shared, process) or pair.spill:
        return with_pair(shared, process.record, owner=LEFT) if owns(shared, process) else shared
    return shared if config.lacks == "close" else with_pair(shared, process.record, owner=CLOSED, met=(), witness=0)


def release(config: Config, shared: Shared, process: Process) -> Shared:
    """The lease is given back, where the fence is still its own."""
    if not process.marks & HOLDS or shared.locks != process.host:
        return shared
    if is_away(config, shared, process):
        return shared._replace(locks=LEFT)
    return shared._replace(locks=0, over=0)


def killed(config: Config, shared: Shared, process: Process) -> Shared | None:
    """Claim and lease stay, and so may the session that witnesses the claim. None: this world has no upset left."""
    if not shared.upsets_left:
        return None
    shared = given_up(config, _upset(shared), process)
    dead = DEAD + host_of(config, process.host)
    if owns(shared, process) and is_incomplete(pair_at(shared, process.record)):
        shared = with_pair(shared, process.record, owner=dead)
    return shared._replace(locks=dead) if process.marks & HOLDS and shared.locks == process.host else shared


# --- what the store does -----------------------------------------------------------------------------------------------


def _upset(shared: Shared) -> Shared:
    return shared._replace(upsets_left=shared.upsets_left - 1)


def _is_at_work(owner: int) -> bool:
    return 0 < owner < CLOSED


def moved(config: Config, shared: Shared) -> Iterator[Told]:
    """The store's time, its sessions, and its faults."""
    if shared.locks and not shared.over:
        if not _is_at_work(shared.locks):
            yield Kind.WORLD, shared._replace(locks=0), "the lease is over, by the store's time", ()
        elif shared.upsets_left:
            yield Kind.FAULT, _upset(shared)._replace(over=1), "a process stands still until its lease is over", ()
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
    upset = _upset(shared)
    for host in range(config.hosts):
        if not shared.away >> host & 1:
            yield Kind.FAULT, upset._replace(away=shared.away | 1 << host), f"host {host + 1} is cut off", ()
    yield Kind.FAULT, _without_sessions(upset)._replace(away=every, down=1), "the store stops, and all sessions end", ()
    if shared.lasting and config.goes_back:
        yield Kind.FAULT, _gone_back(config, upset), "another primary takes over, without the newest commit", ()


def _of_the_claim(shared: Shared) -> Iterator[Told]:
    """The age of an open claim, and its witness."""
    number, pair = shared.record, shared.pairs[shared.record]
    if pair.owner == CLOSED:
        return
    working = _is_at_work(pair.owner)
    if pair.witness:
        ended = with_pair(shared, number, witness=0)
        if not working:
            yield Kind.WORLD, ended, "the session that witnesses the claim ends, as its owner has", ()
        elif shared.upsets_left:
            yield Kind.FAULT, _upset(ended), "a session ends without its process", ()
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
    """Hosts that have seen the newer pair spend the older one no more. Where some have not, the store has lost its one
    history, and no client can hold I1 and I7."""
    assert shared.lasting
    record, _ = shared.lasting
    every = (1 << config.hosts) - 1
    refused_by = 0 if config.lacks == "generation" else shared.seen
    pairs = tuple(
        pair._replace(
            owner=NO_CLAIM, staged=NOTHING, met=(), refused_by=refused_by if at == record else pair.refused_by
        )
        for at, pair in enumerate(_without_sessions(shared).pairs)
    )
    forked = MEDDLED if shared.seen != every else 0
    logins = tuple(bits | forked for bits in shared.logins)
    return shared._replace(record=record, pairs=pairs, logins=logins, lasting=None, seen=0, locks=0, over=0)


def is_left(config: Config, shared: Shared) -> bool:
    """Signed out, ended by the server, or gone back behind what every host has seen: only a new login helps."""
    if shared.record < 0:
        return entombed(shared) < 0
    pair = shared.pairs[shared.record]
    return bool(pair.revoked) or pair.refused_by == (1 << config.hosts) - 1


def is_beyond(config: Config, shared: Shared) -> bool:
    """An owner at work, or an answer on a host's disk, that is not heard of for 75 s and until the token has ended: a
    partition that outlasts the wait, which I7 exempts."""
    if shared.record < 0 or shared.down:
        return False
    pair = shared.pairs[shared.record]
    held = _is_at_work(pair.owner) or pair.spill
    return bool(is_incomplete(pair) and held and not pair.witness and pair.met == OLD and pair.phase == EXPIRED)


SESSIONS = Place({**HOOKS, **OVER}, leave, release, killed, moved, is_left, is_beyond)
