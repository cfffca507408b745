"""N processes need a new token at one moment: one exchange, one new pair for all, none signed out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from fleet.invariants import violations
from fleet.stage import Age, Result, Stage, Worker
from kimi_auth.testing.emulator import Fault

AGES: tuple[Age, ...] = ("expiring", "expired", "rejected")
SIZES = (2, 4, 16)
LATENCIES_S = (0.1, 3.0, 12.0)

SAMPLE = {*((n, 0.1, age) for n in SIZES for age in AGES), (4, 3.0, "expired")}
WHOLE = [
    pytest.param(n, latency_s, age, id=f"{n} processes, {latency_s:g} s, {age}",
                 marks=() if (n, latency_s, age) in SAMPLE else pytest.mark.prove)
    for latency_s in LATENCIES_S for n in SIZES for age in AGES
]  # fmt: skip


def act(stage: Stage, count: int, age: Age, **options: object) -> list[tuple[Worker, Result]]:
    """The fleet is signed in, begins together, and lands; each process with what it got at first."""
    stage.sign_in(age)
    fleet = stage.start_fleet(count, "twice", first="rejected" if age == "rejected" else "obtain", **options)
    stage.go()
    first = [(worker, worker.result()) for worker in fleet]
    for worker in fleet:
        worker.wait_for("landed")
    return first


def settle(fleet: list[tuple[Worker, Result]]) -> set[str]:
    """What the processes get when they ask once more, after everything has landed."""
    for worker, _ in fleet:
        worker.order("again")
    got = {worker.result().access for worker, _ in fleet}
    for worker, _ in fleet:
        assert worker.end() == 0, worker.story()
    return got


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("count", "latency_s", "age"), WHOLE)
def test_one_exchange(stage: Stage, measured: Callable[[str], None], count: int, latency_s: float, age: Age) -> None:
    """However many processes and however slow the server: one exchange, and all of them hold what it gave."""
    stage.serve(latency_s=latency_s)
    fleet = act(stage, count, age)
    old = stage.seen[0].access
    now = stage.look()
    assert [result.error for _, result in fleet] == [""] * count
    assert (stage.exchanges, len(stage.sends)) == (1, 1)
    assert {result.access for _, result in fleet} <= ({old, now.access} if age == "expiring" else {now.access})
    assert settle(fleet) == {now.access}
    assert stage.works
    assert (stage.exchanges, len(stage.sends)) == (1, 1)
    assert violations(stage) == []
    waited_s = max(result.waited_s for _, result in fleet)
    beyond = (
        f"{waited_s:.3f} s, no renewal waited for" if age == "expiring" else f"{waited_s - latency_s:.3f} s beyond it"
    )
    measured(f"{count} processes, endpoint {latency_s:g} s, {age}: longest wait {beyond}")


class Trouble(NamedTuple):
    """Answers that come first, how the server takes a token that comes twice, and how many requests there may be."""

    faults: tuple[Fault, ...]
    reuse: str
    exchanges: int
    ends_login: bool = False


TRANSIENT_ERRORS = {
    "two slow 503 first": Trouble(
        (Fault("token", grant="refresh_token", status=503, times=2, latency_s=0.5),), "strict", 1
    ),
    "429 with Retry-After first": Trouble(
        (Fault("token", grant="refresh_token", status=429, headers={"Retry-After": "2"}),), "strict", 1
    ),
    "dropped before processing": Trouble((Fault("token", grant="refresh_token", drop="before"),), "strict", 1),
    "dropped after processing, server with grace": Trouble(
        (Fault("token", grant="refresh_token", drop="after"),), "grace:60", 2
    ),
    "dropped after processing, server without": Trouble(
        (Fault("token", grant="refresh_token", drop="after"),), "strict", 1, ends_login=True
    ),
    "broken off after the whole answer": Trouble((Fault("token", grant="refresh_token", drop="during"),), "strict", 1),
}
AFTER_AN_ERROR = [
    pytest.param(name, n, age, id=f"{name}, {n} processes, {age}",
                 marks=() if (n, age) == (4, "expired") and "server" in name else pytest.mark.prove)
    for name in TRANSIENT_ERRORS for n in (4, 16) for age in AGES if n == 4 or age != "expiring"
]  # fmt: skip


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("name", "count", "age"), AFTER_AN_ERROR)
def test_after_a_transient_error(stage: Stage, name: str, count: int, age: Age) -> None:
    """A transient error first: it signs no process out; a token is sent again in declared recovery only."""
    error = TRANSIENT_ERRORS[name]
    stage.serve(reuse=error.reuse, latency_s=0.1)
    stage.state.inject(*error.faults)
    fleet = act(stage, count, age, tries=8)
    if error.ends_login:
        # The only answer was lost, and this server takes no token twice: the login is over, and every process is told
        # so.
        served = {"revoked", "unreachable"} if age == "expired" else {""}
        assert {result.error for _, result in fleet} <= served
        settle(fleet)
        stage.next_run(wall_offset_s=1000.0)
        assert [family["alive"] for family in stage.families] == [False]
        assert stage.next_run(wall_offset_s=1000.0).error == "revoked"
        assert violations(stage, dead_owners=1) == []
        return
    settle(fleet)
    assert stage.next_run(wall_offset_s=700.0 if age == "expiring" else 0.0).error == ""
    now = stage.look()
    if age != "expiring":
        assert {result.error for _, result in fleet} == {""}
    assert stage.exchanges == error.exchanges
    assert now.refresh != stage.seen[0].refresh
    assert stage.works
    assert violations(stage) == []
