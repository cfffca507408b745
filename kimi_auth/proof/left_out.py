"""Hooks and machines with a part left out, from which the ablations are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .effects import (
    DECLARED,
    HOLDS,
    INSTALLED,
    OWES_SERVING,
    UNSAVED,
    Config,
    Effect,
    closed,
    installed,
    is_incomplete,
    lock_bit,
    orphaned,
    pair_at,
    swept,
    with_pair,
)
from .hooks_inside import Hook, claim, commit, renew_claim, reread, stage
from .hooks_outside import hold_credential
from .server import given_up
from .state import ABSENT, CLOSED, EMPTY, EXPIRED, NO_CLAIM, NOTHING, Process, Shared, idle

Editable = dict[str, Any]
"""The machines' data, open to an edit."""


# --- hooks with a part left out ---------------------------------------------------------------------------------------


def always(outcome: str) -> Hook:
    """A hook with everything left out: it does nothing and has this outcome."""
    return lambda config, shared, process: [Effect(outcome, shared, process)]


def instead(hook: Hook, usual: str, **changes: Any) -> Hook:
    """`hook` with a part left out: its effects with the outcome `usual` get these `changes`."""

    def changed(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
        for effect in hook(config, shared, process):
            yield effect._replace(**changes) if effect.outcome == usual else effect

    return changed


def committed(config: Config, shared: Shared, process: Process, number: int) -> Iterable[Effect]:
    """Commits with the comparison left out: pair `number` becomes the record."""
    after, broken = installed(config, shared, number)
    after = swept(config, after, number)._replace(held=0)
    did = process._replace(record=number, marks=process.marks | OWES_SERVING | INSTALLED)
    return [Effect("committed", after, did, broken=broken)]


def unlocked_after_some_tries(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    for effect in hold_credential(config, shared, process):
        yield effect
        if effect.outcome == "busy":
            yield effect._replace(outcome="acquired", note="goes on without the lock")


def from_memory(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if process.record < 0:
        return reread(config, shared, process)
    return [Effect("renewable", shared, process, "trusts what it read before")]


def the_lock_is_proof(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    for effect in claim(config, shared, process):
        if effect.outcome == "in_flight":
            marks = effect.process.marks | DECLARED
            yield effect._replace(outcome="interrupted", process=effect.process._replace(marks=marks))
        else:
            yield effect


def takes_over_blindly(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    return renew_claim(config._replace(exclusive=False), shared, process)


def sweeps_all_others(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if process.record >= 0:
        shared = swept(config, shared, process.record, spares=False)
    return claim(config, shared, process)


def closes_any(config: Config, shared: Shared, process: Process) -> Shared:
    if is_incomplete(pair_at(shared, process.record)):
        return with_pair(shared, process.record, owner=CLOSED, met=())
    return shared


def closes_none(config: Config, shared: Shared, process: Process) -> Shared:
    return shared


def lets_the_lock_go(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.full and process.marks & HOLDS:
        free = shared._replace(locks=shared.locks & ~lock_bit(config, process))
        return [Effect(None, free, process._replace(marks=process.marks & ~HOLDS), "lets the lock go, and tries on")]
    return stage(config, shared, process)


def newest_orphan(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    for pair in reversed(shared.pairs):
        if pair.staged >= 0:
            taken = process._replace(claim="staged", pair=pair.staged)
            return [Effect("staged", shared, taken, "takes the newest orphan")]
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


def install_any(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.record in (EMPTY, ABSENT) and process.claim != "staged":
        return commit(config, shared, process)
    return committed(config, shared, process, process.pair)


def put_beside_orphans(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if shared.locks & 1 << process.host:
        return []
    after, broken = installed(config, shared, process.pair)
    return [Effect("stored", after, process._replace(pair=NOTHING), broken=broken)]


def put_unlocked(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    if process.pair >= 0:
        after, broken = installed(config, shared, process.pair)
        text = "renames the new login in, without the lock"
        return [Effect(None, after, process._replace(pair=NOTHING), text, broken=broken)]
    return [Effect("stored", swept(config, shared, shared.record), process)]


def sidecars_of_the_record(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    return [Effect("cleared", swept(config, shared, NOTHING, spares=False), process)]


def clears_any_claim(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    return [Effect("withdrawn", with_pair(shared, process.record, owner=NO_CLAIM, staged=NOTHING, met=()), process)]


def no_compare(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    staged = pair_at(shared, process.record).staged if process.record >= 0 else NOTHING
    if staged < 0:
        return [Effect("unwritable", shared, process)]
    return committed(config, shared, process, staged)


def withheld(hook: Hook) -> Hook:
    """`hook` with a part left out: it mistakes a record with a rejected bearer for an expired one."""

    def judging(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
        rejected = shared.record >= 0 and shared.pairs[shared.record].rejected
        seen = with_pair(shared, shared.record, phase=EXPIRED) if rejected else shared
        return [effect._replace(shared=shared) for effect in hook(config, seen, process)]

    return judging


def torn(config: Config, shared: Shared, process: Process, activity: str) -> Effect | None:
    broken = ("I2",) if process.marks & UNSAVED else ()
    torn = closed(config, given_up(config, shared, process), process)
    return Effect("", torn, idle(process), "is cancelled in the middle", broken=broken)


def ends_at_a_signal(config: Config, shared: Shared, process: Process, activity: str) -> Effect | None:
    """The default action of a signal (SIGTERM, SIGHUP or SIGINT) with deferring left out, while the process holds an
    answer that is not on disk."""
    if not process.marks & UNSAVED:
        return None
    dead = orphaned(config, given_up(config, shared, process), process)
    return Effect("", dead, idle(process), "is ended by a signal before the pair is staged", broken=("I2",))


# --- machines with a part left out ------------------------------------------------------------------------------------


def edges(machine: str, *drop: str, **on: str) -> Callable[[Editable], None]:
    """Leaves out a part of a machine: retargets edges, written state__outcome = target, and drops the states that
    become unreachable."""

    def edit(data: Editable) -> None:
        states = data[machine]["states"]
        for edge, target in on.items():
            state, outcome = edge.split("__")
            states[state]["on"][outcome] = target
        for state in drop:
            del states[state]

    return edit


def sidecars_first(data: Editable) -> None:
    machine = data["sign_out"]
    machine["initial"] = "clearing"
    machine["states"]["clearing"]["on"]["cleared"] = "emptying"
    machine["states"]["emptying"]["on"]["nothing"] = "signed_out"
    for outcome in machine["states"]["revoking"]["on"]:
        machine["states"]["revoking"]["on"][outcome] = "signed_out"
