"""The rules that the checker verifies in every world, by the names under which it reports them."""

from __future__ import annotations

from collections.abc import Mapping

from kimi_auth.proof.explore import SETTLES, TERMINATES

from .effects import Config
from .predicates import OWED

__all__ = ["ACROSS_HOSTS", "RULES", "not_asked"]

RULES: Mapping[str, str] = {
    "I1": (
        "A refresh token that may have been spent is sent again only if a claim on disk declares the earlier sending. After an "
        "answer that says that it was not processed (no connection, a 429, a refused client) it counts as not sent."
    ),
    "I2": "A new pair that a living process received is on disk before anything else happens.",
    SETTLES: "I3: from every state, without new faults, it settles: fresh, signed out, or ended by the server.",
    "I4": "Nothing transient ends a login: no lost answer, busy server, proxy, full disk or busy lock.",
    "I4b": "A bearer that the API rejected never takes a token that has life left from other callers.",
    "I5": "An older credential never overwrites a newer one.",
    "I6": "A logout is final: no renewal in flight brings the credential back.",
    "I7": "We never cause the end of a login, by reuse of a token, that another process still validly holds.",
    "I8": "A walk tells the truth: it ends in a state only if the record on disk and its own course say so.",
    "I9": "At most one process is in the locked region.",
    "I10": "Under one transient fault every caller with the patience to wait ends with a token that works.",
    TERMINATES: "Every walk ends, within a bounded number of steps.",
    "claims are closed": "A walk that leaves the lock closes its own claim: the next one need not guess.",
    "lock discipline": "Every hook that spends a token or writes runs with the lock held, and only so.",
    "looking spends nothing": "A walk that was only asked to look takes no lock.",
    "an event is acted on": "A walk that was asked to renew or to sign out does not end before it has tried.",
    "progress": "A walk that installed a new pair does not end in a transient state while that pair is fresh.",
    **{rule: f"Owed and done before a walk ends: {rule}." for rule in OWED.values()},
    "crash": "No activity runs without what it works on.",
    "undeclared outcome": "An activity answers only what its state declares.",
}


ACROSS_HOSTS: Mapping[str, str] = {
    "I1": (
        "A refresh token that may have been spent is sent again only in declared recovery: the claim was closed by its owner, the owner is certainly "
        "dead, or it has been silent for the wait by the store's time, without a witness. Holds while the store is one "
        "linear history."
    ),
    "I2": (
        "A rotated pair that a living process received is durable in the store or, while that cannot be reached, on this "
        "host's disk."
    ),
    SETTLES: "I3: it settles once the store can be reached.",
    "I4": "Neither an outage, a failover, a lost lock nor too few connections ends a login.",
    "I5": "The answer is installed by one comparing statement, with or without the lease.",
    "I6": "The same: a renewal in flight finds another pair than the one that it sent.",
    "I7": (
        "Exempt: the owner is dead; a partition that outlasts both the wait and the life of the token; a store that lost or "
        "forked its history. A host that has seen a newer pair does not spend an older one."
    ),
    "I8": "By the record in the store; a view from memory says how old it is. Asked in the worlds of files.",
    "I9": "At most one fence may write. Without it a process installs only the answer to the pair that is the record.",
    "I10": "N processes on M hosts: one exchange, one pair. Asked in the worlds of files.",
}
"""What a rule means where the credential rests in a store that several hosts reach by sessions."""


def not_asked(config: Config) -> dict[str, str]:
    """The rules that the world of `config` does not ask, each with the reason. All others hold or break there."""
    found = {}
    if not config.excludes:
        found["I8"] = "without a lock that excludes, a fact may change before the walk ends"
        if config.store != "sessions":
            found["I9"] = "its lock does not exclude"
    if not config.waiters:
        found["I10"] = "its callers have no patience"
    return found
