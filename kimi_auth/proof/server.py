"""The simulated server: what a refresh token does there, and every way in which a request for tokens can end."""

from __future__ import annotations

from collections.abc import Iterable

from .effects import FIRST_SENDING, SENDING_AGAIN, SPENT_IT, UNSAVED, Config, Effect, with_pair
from .state import ALIVE, GOOD, MEDDLED, NOTHING, SIGNED_OUT, SPENT, SPENT_LATELY, Pair, Process, Shared

__all__ = ["answers", "ended", "given_up", "served"]


def answers(config: Config, shared: Shared, process: Process) -> Iterable[Effect]:
    """Every possible end of a request in flight."""
    number = process.record
    landed = process._replace(stage=0)
    certain = landed._replace(marks=landed.marks & ~SPENT_IT)
    after, pair, broken = served(config, shared, number, has_reader=True)
    if pair >= 0:
        received = landed._replace(pair=pair, claim="", marks=landed.marks | UNSAVED)
        yield Effect("tokens", after, received, "the server gives a new pair", broken=broken)
    else:
        yield Effect("revoked", after, certain._replace(claim=""), "the server answers invalid_grant", broken=broken)
    if config.waiters:
        if not shared.faults_left:
            return
        after, shared = (world._replace(faults_left=world.faults_left - 1) for world in (after, shared))
    # With single-use tokens a lost answer may cost the login, and no waiter can prevent that. It is not a transient
    # error, so the worlds of waiters include it only where tokens do not rotate.
    if not config.waiters or config.policy == "none":
        yield Effect("in_doubt", after, landed, "the answer is lost", hurt=True, broken=broken)
        late = given_up(config, shared, process)
        yield Effect("in_doubt", late, landed, "no answer in time; the request may still arrive", hurt=True)
    yield Effect("unrecognized", shared, certain, "a proxy answers 403 with HTML", hurt=True)
    unsent = with_pair(shared, number, sent=0) if process.stage == FIRST_SENDING else shared
    yield Effect("not_processed", unsent, certain, "the server is busy and did nothing", hurt=True)
    if config.all_answers:
        yield Effect("misconfigured", unsent, certain, "the server refuses this client", hurt=True)


def served(config: Config, shared: Shared, number: int, *, has_reader: bool) -> tuple[Shared, int, tuple[str, ...]]:
    """The server receives the refresh token of pair `number`. Returns the world, the new pair (NOTHING: the server
    refused) and the rules that this breaks."""
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
    """True if a pair of that login would still have worked. The model forgets pairs that no process or file holds."""
    return any(pair.login == login and pair.good == GOOD for pair in shared.pairs)


def ended(shared: Shared, login: int, *, signed_out: bool = False) -> Shared:
    """The simulated server ends the login; with `signed_out`, the person signs it out."""
    logins = list(shared.logins)
    logins[login] = logins[login] | SIGNED_OUT if signed_out else logins[login] & ~ALIVE
    return shared._replace(logins=tuple(logins))


def given_up(config: Config, shared: Shared, process: Process) -> Shared:
    """The process stops reading the answer to its request in flight; the request may still reach the server."""
    if process.stage in (FIRST_SENDING, SENDING_AGAIN) and process.record >= 0:
        late = min(shared.pairs[process.record].late + 1, 2)
        return with_pair(shared, process.record, late=late)
    return shared
