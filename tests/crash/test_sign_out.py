"""A logout is torn at every step of it: before the record is emptied the login stands, from then on it is final."""

from __future__ import annotations

import signal

import pytest
from crash.held_answers import IN_FLIGHT, HoldingStage
from fleet.invariants import violations
from fleet.stage import Worker
from house.patience import NO_LIMIT_S

pytestmark = pytest.mark.timeout(120)

STEPS = {
    "token_lifecycle.signing_out": True,
    "sign_out.emptying": True,
    "sign_out.discarding_staged": False,
    "sign_out.revoking": False,
    IN_FLIGHT: False,
    "sign_out.clearing": False,
    "token_lifecycle.unconfiguring": False,
    "token_lifecycle.injecting": False,
}
"""Whether the login stands when the process is ended before this step."""


def stand(stage: HoldingStage, call: str, step: str) -> Worker:
    if step != IN_FLIGHT:
        worker = stage.start(call, gates=[step])
        worker.held(step)
        return worker
    stage.hold("revoke")
    worker = stage.start(call)
    assert stage.state.wait_for(lambda state: state.counts["revocations"] > 0, NO_LIMIT_S)
    return worker


TELLING = {"sign_out.emptying", "sign_out.discarding_staged", IN_FLIGHT}
"""The steps around the one that ends the login, on disk and at the server."""


@pytest.mark.parametrize(
    "has_staged",
    [pytest.param(False, id="plain"), pytest.param(True, id="with a staged pair", marks=pytest.mark.prove)],
)
@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step in TELLING else pytest.mark.prove) for step in STEPS]
)
def test_killed(stage: HoldingStage, step: str, has_staged: bool) -> None:
    """SIGKILL: the next run is signed in or signed out, as the step says, and a logout after it removes the rest."""
    stage.sign_in("expired" if has_staged else "fresh")
    if has_staged:
        renewing = stage.start("obtain", gates=["token_refresh.committing"])
        renewing.held("token_refresh.committing")
        renewing.kill()
    stand(stage, "logout", step).kill()
    stands = STEPS[step]
    assert bool(stage.look().access) is stands
    result = stage.next_run()
    assert (result.error, len(stage.sends)) == ("" if stands else "not_signed_in", int(has_staged))
    again = stage.start("logout")
    assert (again.result().error, again.end()) == ("", 0)
    assert stage.next_run().error == "not_signed_in"
    assert stage.store.peek_claim(stage.snapshot.fp).state == "none"
    assert violations(stage) == []
    if stands:
        assert [family["revoked_because"] for family in stage.families] == ["signed out"]


ASKS = {
    "SIGINT": ("logout", signal.SIGINT, 130),
    "SIGTERM": ("logout", signal.SIGTERM, -signal.SIGTERM),
    "SIGHUP": ("logout", signal.SIGHUP, -signal.SIGHUP),
    "cancellation": ("logout_async", None, 0),
    "SIGINT to an event loop": ("logout_async", signal.SIGINT, 130),
}
ASKED = [
    pytest.param(how, step, id=f"{how} at {step}",
                 marks=() if step == IN_FLIGHT and not how.startswith("SIGHUP") else pytest.mark.prove)
    for how in ASKS for step in STEPS
]  # fmt: skip


@pytest.mark.parametrize(("how", "step"), ASKED)
def test_asked_to_end(stage: HoldingStage, how: str, step: str) -> None:
    """A signal or a cancellation: the whole logout happens all the same, at the server too."""
    call, number, status = ASKS[how]
    stage.sign_in("fresh")
    worker = stand(stage, call, step)
    if number is None:
        worker.order("cancel")
        assert worker.result().error == "CancelledError"
    else:
        worker.send(number)
    stage.let_go(worker, step)
    assert worker.end() == status, worker.story()
    assert stage.next_run().error == "not_signed_in"
    assert [family["revoked_because"] for family in stage.families] == ["signed out"]
    assert violations(stage) == []


@pytest.mark.prove
@pytest.mark.parametrize("step", [step for step in STEPS if step != IN_FLIGHT])
def test_ended_at_once(stage: HoldingStage, step: str) -> None:
    """`os._exit` counts as SIGKILL."""
    stage.sign_in("fresh")
    worker = stand(stage, "logout_async", step)
    worker.order("os_exit")
    assert worker.end() == 7
    assert stage.next_run().error == ("" if STEPS[step] else "not_signed_in")
    assert violations(stage) == []
