"""What the simulated hooks are made of: effects, and the acts on credential, claims and server that several hooks share."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .state import (
    ALIVE,
    CLOSED,
    EXPIRED,
    FRESH,
    FRESH_PAIR,
    GONE,
    GOOD,
    MEDDLED,
    NO_CLAIM,
    NOTHING,
    SIGNED_OUT,
    SPENT,
    SPENT_LATELY,
    Pair,
    Process,
    Shared,
)

__all__ = ["Config", "Effect", "Policy"]

Policy = Literal["strict", "lenient", "grace", "none"]
"""What a spent refresh token does: ends the login, is refused, still works for a while, or does not exist."""

# What happened in a walk, as bits of Process.marks.
DECLARED, SPENT_IT, UNSAVED, INSTALLED, HOLDS = 1, 2, 4, 8, 16
OWES_SERVING, OWES_CONFIG, OWES_RETRY, SAW_NOBODY = 32, 64, 128, 256
AWAITS_PACE, AWAITS_CLAIM, RECOVERS, MUST_HAVE, OWNS = 512, 1024, 2048, 4096, 8192
AWAITS = AWAITS_PACE | AWAITS_CLAIM | RECOVERS
BEYOND_THE_LOCK = OWES_SERVING | OWES_CONFIG | OWES_RETRY | INSTALLED | AWAITS | MUST_HAVE


class Config(NamedTuple):
    """Which world. `shared_lock`: the processes are on one host and take one lock; otherwise each is on a host of its own
    and no lock reaches from one to the other. `lock`: "broken" is one that excludes at some moments only. `hidden`: it cannot
    always be told that the owner of a claim is dead: its process may be in another container.

    `any_need`: also callers that want another pair than the one stored. `power`: power cuts. `spoils`: how often the
    record may be spoiled, or turn out to be of another issuer. `gives_up`: one-shot processes, which stop trying to save after a while. `unlocked_writers`:
    somebody may write between two steps of an activity, so these are taken one by one. `all_answers`: outcomes that lead
    to the same state as another one are tried as well. `synchronous`: directories are synchronised. `orphans`:
    claims on pairs that are not the record matter. `memory`: so does what was read before the lock was taken.
    `exclusive`: of two that take over one claim only one succeeds. `old_program`: one that
    knows nothing of lock and claim signs in and out and renews beside us; what it breaks is its own affair.
    `waits`: a backoff and the claim of another owner are waited for, for any length of time; otherwise such a wait is given up
    at once unless it is over, and who waits longer is there as a caller that begins again.
    `waiters`: every process needs a token now and has the patience for it, and one transient fault is all that goes wrong.
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

    @property
    def excludes(self) -> bool:
        """A lock keeps all of them apart."""
        return self.shared_lock and self.lock == "works"


class Effect(NamedTuple):
    """One way in which an activity, or a step of it, can go. `outcome` None: the activity goes on."""

    outcome: str | None
    shared: Shared
    process: Process
    note: str = ""
    hurt: bool = False
    broken: tuple[str, ...] = ()


# --- the record and what is bound to it ----------------------------------------------------------------------------------


def pair_at(shared: Shared, number: int) -> Pair:
    """The pair with that number; a pair that nobody knows where there is none, as a broken machine may ask."""
    return shared.pairs[number] if number >= 0 else FRESH_PAIR


def with_pair(shared: Shared, number: int, **changes: object) -> Shared:
    """`shared` with changes in one pair."""
    if number < 0:
        return shared
    pairs = list(shared.pairs)
    pairs[number] = pairs[number]._replace(**changes)  # type: ignore[arg-type]
    return shared._replace(pairs=tuple(pairs))


def remembering(config: Config, shared: Shared) -> Shared:
    """To be called before an entry of the directory changes: where directories are not synchronised, a power cut brings
    the old ones back."""
    if config.synchronous or shared.lasting:
        return shared
    claims = tuple((pair.owner, pair.staged, pair.met) for pair in shared.pairs)
    return shared._replace(lasting=(shared.record, claims))


def without_claim(config: Config, shared: Shared, number: int) -> Shared:
    """The claim on that pair is removed, if the disk lets it."""
    if shared.full or pair_at(shared, number).owner == NO_CLAIM:
        return shared
    return with_pair(remembering(config, shared), number, owner=NO_CLAIM, staged=NOTHING, met=())


def swept(config: Config, shared: Shared, number: int, *, spares: bool = True) -> Shared:
    """What is bound to other pairs than that one is removed; with `spares`, not what is bound to the record either."""
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
    """Pair `number` becomes the record; with it, the rules that this breaks."""
    broken: tuple[str, ...] = ()
    new = shared.pairs[number]
    if shared.record >= 0:
        old = shared.pairs[shared.record]
        if (old.login, shared.record) > (new.login, number):
            broken += ("I5",)
    if shared.logins[new.login] & SIGNED_OUT:
        broken += ("I6",)
    return remembering(config, shared)._replace(record=number), broken


def unpaced(shared: Shared, *, forced: int = 0) -> Shared:
    """The shared backoff is written anew: nothing stands in the way any more."""
    pairs = tuple(pair._replace(unrecognized=0, rejected=0) for pair in shared.pairs)
    return shared._replace(pairs=pairs, held=0, forced=forced)


# --- judging -------------------------------------------------------------------------------------------------------------


def is_incomplete(pair: Pair) -> bool:
    """A claim lies there that holds no answer."""
    return pair.owner != NO_CLAIM and pair.staged < 0


def works(shared: Shared, number: int) -> bool:
    """The access token of that pair can be used."""
    return number >= 0 and shared.pairs[number].phase != EXPIRED


def is_fresh(shared: Shared) -> bool:
    """The record is a pair that is fresh."""
    return shared.record >= 0 and shared.pairs[shared.record].phase == FRESH


def is_forced(shared: Shared, process: Process, number: int) -> bool:
    """A renewal of that pair is due only because its bearer was rejected."""
    return process.need == "not_bearer" and process.bearer == number and works(shared, number)


def can_wait(shared: Shared, process: Process) -> bool:
    """The pair that was read serves this caller: it works, and no other one is asked for."""
    return works(shared, process.record) and not (process.need and process.bearer == process.record)


def claim_is_over(config: Config, shared: Shared, process: Process) -> bool:
    """A caller that waits for the owner of a claim sees that it has answered or closed it, or was silent for 75 s."""
    pair = shared.pairs[process.record]
    if not is_incomplete(pair) or pair.owner == CLOSED:
        return True
    return pair.owner == GONE and pair.met[boot_of(config, process)] == 2


def owns(shared: Shared, process: Process) -> bool:
    """The claim on the pair that was read is the one that this walk has made. The model has no nonces: a claim that another
    process of the same host had made since would be taken for this one's own, and what is done to it would be seen."""
    return bool(process.marks & OWNS) and pair_at(shared, process.record).owner == process.host


# --- the server ----------------------------------------------------------------------------------------------------------


def served(config: Config, shared: Shared, number: int, *, has_reader: bool) -> tuple[Shared, int, tuple[str, ...]]:
    """The server gets the refresh token of pair `number`: what it makes of it, the pair it gives (NOTHING: a refusal),
    and the rules that this breaks."""
    pair = shared.pairs[number]
    if not shared.logins[pair.login] & ALIVE:
        return with_pair(shared, number, denied=1), NOTHING, ()
    if pair.good == SPENT:
        shared = with_pair(shared, number, denied=1)
        if config.policy == "lenient":
            return shared, NOTHING, ()
        cost = has_reader and not shared.logins[pair.login] & (SIGNED_OUT | MEDDLED) and _is_held(shared, pair.login)
        return ended(shared, pair.login), NOTHING, ("I7",) if cost else ()
    if config.policy != "none":
        shared = with_pair(shared, number, good=SPENT_LATELY if config.policy == "grace" else SPENT)
    given = Pair(pair.login)
    return shared._replace(pairs=(*shared.pairs, given)), len(shared.pairs), ()


def _is_held(shared: Shared, login: int) -> bool:
    """Somebody holds a pair of that login that would still have worked: what nobody holds is forgotten."""
    return any(pair.login == login and pair.good == GOOD for pair in shared.pairs)


def ended(shared: Shared, login: int, *, signed_out: bool = False) -> Shared:
    """That login is over at the server, or signed out here."""
    logins = list(shared.logins)
    logins[login] = logins[login] | SIGNED_OUT if signed_out else logins[login] & ~ALIVE
    return shared._replace(logins=tuple(logins))


def given_up(config: Config, shared: Shared, process: Process) -> Shared:
    """A request of that process that is in flight has no reader any more, and may still arrive."""
    if process.stage in IN_FLIGHT and process.record >= 0:
        late = min(shared.pairs[process.record].late + 1, 2)
        return with_pair(shared, process.record, late=late)
    return shared


FIRST_SENDING, SENDING_AGAIN, COMPARED = 1, 2, 3
IN_FLIGHT = (FIRST_SENDING, SENDING_AGAIN)
"""Process.stage while a request is in flight: the first one for its pair, or another one; COMPARED: before a rename."""


def unmet(config: Config) -> tuple[int, ...]:
    """`Pair.met` of a claim that no boot has met."""
    return tuple(0 for _ in range(1 if config.shared_lock else config.processes))


def boot_of(config: Config, process: Process) -> int:
    """Whose digit in `Pair.met` is that process's."""
    return 0 if config.shared_lock else process.host - 1


def lock_bit(config: Config, process: Process) -> int:
    """The lock that this process takes; nothing that could be seen where it excludes at some moments only."""
    if config.lock == "broken":
        return 0
    return 2 if config.shared_lock else 1 << process.host


def claimed(config: Config, shared: Shared, process: Process) -> tuple[Shared, Process]:
    """A new claim on the pair that was read, by this walk."""
    after = with_pair(
        remembering(config, shared), process.record, owner=process.host, staged=NOTHING, met=unmet(config)
    )
    return after, process._replace(marks=process.marks | OWNS)


def closed(config: Config, shared: Shared, process: Process) -> Shared:
    """The walk leaves the lock: it closes the claim that it made, and no other."""
    if owns(shared, process) and is_incomplete(pair_at(shared, process.record)):
        return with_pair(shared, process.record, owner=CLOSED, met=())
    return shared


def orphaned(config: Config, shared: Shared, process: Process) -> Shared:
    """The process dies: its claim stays as it is, and it may or may not be noticed that its owner is dead."""
    if not (owns(shared, process) and is_incomplete(pair_at(shared, process.record))):
        return shared
    if config.hidden or config.power:
        return with_pair(shared, process.record, owner=GONE)
    return with_pair(shared, process.record, owner=CLOSED, met=())
