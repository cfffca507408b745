"""The values that each variable of the exported model can have, from the configuration of its world."""

from __future__ import annotations

from itertools import product

from kimi_auth.proof.effects import Config
from kimi_auth.proof.state import (
    ABSENT,
    CLOSED,
    CORRUPT,
    EMPTY,
    EXPIRED,
    FOREIGN,
    GONE,
    GOOD,
    NO_CLAIM,
    NOTHING,
    SPENT,
    SPENT_LATELY,
    STALE,
    Pair,
)

from .relation import Domains

__all__ = ["MARKS", "domains_of"]

MARKS = 14


def domains_of(config: Config, pairs: int) -> Domains:
    """The values that each variable can have, for so many pairs at a time."""
    hosts = (1,) if config.shared_lock else tuple(range(1, config.processes + 1))
    numbers = tuple(range(pairs))
    spoiled = (CORRUPT, FOREIGN) if config.spoils else ()
    boots = 1 if config.shared_lock else config.processes
    digits = (0, 1, 2) if config.hidden else (0,)
    logins = config.logins + 1
    flag = (0, 1)
    some = (0, 1, 2)
    return Domains(
        pairs,
        logins,
        {
            ("world", "record"): (*numbers, EMPTY, ABSENT, *spoiled),
            ("world", "held"): flag,
            ("world", "forced"): flag,
            ("world", "full"): flag if config.full_disk else (0,),
            ("world", "logins_left"): tuple(range(config.logins + 1)),
            ("world", "logouts_left"): tuple(range(config.logouts + 1)),
            ("world", "spoils_left"): tuple(range(config.spoils + 1)),
            ("world", "faults_left"): flag if config.waiters else (0,),
            ("pair", "login"): tuple(range(logins)),
            ("pair", "good"): (SPENT, SPENT_LATELY, GOOD) if config.policy == "grace" else (SPENT, GOOD),
            ("pair", "phase"): some,
            ("pair", "sent"): flag,
            ("pair", "denied"): flag,
            ("pair", "revoked"): flag,
            ("pair", "unrecognized"): some,
            ("pair", "rejected"): flag,
            ("pair", "late"): some,
            ("pair", "owner"): (NO_CLAIM, *hosts, CLOSED, *((GONE,) if config.hidden else ())),
            ("pair", "staged"): (NOTHING, *numbers),
            ("pair", "met"): ((), *product(digits, repeat=boots)),
            ("me", "host"): hosts,
            ("me", "event"): ("", "touched", "renew", "rejected", "logout"),
            ("me", "need"): ("", "not_bearer", "not_pair"),
            ("me", "bearer"): (NOTHING, *numbers),
            ("me", "record"): (NOTHING, STALE, *numbers, EMPTY, ABSENT, *spoiled),
            ("me", "claim"): ("", "made", "staged", "found"),
            ("me", "pair"): (NOTHING, *numbers),
            ("me", "recoveries"): flag,
            ("me", "stage"): (0, 1, 2, 3),
        },
        {("world", "locks"): config.processes + 1, ("login", "login"): 4, ("me", "marks"): MARKS},
        Pair(0, good=SPENT, phase=EXPIRED),
    )
