"""The simulated hooks of token_lifecycle, which run outside the lock or take it, and of the last steps of a login."""

from __future__ import annotations

from collections.abc import Iterable

from .effects import (
    AWAITS,
    AWAITS_CLAIM,
    HOLDS,
    OWES_CONFIG,
    OWES_RETRY,
    OWES_SERVING,
    RECOVERS,
    Config,
    Effect,
    claim_is_over,
    installed,
    is_incomplete,
    lock_bit,
    swept,
    without_backoff,
    works,
)
from .hooks_inside import REFRESH, SIGN_OUT, Hook
from .server import ended
from .state import CORRUPT, EXPIRING, FRESH, NOTHING, Process, Shared

__all__ = ["HOOKS", "LIFECYCLE", "LOCAL", "LOGIN", "TAKING", "WAITING", "chained_activities", "classified"]


def classified(shared: Shared) -> str:
    """The rest state of the simulated token_lifecycle that the world's record implies."""
    if shared.record == CORRUPT:
        return "corrupt"
    if shared.record < 0:
        return "absent"
    pair = shared.pairs[shared.record]
    alive = works(shared, shared.record)
    if pair.revoked:
        return "usable" if alive and not pair.rejected else "revoked"
    if alive and pair.phase == FRESH:
        return "fresh"
    if alive and pair.phase == EXPIRING:
        return "usable" if shared.held else "expiring"
    if pair.unrecognized >= 2:
        return "blocked"
    return "in_doubt" if is_incomplete(pair) else "expired"


def inspect(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    return [Effect(classified(shared), shared, process._replace(record=shared.record))]


def hold_credential(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    broken = ("looking spends nothing",) if process.event == "touched" else ()
    tried = process._replace(event="", marks=process.marks & ~OWES_RETRY)
    bit = lock_bit(config, process)
    acquired = Effect("acquired", shared._replace(locks=shared.locks | bit), _holding(tried), broken=broken)
    if shared.record != process.record:
        kept_out = [Effect("changed", shared, tried._replace(marks=tried.marks | OWES_SERVING), broken=broken)]
    elif config.waiters:
        kept_out = []  # this caller waits longer than any walk holds the lock
    else:
        kept_out = [Effect("busy", shared, tried, "no walk waits for ever", broken=broken)]
    if config.lock == "broken":
        return [acquired, *kept_out]
    return kept_out if shared.locks & bit else [acquired]


def back_off(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    waited = process._replace(marks=process.marks & ~AWAITS)
    gave_up = Effect("gave_up", shared, waited)
    if shared.record != process.record:
        return [Effect("changed", shared, waited._replace(marks=waited.marks | OWES_SERVING))]
    if not process.marks & AWAITS:
        return [gave_up]
    again = waited._replace(marks=waited.marks | OWES_RETRY)
    if process.marks & RECOVERS:
        asked = gave_up._replace(note="the server asked for a longer wait, or the program is to end", hurt=True)
        over = Effect("over", shared, again._replace(recoveries=1))
        return [over, asked] if config.all_answers and not config.waiters else [over]
    is_over = claim_is_over(config, shared, process) if process.marks & AWAITS_CLAIM else not shared.held
    if is_over:
        return [Effect("over", shared, again)]
    return [] if config.waiters else [gave_up]


def can_still_use(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    number = process.record
    if works(shared, number):
        return [Effect("usable", shared, process)]
    if number >= 0 and shared.pairs[number].unrecognized >= 2:
        return [Effect("blocked", shared, process)]
    if number >= 0 and is_incomplete(shared.pairs[number]):
        return [Effect("in_doubt", shared, process)]
    return [Effect("expired", shared, process)]


def inject(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    return [Effect("injected", shared, process._replace(marks=process.marks & ~OWES_SERVING))]


def hold_credential_to_sign_out(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    bit = lock_bit(config, process)
    signing_out = process.event == "logout"
    tried = process if signing_out else process._replace(event="")
    if not shared.locks & bit:
        broken = () if signing_out else ("I4",)
        return [Effect("acquired", shared._replace(locks=shared.locks | bit), _holding(tried), broken=broken)]
    return [Effect("busy", shared, tried._replace(event=""), "its patience is over")]


def restore_config(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    restored = process._replace(marks=process.marks & ~OWES_CONFIG)
    effects = [Effect("restored", shared, restored)]
    if config.all_answers:
        effects.append(Effect("kept", shared, restored, "config.toml cannot be written", hurt=True))
    return effects


def store_credential(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.locks & lock_bit(config, process):
        return []  # a login waits for the lock without limit
    return put(config, shared, process)


def put(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    """The hook of a login's last steps by which the new login becomes the record."""
    if shared.full:
        return [Effect("unwritable", shared, process, hurt=True)]
    after, broken = installed(config, shared, process.pair)
    after = without_backoff(swept(config, after, process.pair))
    return [Effect("stored", after, process._replace(pair=NOTHING), broken=broken)]


def return_grant(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    after = ended(shared, shared.pairs[process.pair].login) if process.pair >= 0 else shared
    return [Effect("returned", after, process._replace(pair=NOTHING))]


def sync_models(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    return [Effect("synced", shared, process)]


def write_config(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    return [Effect("configured", shared, process)]


def _holding(process: Process) -> Process:
    return process._replace(marks=process.marks | HOLDS)


LIFECYCLE: dict[str, Hook] = {
    "inspect": inspect,
    "hold_credential": hold_credential,
    "back_off": back_off,
    "can_still_use": can_still_use,
    "inject": inject,
    "hold_credential_to_sign_out": hold_credential_to_sign_out,
    "restore_config": restore_config,
}

LOGIN: dict[str, Hook] = {
    "store_credential": store_credential,
    "return_grant": return_grant,
    "sync_models": sync_models,
    "write_config": write_config,
    "inject": inject,
}

HOOKS: dict[str, Hook] = {**LOGIN, **LIFECYCLE, **REFRESH, **SIGN_OUT}

LOCAL = frozenset({"restore_config", "sync_models", "write_config", "inject", "can_still_use", "inspect"})
"""Activities outside the lock that change nothing another process can see. An interleaving before them reveals
nothing, so the model takes them together with the step before."""

UNDISTURBED = frozenset({"reread", "look_again"})
"""The same, inside a lock that works: they read data that no other process may write meanwhile."""

TAKING = frozenset({"hold_credential", "hold_credential_to_sign_out"})
"""A walk that begins while the lock is free takes it at once: moves of other processes in between may as well come
first."""

WAITING = TAKING | {"back_off"}
"""Activities that wait without the lock. Of the values read before, only one matters: whether the pair is still the
record."""


def chained_activities(config: Config) -> tuple[frozenset[str], frozenset[str]]:
    """The simulated hooks, above all those outside the lock, that are one move with the step before them: always, and
    when a walk begins."""
    alone = config.excludes and not config.unlocked_writers
    leased = config.store == "sessions"
    always = LOCAL | {"reread"} if leased else LOCAL
    if alone and not (config.old_program or config.store == "kimi-code"):
        always |= UNDISTURBED
    if not (config.waits or config.waiters):
        always |= {"back_off"}
    return always, TAKING if alone or leased else frozenset()
