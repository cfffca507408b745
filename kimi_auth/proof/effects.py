"""Building blocks of the simulated hooks: what they ask of the world, and their effects on the credential, its lock and its claims."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .state import CLOSED, EXPIRED, FRESH, FRESH_PAIR, GONE, NO_CLAIM, NOTHING, SIGNED_OUT, Pair, Process, Shared

__all__ = ["Config", "Effect", "Policy"]

Policy = Literal["strict", "lenient", "grace", "none"]
"""The effect of a spent refresh token: it ends the login, is refused, works for a while longer, or does not exist."""

# Events of a walk, as bits of Process.marks.
DECLARED, SPENT_IT, UNSAVED, INSTALLED, HOLDS = 1, 2, 4, 8, 16
OWES_SERVING, OWES_CONFIG, OWES_RETRY, SAW_ABSENT = 32, 64, 128, 256
AWAITS_BACKOFF, AWAITS_CLAIM, RECOVERS, MUST_HAVE, OWNS = 512, 1024, 2048, 4096, 8192
AWAITS = AWAITS_BACKOFF | AWAITS_CLAIM | RECOVERS
BEYOND_THE_LOCK = OWES_SERVING | OWES_CONFIG | OWES_RETRY | INSTALLED | AWAITS | MUST_HAVE

FIRST_SENDING, SENDING_AGAIN, COMPARED = 1, 2, 3
"""Process.stage while a request is in flight: the first one for its pair, or a repeated one. COMPARED: before a
rename."""


class Config(NamedTuple):
    """One world. `shared_lock`: the processes run on one host and take one lock; otherwise each runs on its own host
    and takes its own lock. `lock`: a "broken" lock excludes only some of the time. `hidden`: the death of a claim's
    owner cannot always be detected, because its process may run in another container.

    `any_need`: some callers want another pair than the stored one. `power`: power cuts. `spoils`: how often the record
    may be corrupted, or turn out to belong to another issuer. `gives_up`: one-shot processes, which stop trying to
    save after a while. `unlocked_writers`: another program may write between two steps of an activity, so the model
    takes these steps one by one. `all_answers`: the model also tries outcomes that lead to the same state as another
    outcome. `synchronous`: directories are synchronised. `orphans`: claims on pairs other than the record matter.
    `memory`: the values read before the lock was taken matter. `exclusive`: of two processes that take over one claim,
    only one succeeds. `old_program`: a program without lock and claim signs in and out and renews beside ours; the
    rules do not cover the damage that it does. `waits`: a walk waits for a backoff and for the claim of another owner
    without limit; otherwise it gives up at once unless the wait is over, and the model represents a longer wait as a
    caller that begins again. `waiters`: every process needs a token now and is ready to wait for it, and one transient
    error is the only fault. `rejections`: the API may reject a bearer.

    `store`: where the credential rests: in files, in files that a kimi-code writes too (`kimi_code`), or in a store with
    sessions (`sessions`), whose processes run on so many `hosts`; `upsets`: how often that store may stop or be cut off;
    `goes_back`: it may forget its newest commit. `lacks`: the part of the protocol that an ablation leaves out there.
    """

    processes: int = 2
    policy: Policy = "strict"
    shared_lock: bool = True
    lock: Literal["works", "broken"] = "works"
    logins: int = 1
    logouts: int = 1
    spoils: int = 0
    any_need: bool = True
    power: bool = False
    full_disk: bool = True
    gives_up: bool = False
    unlocked_writers: bool = False
    all_answers: bool = True
    synchronous: bool = True
    orphans: bool = False
    memory: bool = False
    exclusive: bool = True
    old_program: bool = False
    waits: bool = False
    waiters: bool = False
    hidden: bool = False
    store: Literal["files", "kimi-code", "sessions"] = "files"
    hosts: int = 2
    rejections: bool = True
    upsets: int = 0
    goes_back: bool = False
    lacks: str = ""

    @property
    def excludes(self) -> bool:
        """True if one lock excludes all processes from each other."""
        return self.shared_lock and self.lock == "works"


class Effect(NamedTuple):
    """One way in which an activity, or one step of it, can go. `outcome` None: the activity continues."""

    outcome: str | None
    shared: Shared
    process: Process
    note: str = ""
    hurt: bool = False
    broken: tuple[str, ...] = ()


# --- the record and its sidecars ----------------------------------------------------------------------------------------


def pair_at(shared: Shared, number: int) -> Pair:
    """The pair with that number. A broken machine may ask for one that does not exist: it gets a fresh pair."""
    return shared.pairs[number] if number >= 0 else FRESH_PAIR


def with_pair(shared: Shared, number: int, **changes: object) -> Shared:
    """`shared` with changes in one pair."""
    if number < 0:
        return shared
    pairs = list(shared.pairs)
    pairs[number] = pairs[number]._replace(**changes)  # type: ignore[arg-type]
    return shared._replace(pairs=tuple(pairs))


def remembering(config: Config, shared: Shared) -> Shared:
    """Call this before a directory entry changes: where directories are not synchronised, a power cut restores the old
    entries."""
    if config.synchronous or shared.lasting:
        return shared
    claims = tuple((pair.owner, pair.staged, pair.met) for pair in shared.pairs)
    return shared._replace(lasting=(shared.record, claims))


def without_claim(config: Config, shared: Shared, number: int) -> Shared:
    """Removes the claim on that pair, unless the disk is full."""
    if shared.full or pair_at(shared, number).owner == NO_CLAIM:
        return shared
    return with_pair(remembering(config, shared), number, owner=NO_CLAIM, staged=NOTHING, met=())


def swept(config: Config, shared: Shared, number: int, *, spares: bool = True) -> Shared:
    """Removes everything bound to pairs other than `number`; with `spares`, keeps everything bound to the record
    too."""
    if shared.full:
        return shared
    shared = remembering(config, shared)
    kept = (number, shared.record) if spares else (number,)
    pairs = tuple(
        pair if at in kept else pair._replace(owner=NO_CLAIM, staged=NOTHING, met=(), revoked=0)
        for at, pair in enumerate(shared.pairs)
    )
    return shared._replace(pairs=pairs)


def installed(config: Config, shared: Shared, number: int) -> tuple[Shared, tuple[str, ...]]:
    """Pair `number` becomes the record. Returns the world and the rules that this breaks."""
    broken: tuple[str, ...] = ()
    new = shared.pairs[number]
    if shared.record >= 0:
        old = shared.pairs[shared.record]
        if (old.login, shared.record) > (new.login, number):
            broken += ("I5",)
    if shared.logins[new.login] & SIGNED_OUT:
        broken += ("I6",)
    return remembering(config, shared)._replace(record=number), broken


def without_backoff(shared: Shared, *, forced: int = 0) -> Shared:
    """The effect that resets the shared backoff: nothing in the simulated world delays the next attempt."""
    pairs = tuple(pair._replace(unrecognized=0, rejected=0) for pair in shared.pairs)
    return shared._replace(pairs=pairs, held=0, forced=forced)


# --- queries ----------------------------------------------------------------------------------------------------------


def is_incomplete(pair: Pair) -> bool:
    """True if a simulated hook finds no staged answer in this claim."""
    return pair.owner != NO_CLAIM and pair.staged < 0


def works(shared: Shared, number: int) -> bool:
    """True if a simulated hook finds the access token of that pair still valid in the world."""
    return number >= 0 and shared.pairs[number].phase != EXPIRED


def is_fresh(shared: Shared) -> bool:
    """True if a simulated hook finds a fresh pair as the record of the world."""
    return shared.record >= 0 and shared.pairs[shared.record].phase == FRESH


def is_forced(shared: Shared, process: Process, number: int) -> bool:
    """True if a simulated hook finds the renewal of that pair due only because of a rejected bearer."""
    return process.need == "not_bearer" and process.bearer == number and works(shared, number)


def can_wait(shared: Shared, process: Process) -> bool:
    """True if a simulated hook finds that the pair that was read works, and its caller does not want another one."""
    return works(shared, process.record) and not (process.need and process.bearer == process.record)


def claim_is_over(config: Config, shared: Shared, process: Process) -> bool:
    """True if a caller that waits in a simulated hook sees a staged answer, a closed claim, or 75 s of its owner's silence."""
    pair = shared.pairs[process.record]
    if not is_incomplete(pair) or pair.owner == CLOSED:
        return True
    return pair.owner == GONE and pair.met[boot_of(config, process)] == 2


def owns(shared: Shared, process: Process) -> bool:
    """True if this walk made the claim on the pair that it read. The model has no nonces: a process would mistake a
    later claim by another process of the same host for its own, and the checker would report the effect."""
    return bool(process.marks & OWNS) and pair_at(shared, process.record).owner == process.host


def has_open_claim(shared: Shared, process: Process) -> bool:
    """True if the walk of this simulated hook made the claim on the pair that it read, and has staged no answer."""
    return owns(shared, process) and is_incomplete(pair_at(shared, process.record))


# --- the lock, and claims ---------------------------------------------------------------------------------------------


def unmet(config: Config) -> tuple[int, ...]:
    """`Pair.met` after an effect on a claim that no boot of the world has met."""
    return tuple(0 for _ in range(1 if config.shared_lock else config.processes))


def boot_of(config: Config, process: Process) -> int:
    """The index at which a simulated hook finds the digit of its process's boot in a claim's `Pair.met`."""
    return 0 if config.shared_lock else process.host - 1


def lock_bit(config: Config, process: Process) -> int:
    """The lock that a simulated hook takes for this process. 0 where the lock excludes only some of the time: then the
    model cannot rely on it."""
    if config.lock == "broken":
        return 0
    return 2 if config.shared_lock else 1 << process.host


def claimed(config: Config, shared: Shared, process: Process) -> tuple[Shared, Process]:
    """The effect of a new claim, which this walk makes on the pair that it read."""
    shared = remembering(config, shared)
    shared = with_pair(shared, process.record, owner=process.host, staged=NOTHING, met=unmet(config))
    return shared, process._replace(marks=process.marks | OWNS)


def closed(config: Config, shared: Shared, process: Process) -> Shared:
    """The effect of leaving the lock: the walk closes its own claim, and no other."""
    return with_pair(shared, process.record, owner=CLOSED, met=()) if has_open_claim(shared, process) else shared


def orphaned(config: Config, shared: Shared, process: Process) -> Shared:
    """The effect of a process's death: its claim stays, and other processes may or may not detect that its owner is dead."""
    if not (config.hidden or config.power):
        return closed(config, shared, process)
    return with_pair(shared, process.record, owner=GONE) if has_open_claim(shared, process) else shared
