"""Ablations: the protocol with one part left out. Each edits the machines or replaces one hook.

A checker that finds nothing proves little. The ablations show that the checker finds the faults that each part
prevents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kimi_auth.machine import Library, Machine
from kimi_auth.proof.explore import SETTLES, TERMINATES, Report, explore

from . import environment
from .effects import (
    DECLARED,
    HOLDS,
    INSTALLED,
    OWES_SERVING,
    UNSAVED,
    Config,
    Effect,
    closed,
    given_up,
    installed,
    is_incomplete,
    lock_bit,
    pair_at,
    swept,
    with_pair,
)
from .hooks_inside import Hook, claim, commit, exchange, renew_claim, reread, stage
from .hooks_outside import HOOKS, can_still_use, hold_credential, inspect
from .state import ABSENT, CLOSED, EMPTY, EXPIRED, NO_CLAIM, NOTHING, Process, Shared, idle
from .verdicts import Data
from .world import Cancel, Leave, World
from .worlds import HOSTS, QUIET, SMALL, UNSURE, WAITERS

__all__ = ["ABLATIONS", "Ablation", "leave_out", "without", "world_without"]

Editable = dict[str, Any]


@dataclass(frozen=True)
class Ablation:
    """Leaves out `part`: by `edit` of the machines' data, by other `hooks`, or by another `cancel` or `leave`, in the
    world `config`. `breaks`: the rules that the checker must see broken; empty where the other parts compensate."""

    part: str
    breaks: frozenset[str]
    config: Config = SMALL
    edit: Callable[[Editable], None] | None = None
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    cancel: Cancel = environment.cancelled
    leave: Leave = closed


def without(ablation: Ablation, machines: Library, *, limit: int = 2_000_000) -> Report:
    """Explores the world without that part."""
    world = world_without(ablation, machines)
    lively = bool(ablation.breaks & {SETTLES, TERMINATES}) or not ablation.breaks
    return explore(world, limit=limit, liveness=lively, seek=None if lively else ablation.breaks)


def world_without(ablation: Ablation, machines: Library) -> World:
    """The world without that part."""
    edited: Mapping[str, Machine] = machines
    if ablation.edit:
        data = machines.data()
        ablation.edit(data)
        edited = Library.from_data(data)
    return World(
        edited, ablation.config, hooks={**HOOKS, **ablation.hooks}, cancel=ablation.cancel, leave=ablation.leave
    )


def leave_out(data: Data, number: int) -> Report:
    """`without` for ablation `number`. Takes the machines as plain data, so that a worker process can run it."""
    return without(ABLATIONS[number], Library.from_data(data))


# --- hooks with a part left out ---------------------------------------------------------------------------------------


def _always(outcome: str) -> Hook:
    """A hook that does nothing and has this outcome."""
    return lambda config, shared, process: [Effect(outcome, shared, process)]


def _instead(hook: Hook, usual: str, **changes: Any) -> Hook:
    """`hook`, whose effects with the outcome `usual` get these `changes`."""

    def changed(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
        for effect in hook(config, shared, process):
            yield effect._replace(**changes) if effect.outcome == usual else effect

    return changed


def _committed(config: Config, shared: Shared, process: Process, number: int) -> Iterable[Effect]:
    """Pair `number` becomes the record, without a comparison."""
    after, broken = installed(config, shared, number)
    after = swept(config, after, number)._replace(held=0)
    did = process._replace(record=number, marks=process.marks | OWES_SERVING | INSTALLED)
    return [Effect("committed", after, did, broken=broken)]


def _unlocked_after_some_tries(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    for effect in hold_credential(config, shared, process):
        yield effect
        if effect.outcome == "busy":
            yield effect._replace(outcome="acquired", note="goes on without the lock")


def _from_memory(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if process.record < 0:
        return reread(config, shared, process)
    return [Effect("renewable", shared, process, "trusts what it read before")]


def _the_lock_is_proof(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    for effect in claim(config, shared, process):
        if effect.outcome == "in_flight":
            marks = effect.process.marks | DECLARED
            yield effect._replace(outcome="interrupted", process=effect.process._replace(marks=marks))
        else:
            yield effect


def _takes_over_blindly(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    return renew_claim(config._replace(exclusive=False), shared, process)


def _sweeps_all_others(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if process.record >= 0:
        shared = swept(config, shared, process.record, spares=False)
    return claim(config, shared, process)


def _closes_any(config: Config, shared: Shared, process: Process) -> Shared:
    if is_incomplete(pair_at(shared, process.record)):
        return with_pair(shared, process.record, owner=CLOSED, met=())
    return shared


def _closes_none(config: Config, shared: Shared, process: Process) -> Shared:
    return shared


def _lets_the_lock_go(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.full and process.marks & HOLDS:
        free = shared._replace(locks=shared.locks & ~lock_bit(config, process))
        return [Effect(None, free, process._replace(marks=process.marks & ~HOLDS), "lets the lock go, and tries on")]
    return stage(config, shared, process)


def _newest_orphan(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    for pair in reversed(shared.pairs):
        if pair.staged >= 0:
            return [
                Effect("staged", shared, process._replace(claim="staged", pair=pair.staged), "takes the newest orphan")
            ]
    if pair_at(shared, process.record).owner == NO_CLAIM:
        kept = [(pair.owner, pair.staged, pair.met) for pair in shared.pairs]
        effects = []
        for effect in claim(config, shared, process):
            pairs = tuple(
                pair
                if at == process.record or at >= len(kept)
                else pair._replace(owner=kept[at][0], staged=kept[at][1], met=kept[at][2])
                for at, pair in enumerate(effect.shared.pairs)
            )
            effects.append(effect._replace(shared=effect.shared._replace(pairs=pairs)))
        return effects
    return claim(config, shared, process)


def _install_any(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.record in (EMPTY, ABSENT) and process.claim != "staged":
        return commit(config, shared, process)
    return _committed(config, shared, process, process.pair)


def _put_beside_orphans(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.locks & 1 << process.host:
        return []
    after, broken = installed(config, shared, process.pair)
    return [Effect("stored", after, process._replace(pair=NOTHING), broken=broken)]


def _put_unlocked(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if process.pair >= 0:
        after, broken = installed(config, shared, process.pair)
        return [
            Effect(
                None, after, process._replace(pair=NOTHING), "renames the new login in, without the lock", broken=broken
            )
        ]
    return [Effect("stored", swept(config, shared, shared.record), process)]


def _sidecars_of_the_record(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    return [Effect("cleared", swept(config, shared, NOTHING, spares=False), process)]


def _clears_any_claim(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    return [Effect("withdrawn", with_pair(shared, process.record, owner=NO_CLAIM, staged=NOTHING, met=()), process)]


def _no_compare(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    staged = pair_at(shared, process.record).staged if process.record >= 0 else NOTHING
    if staged < 0:
        return [Effect("unwritable", shared, process)]
    return _committed(config, shared, process, staged)


def _withheld(hook: Hook) -> Hook:
    """`hook`, which mistakes a record with a rejected bearer for an expired one."""

    def judging(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
        rejected = shared.record >= 0 and shared.pairs[shared.record].rejected
        seen = with_pair(shared, shared.record, phase=EXPIRED) if rejected else shared
        return [effect._replace(shared=shared) for effect in hook(config, seen, process)]

    return judging


def _torn(config: Config, shared: Shared, process: Process, activity: str) -> Effect | None:
    broken = ("I2",) if process.marks & UNSAVED else ()
    torn = closed(config, given_up(config, shared, process), process)
    return Effect("", torn, idle(process), "is cancelled in the middle", broken=broken)


# --- machines with a part left out ------------------------------------------------------------------------------------


def _edges(machine: str, *drop: str, **on: str) -> Callable[[Editable], None]:
    """Retargets edges, written state__outcome = target, and drops the states that become unreachable."""

    def edit(data: Editable) -> None:
        states = data[machine]["states"]
        for edge, target in on.items():
            state, outcome = edge.split("__")
            states[state]["on"][outcome] = target
        for state in drop:
            del states[state]

    return edit


def _sidecars_first(data: Editable) -> None:
    machine = data["sign_out"]
    machine["initial"] = "clearing"
    machine["states"]["clearing"]["on"]["cleared"] = "emptying"
    machine["states"]["emptying"]["on"]["nothing"] = "signed_out"
    for outcome in machine["states"]["revoking"]["on"]:
        machine["states"]["revoking"]["on"][outcome] = "signed_out"


UNLOCKED = SMALL._replace(unlocked_writers=True)

ABLATIONS: tuple[Ablation, ...] = (
    # A claim becomes recoverable only when its owner dies or closes it. So no login is lost without the lock, nor by a
    # stale read under it: the first ablation can break only the lock discipline, the second only I8.
    Ablation(
        "never without the lock",
        frozenset({"lock discipline"}),
        QUIET._replace(unlocked_writers=True),
        hooks={"hold_credential": _unlocked_after_some_tries},
    ),
    Ablation("re-read under the lock", frozenset({"I8"}), QUIET._replace(memory=True), hooks={"reread": _from_memory}),
    Ablation(
        "the claim",
        frozenset({"I1", "I7"}),
        QUIET,
        hooks={"claim": _always("claimed"), "renew_claim": _always("claimed")},
    ),
    Ablation(
        "a lock is no proof that an owner is dead",
        frozenset({"I7"}),
        UNSURE,
        hooks={"claim": _the_lock_is_proof, "renew_claim": _takes_over_blindly},
    ),
    Ablation("one process takes a claim over", frozenset({"I7"}), UNSURE, hooks={"renew_claim": _takes_over_blindly}),
    Ablation("closing by nonce", frozenset({"I7"}), UNSURE, leave=_closes_any),
    Ablation("closing the claim with the lock", frozenset({"claims are closed"}), QUIET, leave=_closes_none),
    Ablation("sweeping spares the record's sidecars", frozenset({"I1"}), UNSURE, hooks={"claim": _sweeps_all_others}),
    Ablation(
        "renewing the claim before recovery sends",
        frozenset({"I7"}),
        HOSTS,
        edit=_edges("token_refresh", "reclaiming", claiming__interrupted="looking_again"),
    ),
    Ablation(
        "keeping the lock while the pair is unsaved",
        frozenset({"lock discipline"}),
        QUIET._replace(full_disk=True),
        hooks={"stage": _lets_the_lock_go},
    ),
    Ablation(
        "binding the claim to the pair",
        frozenset({"I5", "I6"}),
        SMALL._replace(orphans=True),
        hooks={"claim": _newest_orphan, "commit": _install_any, "store_credential": _put_beside_orphans},
    ),
    Ablation(
        "the second look after claiming",
        frozenset({"I1", "I7"}),
        HOSTS,
        edit=_edges(
            "token_refresh",
            "looking_again",
            "withdrawing",
            claiming__claimed="exchanging",
            reclaiming__claimed="exchanging",
        ),
    ),
    Ablation(
        "credential first, sidecars after, at logout",
        frozenset({"I1"}),
        edit=_sidecars_first,
        hooks={"clear_sidecars": _sidecars_of_the_record},
    ),
    Ablation("protection from cancellation", frozenset({"I2"}), cancel=_torn),
    Ablation(
        "logout under the lock", frozenset({"I6"}), UNLOCKED, hooks={"hold_credential_to_sign_out": _always("acquired")}
    ),
    Ablation("login under the lock", frozenset({"I5"}), UNLOCKED, hooks={"store_credential": _put_unlocked}),
    Ablation("rejection on disk", frozenset({SETTLES}), QUIET, hooks={"record_revoked": _always("recorded")}),
    Ablation(
        "only an OAuth error is a rejection",
        frozenset({"I4"}),
        hooks={"exchange": _instead(exchange, "unrecognized", outcome="revoked")},
    ),
    Ablation(
        "no retry in line without a declared recovery",
        frozenset({"I1"}),
        hooks={"exchange": _instead(exchange, "in_doubt", outcome=None, note="no answer: tries again")},
    ),
    Ablation("not sent never clears an older claim", frozenset({"I1"}), hooks={"withdraw_claim": _clears_any_claim}),
    Ablation(
        "directories are synchronised",
        frozenset({"I1", "I6"}),
        QUIET._replace(processes=1, logouts=1, power=True, synchronous=False),
    ),
    Ablation(
        "a rejected bearer is handed out to others",
        frozenset({"I4b"}),
        QUIET._replace(processes=1),
        hooks={"inspect": _withheld(inspect), "can_still_use": _withheld(can_still_use)},
    ),
    Ablation(
        "waiters wait out a backoff",
        frozenset({"I10"}),
        WAITERS,
        edit=_edges(
            "token_lifecycle", "backing_off", refreshing__postponed="falling_back", refreshing__in_doubt="falling_back"
        ),
    ),
    Ablation("compare before write", frozenset(), SMALL._replace(logins=0), hooks={"commit": _no_compare}),
)
