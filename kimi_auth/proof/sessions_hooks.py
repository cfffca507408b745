"""The simulated hooks where the credential rests in a store with sessions (`sessions`): the lease, the fence, the spill."""

from __future__ import annotations

from collections.abc import Iterable

from kimi_auth.machine import ACQUIRED

from .effects import (
    AWAITS_CLAIM,
    Config,
    Effect,
    can_wait,
    is_incomplete,
    lock_bit,
    pair_at,
    with_pair,
)
from .hooks_inside import REFRESH, SIGN_OUT, Hook, claim, commit, look_again, stage
from .hooks_outside import HOOKS, back_off, hold_credential, hold_credential_to_sign_out, inspect, put
from .state import (
    CLOSED,
    DEAD,
    NO_CLAIM,
    NOTHING,
    Process,
    Shared,
)

__all__ = ["HOOKS_ON_SESSIONS", "OLD", "OUTLASTED", "YOUNG", "host_of", "is_away", "upset"]

YOUNG, OLD, OUTLASTED = (0,), (2,), (3,)
"""`Pair.met`: 75 s of the store's time have passed since the claim, or only while the store itself was down."""

ANSWERS = frozenset({"in_doubt", "not_processed"})
"""How an answer fails here; the worlds of files have the others."""


# --- hosts, the fence, and the claim -----------------------------------------------------------------------------------


def host_of(config: Config, number: int) -> int:
    """The host that a hook of a store with sessions takes for the process of that number."""
    return (number - 1) % config.hosts


def _bit(config: Config, process: Process) -> int:
    return 1 << host_of(config, process.host)


def is_away(config: Config, shared: Shared, process: Process) -> bool:
    """True if the process of a hook cannot reach its store with sessions."""
    return bool(shared.away & _bit(config, process))


def may_write(config: Config, shared: Shared, process: Process) -> bool:
    """True if a hook's store with sessions is there and takes a write under this process's fence."""
    return not is_away(config, shared, process) and (shared.locks == process.host or config.lacks == "fence")


def may_take(config: Config, shared: Shared, process: Process) -> bool:
    """True if a simulated hook may take the lease: it is free, over, or of a process of this host that is certainly dead."""
    if is_away(config, shared, process):
        return False
    return not shared.locks or bool(shared.over) or shared.locks == DEAD + host_of(config, process.host)


def may_recover(config: Config, shared: Shared, process: Process) -> bool:
    """True if a simulated hook may recover the open claim on the record: it is closed, or its owner is certainly dead,
    or it has been silent for 75 s of the store's time, without a witness, and the need is mandatory."""
    pair = pair_at(shared, process.record)
    if pair.owner in (CLOSED, DEAD + host_of(config, process.host)):
        return True
    if pair.witness and config.lacks != "witness":
        return False
    ahead = config.lacks == "store time" and host_of(config, process.host) == 1
    return (pair.met in (OLD, OUTLASTED) or ahead) and not can_wait(shared, process)


def upset(shared: Shared) -> Shared:
    """One upset less is left."""
    return shared._replace(upsets_left=shared.upsets_left - 1)


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
    """`hook`, whose writes the store refuses without the lease's fence, as a full disk would; with another's they break I9."""

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
    if shared.record != number:
        return [Effect("unwritable", shared, process, "the row has another pair")]
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
    if pair_at(shared, process.record).refused_by & _bit(config, process):
        return [Effect("changed", shared, process, "the store has gone back")]
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
            yield effect._replace(shared=upset(effect.shared))


def _stage(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    """The hook that stages with sessions: the answer goes into the row, or to this host's disk while the store is away."""
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
    """The hook that commits by one comparing statement, with or without the fence: the answer to the pair that is the
    record is never refused."""
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


HOOKS_ON_SESSIONS: dict[str, Hook] = {
    **HOOKS,
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
