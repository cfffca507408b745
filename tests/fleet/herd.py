"""A fleet's rate at the OAuth host, simulated second by second: what a table of n logins asks of it, before and after an outage.

    python -m fleet.herd --logins 1000000      prints the table of docs/many-hosts.md

A login of `life_s` is due `window_s` before its end, up to a tenth of the time until then earlier (`kimi_auth.store.postgres.row`).
An outage begins with the due times spread, as they are after hours, or at one moment, as after an import. While it lasts
each due login fails and backs off as `kimi_auth.credential.backoff` says, each on its own. Afterwards workers send as many
requests as they have free, each answered after `latency_s`.
"""

from __future__ import annotations

import argparse
import heapq
import random
from typing import NamedTuple

from kimi_auth.credential import backoff as backoffs
from kimi_auth.errors import Unreachable
from kimi_auth.store import Backoff
from kimi_auth.store.postgres.row import DUE_JITTER
from kimi_auth.token import WINDOW_SHARE

__all__ = ["Plan", "Seen", "simulate"]


class Plan(NamedTuple):
    """`spread`: whether due times are spread over a life at the beginning; `jitter`: of due times and backoffs; `in_flight`: of
    all workers together."""

    logins: int
    life_s: float = 900.0
    latency_s: float = 0.5
    in_flight: int = 4000
    outage_s: float = 0.0
    spread: bool = True
    jitter: bool = True
    seconds: int = 3600


class Seen(NamedTuple):
    """Requests a second at the host, failed ones too. `late_s`: the longest time from due to answered of a login after the
    outage; `ended`: logins whose access token ended before its renewal."""

    steady: float
    most: int
    most_failing: int
    late_s: float
    ended: int


def simulate(plan: Plan, seed: int = 1) -> Seen:
    """Runs a fleet for `plan.seconds`; the outage begins after one life."""
    luck = random.Random(seed)
    until_due_s = plan.life_s * (1 - WINDOW_SHARE)
    draw = luck.random if plan.jitter else lambda: 0.0
    down = range(int(plan.life_s), int(plan.life_s + plan.outage_s))
    queue = [
        ((luck.random() * until_due_s if plan.spread else until_due_s * (1 - DUE_JITTER * draw())), number)
        for number in range(plan.logins)
    ]
    heapq.heapify(queue)
    due = [at_s for at_s, _ in sorted(queue, key=lambda one: one[1])]
    failed: dict[int, Backoff] = {}
    capacity = max(1, int(plan.in_flight / plan.latency_s))
    rates, failing, late_s, ended = [0] * plan.seconds, [0] * plan.seconds, 0.0, 0
    for second in range(plan.seconds):
        while queue and queue[0][0] <= second and rates[second] < capacity:
            _, number = heapq.heappop(queue)
            rates[second] += 1
            if second in down:
                failing[second] += 1
                error = Unreachable("no answer")
                after = backoffs.after_failure(failed.get(number, Backoff()), error, None, second, draw())
                failed[number] = after
                heapq.heappush(queue, (after.retry_at_s * 1.0 + (after.retry_at_s - second) * 0.1 * draw(), number))
                continue
            failed.pop(number, None)
            waited_s = second - due[number]
            late_s = max(late_s, waited_s)
            ended += waited_s > plan.life_s * WINDOW_SHARE
            due[number] = second + until_due_s * (1 - DUE_JITTER * draw())
            heapq.heappush(queue, (due[number], number))
    ends = down.stop
    steady = rates[int(plan.life_s / 2) : int(plan.life_s)]
    return Seen(sum(steady) / len(steady), max(rates[ends:]), max(failing, default=0), late_s, ended)


CASES = {
    "steady": {},
    "outage of 2 min": {"outage_s": 120.0},
    "outage of 2 min, without jitter": {"outage_s": 120.0, "jitter": False},
    "outage of 10 min": {"outage_s": 600.0},
    "outage of 10 min, without jitter": {"outage_s": 600.0, "jitter": False},
    "imported at one moment": {"spread": False},
    "imported at one moment, without jitter": {"spread": False, "jitter": False},
}


def table(logins: int) -> str:
    """One line for each case, as Markdown."""
    lines = [
        "| case | steady, requests/s | most afterwards | most during it | latest | tokens that ended |",
        "|---|---|---|---|---|---|",
    ]
    for name, changes in CASES.items():
        seen = simulate(Plan(logins, in_flight=logins, **changes))  # type: ignore[arg-type]
        lines.append(
            f"| {name} | {seen.steady:.0f} | {seen.most} | {seen.most_failing} | {seen.late_s:.0f} s | {seen.ended} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logins", type=int, default=10_000)
    print(table(parser.parse_args().logins))
