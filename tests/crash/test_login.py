"""A login is torn at every step of it: the old credential stands until the new one replaces it, in one step."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from crash.held_answers import IN_FLIGHT, HoldingStage
from fleet.invariants import violations
from fleet.stage import Stage, Worker
from house.patience import NO_LIMIT_S

from kimi_auth.testing.emulator import Fault

pytestmark = pytest.mark.timeout(120)

SYNCED = ("syncing_models", "configuring", "injecting")
STEPS = ("checking_store", "requesting_code", "showing_code", "waiting", "polling", IN_FLIGHT, "persisting", *SYNCED)
DONE = {"signed_in", "models_pending"}

Break = Callable[[Stage, Path], None]


def no_error(stage: Stage, flag: Path) -> None:
    """The straight road."""


def no_code_at_first(stage: Stage, flag: Path) -> None:
    stage.state.inject(Fault("device", status=503))


def code_runs_out(stage: Stage, flag: Path) -> None:
    stage.state.inject(Fault("token", grant="device_code", status=400, body={"error": "expired_token"}))


def disk_full(stage: Stage, flag: Path) -> None:
    flag.write_text("ENOSPC", "ascii")


ASIDE: dict[str, Break] = {
    "retrying_code": no_code_at_first,
    "renewing_code": code_runs_out,
    "returning_grant": disk_full,
}
"""Steps off the straight road, and what leads there."""

EVERY_STEP = (*STEPS, *ASIDE)
SAMPLE = {IN_FLIGHT, "persisting", "returning_grant"}


def stand(stage: HoldingStage, step: str) -> Worker:
    """A login that stands before `step`, or whose poll has arrived and is not answered until it is let go."""
    flag = stage.folder / "broken"
    if step == IN_FLIGHT:
        stage.hold("token", "device_code")
        worker = stage.start("login", hurry=True)
        assert stage.state.wait_for(granted, NO_LIMIT_S)
        return worker
    gates = [f"device_login.{gate}" for gate in (("persisting", step) if step == "returning_grant" else (step,))]
    lead = ASIDE.get(step, no_error)
    if lead is not disk_full:
        lead(stage, flag)
    worker = stage.start("login", hurry=True, gates=gates, broken=str(flag))
    for gate in gates[:-1]:
        worker.held(gate)
        lead(stage, flag)
        worker.order("on")
    worker.held(gates[-1])
    flag.unlink(missing_ok=True)
    return worker


def granted(state: object) -> bool:
    return any(entry["outcome"] == "granted" for entry in list(state.log))  # type: ignore[attr-defined]


def stored(stage: Stage) -> str:
    return stage.look().access


HARD = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGHUP": signal.SIGHUP}
ENDED = [
    pytest.param(how, step, id=f"{how} at {step}", marks=() if how == "SIGKILL" and step in SAMPLE else pytest.mark.prove)
    for how in HARD for step in EVERY_STEP
]  # fmt: skip


@pytest.mark.parametrize(("how", "step"), ENDED)
def test_ended_at_once(stage: HoldingStage, how: str, step: str) -> None:
    """The old credential works until the new one is there; then the new one does; another login succeeds."""
    stage.sign_in("fresh")
    old = stage.seen[0].access
    worker = stand(stage, step)
    worker.send(HARD[how])
    assert worker.end() == -HARD[how]
    worker.was_killed = True
    now = stored(stage)
    assert (now != old) is (step in SYNCED)
    result = stage.next_run()
    assert (result.error, result.access) == ("", now)
    again = stage.start("login", hurry=True)
    assert again.result().state == "signed_in"
    assert (again.end(), stage.works) == (0, True)
    assert stored(stage) not in {old, now}
    assert violations(stage) == []


ASKS = {"cancellation": (None, 0), "SIGINT": (signal.SIGINT, 130)}
ASKED = [
    pytest.param(how, step, id=f"{how} at {step}", marks=() if how == "SIGINT" and step in SAMPLE else pytest.mark.prove)
    for how in ASKS for step in EVERY_STEP
]  # fmt: skip


@pytest.mark.parametrize(("how", "step"), ASKED)
def test_asked_to_end(stage: HoldingStage, how: str, step: str) -> None:
    """Ctrl-C or cancellation: what the person approved is stored or given back, never left lying about."""
    stage.sign_in("fresh")
    old = stage.seen[0].access
    worker = stand(stage, step)
    number, status = ASKS[how]
    if number is None:
        worker.order("cancel")
    else:
        worker.send(number)
    stage.let_go(worker, step)
    assert worker.end() == status, worker.story()
    now = stored(stage)
    if step in {IN_FLIGHT, *SYNCED}:
        assert now != old
    for family in stage.families[1:]:
        assert now in family["access"] or family["revoked_because"] == "signed out"
    result = stage.next_run()
    assert (result.error, result.access) == ("", now)
    assert violations(stage) == []


@pytest.mark.prove
@pytest.mark.parametrize("step", ["polling", "persisting", "syncing_models"])
def test_two_ctrl_c(stage: HoldingStage, step: str) -> None:
    """An impatient person: the record is whole, the old one or the new one, and it works. In a library the second one
    also ends the giving back of a grant that was not stored yet; the command line takes only the first."""
    stage.sign_in("fresh")
    worker = stand(stage, step)
    worker.send(signal.SIGINT)
    worker.send(signal.SIGINT)
    worker.order("on")
    assert worker.end() == 130, worker.story()
    now = stored(stage)
    result = stage.next_run()
    assert (result.error, result.access, stage.works) == ("", now, True)
    assert violations(stage, dead_owners=int(step == "persisting")) == []
