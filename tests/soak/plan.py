"""What happens when: drawn from a seed before anything starts, so that a run can be had again."""

from __future__ import annotations

import random
from dataclasses import dataclass

KILL_EVERY_S = 5.0
BURST_MAX_S = 6.0
"""The longest that the server is out of order: far less than the patience of a caller who has no token (31 s)."""


@dataclass(frozen=True, order=True)
class Event:
    """`at_s` seconds after the beginning; `what`: kill, burst, calm, drop, unauthorized, logout, login; `how`: the program to kill (`owner`: the one that is
    in an exchange), or how an answer is dropped."""

    at_s: float
    what: str
    how: str = ""


def plan(seed: int, length_s: float, kinds: list[str]) -> list[Event]:
    """Kills at a steady backoff; bursts of 503, dropped answers and dropped tokens at random; two logouts and logins.

    An answer is dropped before the request is processed, or broken off after its last byte: an answer that is lost after
    a strict server has spent the token ends the login whatever a client does, and proves nothing here.
    """
    luck = random.Random(seed)
    events = [
        Event((number + 1) * KILL_EVERY_S, "kill", luck.choice([*kinds, "owner"]))
        for number in range(int(length_s / KILL_EVERY_S))
    ]
    at_s = luck.uniform(3.0, 8.0)
    while at_s < length_s - BURST_MAX_S:
        lasts_s = luck.uniform(1.0, BURST_MAX_S)
        events += [Event(at_s, "burst"), Event(at_s + lasts_s, "calm")]
        at_s += lasts_s + luck.uniform(8.0, 16.0)
    for what, hows in (("drop", ("before", "during")), ("unauthorized", ("",))):
        at_s = luck.uniform(2.0, 9.0)
        while at_s < length_s:
            events.append(Event(at_s, what, luck.choice(hows)))
            at_s += luck.uniform(6.0, 14.0)
    for part in (1 / 3, 2 / 3):
        events += [Event(length_s * part, "logout"), Event(length_s * part + 2.0, "login")]
    return sorted(events)
