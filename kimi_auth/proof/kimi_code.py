"""The world beside a kimi-code, the other program that lives on one login with ours.

It takes one lock, its own directory, and only to refresh; it saves without a further look, undoes a deletion, writes its
tombstone without comparing, and signs in and out without any lock. Ours takes two locks (`kimi_auth.store.two_locks`): its
own, then the directory, for one try; a busy one lets go of both, which no other process can see. A process that stands
still for 20 s loses the directory, and a kimi-code that ends leaves its own behind until it has been still for 30 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kimi_auth.machine import ACQUIRED
from kimi_auth.proof.explore import Kind

from . import environment
from .effects import HOLDS, Config, Effect, is_fresh, lock_bit, pair_at
from .hooks_inside import Hook, claim, clear_sidecars, commit, empty_record, exchange, renew_claim, reread
from .hooks_outside import HOOKS, hold_credential, hold_credential_to_sign_out, inspect, store_credential
from .server import ended, served
from .state import ABSENT, GOOD, MEDDLED, NOTHING, SIGNED_OUT, TOMBSTONE, Process, Shared, entombed
from .stores import APART, StoreModel, Told

__all__ = ["KIMI_CODE", "THEIRS"]

OURS, THEIRS = 32, 64
"""Bits of `Shared.locks`: the directory is held by the process of ours that holds our lock, or by a kimi-code."""

IDLE, WAITS, SENDS, SAVES, REFUSED, ENTOMBS = range(6)
"""`Shared.peer`: it has read the pair and waits for its lock; holds it; has the new pair; was refused; will write that."""


# --- our hooks, with the second lock -----------------------------------------------------------------------------------


def _with_both(hook: Hook) -> Hook:
    """`hook`, which takes both locks, ours and kimi-code's, or waits for them."""

    def both(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
        bit = lock_bit(config, process)
        theirs = shared.locks & THEIRS
        seen = shared._replace(locks=bit if theirs and config.lacks != "their lock" else shared.locks & ~THEIRS)
        for effect in hook(config, seen, process):
            locks = theirs | bit | OURS if effect.outcome == ACQUIRED else shared.locks
            yield effect._replace(shared=effect.shared._replace(locks=locks))

    return both


def _checked(hook: Hook) -> Hook:
    """`hook`, which writes nothing once a kimi-code took the directory over."""

    def checked(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
        if shared.locks & OURS or config.lacks == "check":
            return hook(config, shared, process)
        return [Effect("unwritable", shared, process, "its second lock was taken over")]

    return checked


def _over_tombstones(hook: Hook) -> Hook:
    """`hook`, to which a tombstone is the pair whose answer is staged: a refusal that came of our own rotation."""

    def seeing(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
        number = entombed(shared)
        if number < 0 or config.lacks == "tombstone":
            return hook(config, shared, process)
        return _as_tombstone(hook(config, shared._replace(record=number), process), number)

    return seeing


def _as_tombstone(effects: Iterable[Effect], number: int) -> Iterator[Effect]:
    for effect in effects:
        same = effect.shared.record == number
        yield effect._replace(shared=effect.shared._replace(record=TOMBSTONE)) if same else effect


def _look(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.record != TOMBSTONE:
        return inspect(config, shared, process)
    is_kept = entombed(shared) >= 0 and config.lacks != "tombstone"
    return [Effect("expired" if is_kept else "revoked", shared, process._replace(record=TOMBSTONE))]


def _reread(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.record != TOMBSTONE:
        return reread(config, shared, process)
    number = entombed(shared)
    if number < 0 or config.lacks == "tombstone":
        return [Effect("revoked", shared, process._replace(record=TOMBSTONE))]
    return [Effect("renewable", shared, process._replace(record=number))]


def _claim(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.record != TOMBSTONE:
        return claim(config, shared, process)
    staged = pair_at(shared, process.record).staged
    if staged < 0:
        return [Effect("unwritable", shared, process)]
    return [Effect("staged", shared, process._replace(claim="staged", pair=staged))]


def _exchange(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    """Beside a kimi-code the request and its answer are one move: no lock helps a process that stands still for 20 s in
    between."""
    if not shared.locks & OURS and config.lacks != "check":
        yield Effect("not_processed", shared, process, "its second lock was taken over: nothing is sent")
        return
    for sends in exchange(config, shared, process):
        if sends.outcome is not None or not sends.process.stage:
            yield sends
            continue
        for answer in exchange(config, sends.shared, sends.process):
            yield answer._replace(broken=sends.broken + answer.broken)


def _sign_out_stays(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    for effect in clear_sidecars(config, shared, process):
        if effect.shared.record == shared.record or config.lacks == "sign-out":
            yield effect


OVER: dict[str, Hook] = {
    "inspect": _look,
    "hold_credential": _with_both(hold_credential),
    "hold_credential_to_sign_out": _with_both(hold_credential_to_sign_out),
    "reread": _reread,
    "claim": _checked(_claim),
    "exchange": _exchange,
    "renew_claim": _checked(renew_claim),
    "commit": _over_tombstones(commit),
    "empty_record": _checked(_over_tombstones(empty_record)),
    "clear_sidecars": _sign_out_stays,
    "store_credential": _with_both(store_credential),
}


def let_go(config: Config, shared: Shared, process: Process) -> Shared:
    """The walk lets go of both locks, ours and kimi-code's; the directory is left if a kimi-code has taken it."""
    return shared._replace(locks=shared.locks & THEIRS) if process.marks & HOLDS else shared


# --- the other program -------------------------------------------------------------------------------------------------


def moved(config: Config, shared: Shared) -> Iterator[Told]:
    """What the kimi-code may do next."""
    stage, pair = shared.peer
    yield from _people(config, shared)
    if stage == IDLE:
        if shared.record >= 0:
            yield Kind.FAULT, shared._replace(peer=(WAITS, shared.record)), "kimi-code: needs a newer token", ()
        return
    if stage == WAITS:
        if not shared.locks & (OURS | THEIRS):
            yield Kind.WORLD, _taken(shared), "kimi-code: takes its lock, and reads again", ()
        elif shared.locks & OURS:
            text = "kimi-code: takes over the lock of a process that stood still for 20 s, and reads again"
            yield Kind.FAULT, _taken(shared), text, ()
        yield Kind.WORLD, _let_go(shared), "kimi-code: waits no longer", ()
        return
    yield Kind.FAULT, _let_go(shared), "kimi-code: ends, and its lock stands still for 30 s", ()
    if stage == SENDS:
        yield from _sent(config, shared, pair)
    elif stage == SAVES:
        yield Kind.WORLD, _brought(shared, pair), "kimi-code: saves its pair, without a look", _saved(shared, pair)
    elif stage == REFUSED:
        differs = shared.record >= 0 and shared.record != pair
        after = _let_go(shared) if differs else shared._replace(peer=(ENTOMBS, pair))
        yield Kind.WORLD, after, "kimi-code: reads again after the refusal", ()
    elif stage == ENTOMBS:
        text = "kimi-code: writes its tombstone, without a look"
        yield Kind.WORLD, _entombed(shared), text, _buried(shared, pair)


def _people(config: Config, shared: Shared) -> Iterator[Told]:
    if shared.logins_left:
        for after, process in environment.logins(config, shared, Process(1)):
            yield Kind.FAULT, after._replace(record=process.pair), "kimi-code: signs in, without a lock", ()
    if shared.logouts_left and shared.record >= 0:
        out = ended(shared, shared.pairs[shared.record].login, signed_out=True)
        logins = tuple(bits | MEDDLED for bits in out.logins)
        out = out._replace(record=ABSENT, logins=logins, logouts_left=shared.logouts_left - 1)
        yield Kind.FAULT, out, "kimi-code: signs out, without a lock", ()


def _let_go(shared: Shared) -> Shared:
    locks = shared.locks & ~THEIRS if shared.peer[0] > WAITS else shared.locks
    return shared._replace(locks=locks, peer=(IDLE, NOTHING))


def _taken(shared: Shared) -> Shared:
    """The directory is its own, and the record is read again; a missing one is the one that it read before."""
    found = shared.peer[1] if shared.record == ABSENT else shared.record
    locks = shared.locks & ~OURS
    if found < 0 or (found != shared.peer[1] and is_fresh(shared)):
        return shared._replace(locks=locks, peer=(IDLE, NOTHING))
    return shared._replace(locks=locks | THEIRS, peer=(SENDS, found))


def _sent(config: Config, shared: Shared, pair: int) -> Iterator[Told]:
    after, new, _ = served(config, shared, pair, has_reader=False)
    ends = after.logins != shared.logins and any(
        one.login == shared.pairs[pair].login and one.good == GOOD for one in shared.pairs
    )
    broken = (f"{APART}I7",) if ends else ()
    if new >= 0:
        yield Kind.WORLD, after._replace(peer=(SAVES, new)), "kimi-code: sends, and gets a new pair", ()
    else:
        yield Kind.WORLD, after._replace(peer=(REFUSED, pair)), "kimi-code: sends, and is refused", broken
    yield Kind.FAULT, _let_go(after), "kimi-code: sends, and the answer is lost", broken


def _brought(shared: Shared, pair: int) -> Shared:
    """The pair is the record. A logout that it undoes is undone for us too: the newest word stands."""
    login = shared.pairs[pair].login
    logins = tuple(bits & ~SIGNED_OUT if at == login else bits for at, bits in enumerate(shared.logins))
    return _let_go(shared)._replace(record=pair, logins=logins)


def _entombed(shared: Shared) -> Shared:
    """A tombstone names no pair: nothing tells whose it is, nor that there was a logout before."""
    logins = tuple(bits & ~SIGNED_OUT if bits & MEDDLED else bits for bits in shared.logins)
    return _let_go(shared)._replace(record=TOMBSTONE, logins=logins)


def _saved(shared: Shared, pair: int) -> tuple[str, ...]:
    """A logout is undone by a kimi-code that waited; ours is final only while its empty record lies there."""
    login = shared.logins[shared.pairs[pair].login]
    if login & SIGNED_OUT:
        return ("I6",) if shared.record == ABSENT and not login & MEDDLED else (f"{APART}I6",)
    is_older = shared.record >= 0 and shared.pairs[shared.record].login > shared.pairs[pair].login
    return (f"{APART}I5",) if is_older or shared.record > pair else ()


def _buried(shared: Shared, pair: int) -> tuple[str, ...]:
    if shared.logins[shared.pairs[pair].login] & SIGNED_OUT:
        return (f"{APART}I6",)
    return (f"{APART}I5",) if shared.record >= 0 and shared.record != pair else ()


KIMI_CODE = StoreModel(hooks={**HOOKS, **OVER}, release=let_go, moves=moved)
