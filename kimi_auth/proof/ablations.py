"""Ablations: the protocol with one part left out. Each edits the machines or replaces one hook.

A checker that finds nothing proves little. The ablations show that the checker finds the faults that each part
prevents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kimi_auth.machine import Library
from kimi_auth.proof.explore import SETTLES, TERMINATES, Report, explore

from . import environment
from .effects import Config
from .hooks_inside import Hook, exchange
from .hooks_outside import can_still_use, inspect
from .left_out import (
    Editable,
    always,
    clears_any_claim,
    closes_any,
    closes_none,
    edges,
    ends_at_a_signal,
    from_memory,
    install_any,
    instead,
    lets_the_lock_go,
    newest_orphan,
    no_compare,
    put_beside_orphans,
    put_unlocked,
    sidecars_first,
    sidecars_of_the_record,
    sweeps_all_others,
    takes_over_blindly,
    the_lock_is_proof,
    torn,
    unlocked_after_some_tries,
    withheld,
)
from .stores import Leave
from .verdicts import Data
from .world import World
from .worlds import BESIDE, GONE_BACK, HOSTS, QUIET, SESSIONS, SMALL, UNSURE, WAITERS

__all__ = ["ABLATIONS", "Ablation", "leave_out", "machines_without", "without", "world_without"]


@dataclass(frozen=True)
class Ablation:
    """Leaves out `part`: by `edit` of the machines' data, by other `hooks`, or by another `cancel` or `leave`, in the
    world `config`, which may itself say what it `lacks`. `breaks`: the rules that the checker must see broken; empty where the other parts compensate."""

    part: str
    breaks: frozenset[str]
    config: Config = SMALL
    edit: Callable[[Editable], None] | None = None
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    cancel: environment.Cancel = environment.cancelled
    leave: Leave | None = None


def without(ablation: Ablation, machines: Library, *, limit: int = 2_000_000) -> Report:
    """Explores the world of the ablation, without its part."""
    world = world_without(ablation, machines)
    lively = bool(ablation.breaks & {SETTLES, TERMINATES}) or not ablation.breaks
    return explore(world, limit=limit, liveness=lively, seek=None if lively else ablation.breaks)


def world_without(ablation: Ablation, machines: Library) -> World:
    """The world without that part."""
    edited = machines_without(ablation, machines)
    return World(edited, ablation.config, hooks=ablation.hooks, cancel=ablation.cancel, leave=ablation.leave)


def machines_without(ablation: Ablation, machines: Library) -> Library:
    """The machines as the ablation edits them."""
    if not ablation.edit:
        return machines
    data = machines.data()
    ablation.edit(data)
    return Library.from_data(data)


def leave_out(data: Data, number: int) -> Report:
    """`without` for ablation `number`. Takes the machines as plain data, so that a worker process can run it."""
    return without(ABLATIONS[number], Library.from_data(data))


UNLOCKED = SMALL._replace(unlocked_writers=True)

ABLATIONS: tuple[Ablation, ...] = (
    # A claim becomes recoverable only when its owner dies or closes it. So no login is lost without the lock, nor by a
    # stale read under it: the first ablation can break only the lock discipline, the second only I8.
    Ablation(
        "never without the lock",
        frozenset({"lock discipline"}),
        QUIET._replace(unlocked_writers=True),
        hooks={"hold_credential": unlocked_after_some_tries},
    ),
    Ablation("re-read under the lock", frozenset({"I8"}), QUIET._replace(memory=True), hooks={"reread": from_memory}),
    Ablation(
        "the claim",
        frozenset({"I1", "I7"}),
        QUIET,
        hooks={"claim": always("claimed"), "renew_claim": always("claimed")},
    ),
    Ablation(
        "a lock is no proof that an owner is dead",
        frozenset({"I7"}),
        UNSURE,
        hooks={"claim": the_lock_is_proof, "renew_claim": takes_over_blindly},
    ),
    Ablation("one process takes a claim over", frozenset({"I7"}), UNSURE, hooks={"renew_claim": takes_over_blindly}),
    Ablation("closing by nonce", frozenset({"I7"}), UNSURE, leave=closes_any),
    Ablation("closing the claim with the lock", frozenset({"claims are closed"}), QUIET, leave=closes_none),
    Ablation("sweeping spares the record's sidecars", frozenset({"I1"}), UNSURE, hooks={"claim": sweeps_all_others}),
    Ablation(
        "renewing the claim before recovery sends",
        frozenset({"I7"}),
        HOSTS,
        edit=edges("token_refresh", "reclaiming", claiming__interrupted="looking_again"),
    ),
    Ablation(
        "keeping the lock while the pair is unsaved",
        frozenset({"lock discipline"}),
        QUIET._replace(full_disk=True),
        hooks={"stage": lets_the_lock_go},
    ),
    Ablation(
        "binding the claim to the pair",
        frozenset({"I5", "I6"}),
        SMALL._replace(orphans=True),
        hooks={"claim": newest_orphan, "commit": install_any, "store_credential": put_beside_orphans},
    ),
    Ablation(
        "the second look after claiming",
        frozenset({"I1", "I7"}),
        HOSTS,
        edit=edges(
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
        edit=sidecars_first,
        hooks={"clear_sidecars": sidecars_of_the_record},
    ),
    Ablation("protection from cancellation", frozenset({"I2"}), cancel=torn),
    Ablation("signals wait until the pair is staged", frozenset({"I2"}), cancel=ends_at_a_signal),
    Ablation(
        "logout under the lock", frozenset({"I6"}), UNLOCKED, hooks={"hold_credential_to_sign_out": always("acquired")}
    ),
    Ablation("login under the lock", frozenset({"I5"}), UNLOCKED, hooks={"store_credential": put_unlocked}),
    Ablation("rejection on disk", frozenset({SETTLES}), QUIET, hooks={"record_revoked": always("recorded")}),
    Ablation(
        "only an OAuth error is a rejection",
        frozenset({"I4"}),
        hooks={"exchange": instead(exchange, "unrecognized", outcome="revoked")},
    ),
    Ablation(
        "no retry in line without a declared recovery",
        frozenset({"I1"}),
        hooks={"exchange": instead(exchange, "in_doubt", outcome=None, note="no answer: tries again")},
    ),
    Ablation("not sent never clears an older claim", frozenset({"I1"}), hooks={"withdraw_claim": clears_any_claim}),
    Ablation(
        "directories are synchronised",
        frozenset({"I1", "I6"}),
        QUIET._replace(processes=1, logouts=1, power=True, synchronous=False),
    ),
    Ablation(
        "a rejected bearer is handed out to others",
        frozenset({"I4b"}),
        QUIET._replace(processes=1),
        hooks={"inspect": withheld(inspect), "can_still_use": withheld(can_still_use)},
    ),
    Ablation(
        "waiters wait out a backoff",
        frozenset({"I10"}),
        WAITERS,
        edit=edges(
            "token_lifecycle", "backing_off", refreshing__postponed="falling_back", refreshing__in_doubt="falling_back"
        ),
    ),
    Ablation("compare before write", frozenset(), SMALL._replace(logins=0), hooks={"commit": no_compare}),
    # In a store with sessions.
    Ablation("the fence of a lease", frozenset({"I7", "I9"}), SESSIONS._replace(upsets=2, lacks="fence")),
    Ablation("closing the claim with the lease", frozenset({"claims are closed"}), SESSIONS._replace(lacks="close")),
    Ablation("closing by nonce, not by key", frozenset({"I1", "I7"}), SESSIONS._replace(lacks="nonce")),
    Ablation("the incarnation of the store", frozenset({"I7"}), SESSIONS._replace(lacks="incarnation")),
    Ablation("the witness of a claim", frozenset({"I1", "I7"}), SESSIONS._replace(lacks="witness")),
    Ablation("spilling the answer to the host's disk", frozenset({"I2"}), SESSIONS._replace(lacks="spill")),
    Ablation("the store's time, not the hosts'", frozenset({"I7"}), SESSIONS._replace(lacks="store time")),
    Ablation("looking, not only listening", frozenset({SETTLES}), SESSIONS._replace(waits=True, lacks="looking")),
    Ablation(
        "no host spends a pair older than one it has seen",
        frozenset({"I1", "I7"}),
        GONE_BACK._replace(lacks="generation"),
    ),
    # Beside a kimi-code.
    Ablation("its lock, too", frozenset({"I7"}), BESIDE._replace(lacks="their lock")),
    Ablation("checking its lock before sending", frozenset({"I7"}), BESIDE._replace(lacks="check")),
    Ablation("the empty record of a logout stays", frozenset({"I6"}), BESIDE._replace(logouts=1, lacks="sign-out")),
    Ablation(
        "a staged pair outlives its tombstone",
        frozenset({"I8"}),
        BESIDE._replace(policy="lenient", lacks="tombstone"),
    ),
)
