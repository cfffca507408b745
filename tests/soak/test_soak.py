"""A short soak, and what its report must be able to say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from soak.plan import BURST_MAX_S, plan
from soak.program import KINDS
from soak.report import findings, lines
from soak.stage import Call, Kill, Loss, Soak

SEED = 11


@pytest.mark.prove
@pytest.mark.timeout(300)
def test_a_minute(tmp_path: Path, measured: Callable[[str], None]) -> None:
    """Kills, bursts of 503, dropped answers, two logouts: no login is lost but with the owner of its exchange, and no
    caller whose patience outlasts the fault is told that the server cannot be reached."""
    with Soak(tmp_path) as soak:
        soak.live(plan(SEED, 60.0, list(KINDS)), exchanges=11)
    said = lines(soak, SEED, 60.0)
    assert findings(soak) == [], "\n".join(said)
    assert len(soak.kills) == 12
    assert soak.done["logout"] == soak.done["login"] == 2
    assert {call.kind for call in soak.calls} == set(KINDS)
    assert soak.exchanges > 10
    measured(f"a soak of one minute, seed {SEED}: {said[1]}; {said[2]}; {said[-2]}")


def test_a_plan_comes_from_its_seed_alone() -> None:
    """The same seed, the same plan; and each thing that the soak is for is in eight minutes."""
    kinds = list(KINDS)
    assert plan(7, 480.0, kinds) == plan(7, 480.0, kinds) != plan(8, 480.0, kinds)
    events = plan(7, 480.0, kinds)
    assert sum(event.what == "kill" for event in events) == 96
    assert {event.what for event in events} == {"kill", "burst", "calm", "drop", "unauthorized", "logout", "login"}
    assert sum(event.what == "logout" for event in events) == 2
    began_s = {"burst": 0.0}
    for event in events:
        if event.what == "burst":
            began_s["burst"] = event.at_s
        if event.what == "calm":
            assert event.at_s - began_s["burst"] <= BURST_MAX_S


@pytest.mark.parametrize(
    ("call", "is_found"),
    [
        (Call("token", 100.0, 1.0, "", ""), False),
        (Call("token", 100.0, 1.0, "unreachable", "HTTP 503"), True),
        (Call("token", 30.0, 1.0, "unreachable", "HTTP 503"), True),
        (Call("token", 30.0, 1.0, "not_signed_in", ""), False),
        (Call("token", 100.0, 1.0, "not_signed_in", ""), True),
        (Call("threads", 30.0, 1.0, "storage", ""), True),
        (Call("bearer", 30.0, 1.0, "Http: HTTP 401", ""), False),
        (Call("bearer", 100.0, 1.0, "Http: HTTP 401", ""), True),
    ],
    ids=["served", "503", "503 while signed out", "signed out", "gone by itself", "storage", "401, signed out", "401"],
)
def test_an_error_is_found_where_it_must_not_be(tmp_path: Path, call: Call, is_found: bool) -> None:
    """Between a logout and the next login calls report "not signed in"; nothing else may be said, then or ever."""
    soak = Soak(tmp_path, calls=[call], signed_out=[(25.0, 35.0)])
    assert bool(findings(soak)) == is_found


def test_a_loss_needs_a_killed_owner(tmp_path: Path) -> None:
    """A login that was lost with the process that had sent its token is explained; any other is a finding."""
    kill = Kill(5.0, "token", "abc")
    soak = Soak(tmp_path, kills=[kill], losses=[Loss(6.0, 1, "abc", kill), Loss(9.0, 2, "def", None)])
    assert findings(soak) == ["login 2 was lost, and no killed process owned its exchange"]
    assert "  login 1: token was killed while it owned its exchange" in lines(soak, 1, 60.0)
