"""The simulated hooks of token_refresh and sign_out, which run under the lock: pure functions from a world to its possible successors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .effects import (
    AWAITS,
    AWAITS_BACKOFF,
    AWAITS_CLAIM,
    COMPARED,
    DECLARED,
    FIRST_SENDING,
    INSTALLED,
    OWES_CONFIG,
    OWES_SERVING,
    OWNS,
    RECOVERS,
    SAW_ABSENT,
    SENDING_AGAIN,
    SPENT_IT,
    UNSAVED,
    Config,
    Effect,
    boot_of,
    can_wait,
    claimed,
    installed,
    is_forced,
    is_fresh,
    is_incomplete,
    owns,
    pair_at,
    remembering,
    swept,
    with_pair,
    without_backoff,
    without_claim,
)
from .server import answers, ended
from .state import ABSENT, CLOSED, CORRUPT, EMPTY, FOREIGN, GONE, MEDDLED, NO_CLAIM, NOTHING, Process, Shared

__all__ = ["REFRESH", "SIGN_OUT", "WRITES", "Hook"]

Hook = Callable[[Config, Shared, Process], Iterable[Effect]]


def reread(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    record = shared.record
    seen = process._replace(record=record, marks=process.marks & ~AWAITS)
    if record == CORRUPT:
        return [Effect("corrupt", shared, seen)]
    if record == FOREIGN:
        return [Effect("foreign", shared, seen._replace(marks=seen.marks | SAW_ABSENT))]
    if record < 0:
        return [Effect("gone", shared, seen._replace(marks=seen.marks | SAW_ABSENT))]
    pair = shared.pairs[record]
    if process.need == "not_bearer" and process.bearer == record and not pair.rejected and not shared.full:
        shared = with_pair(shared, record, rejected=1)
        pair = shared.pairs[record]
    if pair.revoked:
        return [Effect("revoked", shared, seen)]
    if is_fresh(shared) and not (process.need and process.bearer == record):
        return [Effect("satisfied", shared, seen._replace(marks=seen.marks | OWES_SERVING))]
    if shared.forced and is_forced(shared, process, record):
        return [Effect("backing_off", shared, seen, "a forced rotation comes too soon, and nothing is waited for")]
    renewable = Effect("renewable", shared, seen)
    backing_off = Effect("backing_off", shared, seen._replace(marks=seen.marks | AWAITS_BACKOFF))
    if not shared.held:
        return [renewable]
    # The model does not record who set the backoff. A caller that insists may pass one that an unrecognized answer
    # set; a recovery may pass one that the same walk set. The model tries both outcomes.
    if process.recoveries or (process.need == "not_pair" and pair.unrecognized):
        return [renewable, backing_off]
    return [backing_off]


def claim(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    number = process.record
    if shared.full or number < 0:
        return [Effect("unwritable", shared, process)]
    shared = swept(config, shared, number)
    pair = shared.pairs[number]
    if pair.owner == NO_CLAIM:
        after, owner = claimed(config, shared, process)
        return [Effect("claimed", after, owner._replace(claim="made"))]
    if pair.staged >= 0:
        return [Effect("staged", shared, process._replace(claim="staged", pair=pair.staged))]
    found = process._replace(claim="found")
    recovers = Effect("interrupted", shared, found._replace(marks=found.marks | DECLARED))
    if pair.owner == CLOSED:
        return [recovers]
    awaited = found._replace(marks=found.marks | AWAITS_CLAIM)
    if pair.owner != GONE:  # `met` matters only after the owner's death
        return [Effect("in_flight", shared, awaited)]
    boot = boot_of(config, process)
    if pair.met[boot] == 2:  # 75 s have passed since this boot first met the claim
        in_time = Effect("in_flight", shared, found) if can_wait(shared, process) else recovers
        return [in_time, recovers._replace(note="its owner is seen to be dead")]
    met = tuple(max(digit, at == boot) for at, digit in enumerate(pair.met))
    waits = Effect("in_flight", with_pair(shared, number, met=met), awaited)
    return [waits, recovers._replace(note="its owner is seen to be dead")]


def renew_claim(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    found = pair_at(shared, process.record)
    taken = config.exclusive and not (is_incomplete(found) and found.owner in (CLOSED, GONE))
    if shared.full or taken:
        return [Effect("unwritable", shared, process, "another process took it over" if taken else "")]
    return [Effect("claimed", *claimed(config, shared, process))]


def look_again(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    same = shared.record == process.record and not pair_at(shared, shared.record).revoked
    if same:
        return [Effect("unchanged", shared, process)]
    return [Effect("changed", shared, process._replace(marks=process.marks | OWES_SERVING))]


def withdraw_claim(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if process.claim == "made" and owns(shared, process):
        shared = without_claim(config, shared, process.record)
        process = process if shared.full else process._replace(marks=process.marks & ~OWNS)
    return [Effect("withdrawn", shared, process)]


def exchange(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    number = process.record
    if number < 0:
        return [Effect(None, shared, process, "asks with no token in hand", broken=("crash",))]
    if not process.stage:
        meddled = shared.logins[shared.pairs[number].login] & MEDDLED
        twice = shared.pairs[number].sent and not process.marks & DECLARED and not meddled
        stage = SENDING_AGAIN if shared.pairs[number].sent else FIRST_SENDING
        sending = process._replace(stage=stage, marks=process.marks & ~DECLARED | SPENT_IT)
        sent, broken = with_pair(shared, number, sent=1), ("I1",) if twice else ()
        return [Effect(None, sent, sending, "sends the refresh token", broken=broken)]
    return answers(config, shared, process)


def stage(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    number = process.record
    saved = process._replace(marks=process.marks & ~UNSAVED)
    if not shared.full and number >= 0:
        if process.pair < 0:
            return [Effect("staged", shared, process, "saves a pair that it does not have", broken=("crash",))]
        return [Effect("staged", with_pair(shared, number, staged=process.pair, owner=process.host, met=()), saved)]
    if config.gives_up:
        return [Effect("unwritable", shared, saved, "the disk still takes nothing, and the command ends", hurt=True)]
    return []  # the real hook retries every second and keeps the lock


def commit(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    number = process.record
    if process.stage != COMPARED:
        if shared.record in (EMPTY, ABSENT):
            gone = process._replace(marks=process.marks | OWES_SERVING | SAW_ABSENT)
            return [Effect("gone", _dropped(config, shared, process), gone)]
        if shared.record not in (number, CORRUPT):
            other = process._replace(marks=process.marks | OWES_SERVING)
            return [Effect("superseded", _dropped(config, shared, process), other)]
        if config.unlocked_writers:
            return [Effect(None, shared, process._replace(stage=COMPARED), "compares: the record is still the same")]
    process = process._replace(stage=0)
    staged = pair_at(shared, number).staged if number >= 0 else NOTHING
    if staged < 0:
        return [Effect("unwritable", shared, process, "there is no staged pair to commit")]
    if shared.full:
        unsaved = Effect("unwritable", shared, process, "the disk still takes nothing, and the command ends", hurt=True)
        return [unsaved] if config.gives_up else []
    after, broken = installed(config, shared, staged)
    did = process._replace(record=staged, marks=process.marks | OWES_SERVING | INSTALLED)
    forced = max(shared.forced, is_forced(shared, process, number))
    return [Effect("committed", without_backoff(swept(config, after, staged), forced=forced), did, broken=broken)]


def _dropped(config: Config, shared: Shared, process: Process) -> Shared:
    """Removes the claim that this walk made, or whose staged answer it found."""
    if process.claim == "staged" or owns(shared, process):
        return without_claim(config, shared, process.record)
    return shared


def revoke(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if process.pair < 0:
        return [Effect("unsupported", shared, process)]
    after = ended(shared, shared.pairs[process.pair].login)
    kept = [Effect("failed", shared, process, hurt=True)]
    if config.all_answers:
        kept.append(Effect("unsupported", shared, process))
    return [Effect("revoked", after, process), *kept]


def record_revoked(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.full:
        return [Effect("unrecorded", shared, process)]
    broken = () if pair_at(shared, process.record).denied else ("I4",)
    return [Effect("recorded", with_pair(shared, process.record, revoked=1), process, broken=broken)]


def record_unrecognized(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    waiting = process._replace(marks=process.marks | AWAITS_BACKOFF)
    if shared.full:
        return [Effect("recorded", shared, waiting)]
    shared = shared._replace(held=1)
    count = pair_at(shared, process.record).unrecognized
    counted = Effect("recorded", with_pair(shared, process.record, unrecognized=min(count + 1, 2)), waiting)
    return [counted, Effect("recorded", shared, waiting, "within a minute of the last one")] if count else [counted]


def postpone(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    in_doubt = process.marks & SPENT_IT and not process.recoveries
    waiting = process._replace(marks=process.marks | (RECOVERS if in_doubt else AWAITS_BACKOFF))
    return [Effect("postponed", shared if shared.full else shared._replace(held=1), waiting)]


def empty_record(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    seen = process._replace(record=shared.record, pair=shared.record if shared.record >= 0 else NOTHING)
    if shared.record in (EMPTY, ABSENT):
        return [Effect("nothing", shared, seen)]
    if shared.record == FOREIGN:
        return [Effect("foreign", shared, seen)]
    if shared.full:
        return [Effect("unwritable", shared, seen)]
    if shared.record >= 0:
        shared = ended(shared, shared.pairs[shared.record].login, signed_out=True)
    emptied = seen._replace(marks=seen.marks | OWES_SERVING | OWES_CONFIG)
    broken = () if process.event == "logout" else ("I4",)
    return [Effect("emptied", remembering(config, shared)._replace(record=EMPTY), emptied, broken=broken)]


def discard_staged(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    staged = pair_at(shared, process.record).staged
    if process.record >= 0 and staged >= 0:
        return [Effect("discarded", without_claim(config, shared, process.record), process._replace(pair=staged))]
    return [Effect("discarded", shared, process)]


def clear_sidecars(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.record != CORRUPT:
        shared = swept(config, shared, shared.record)
    effects = [Effect("cleared", shared, process)]
    if shared.record == EMPTY and not shared.full:
        effects.append(Effect("cleared", shared._replace(record=ABSENT), process, "the empty record has served"))
    return effects


REFRESH: dict[str, Hook] = {
    "reread": reread,
    "claim": claim,
    "renew_claim": renew_claim,
    "look_again": look_again,
    "withdraw_claim": withdraw_claim,
    "exchange": exchange,
    "stage": stage,
    "commit": commit,
    "revoke": revoke,
    "record_revoked": record_revoked,
    "record_unrecognized": record_unrecognized,
    "postpone": postpone,
}

SIGN_OUT: dict[str, Hook] = {
    "empty_record": empty_record,
    "discard_staged": discard_staged,
    "revoke": revoke,
    "clear_sidecars": clear_sidecars,
}

WRITES = frozenset({*REFRESH, *SIGN_OUT} - {"revoke"})
"""Activities that spend a token, write, or decide what to write. They must run with the lock held."""
