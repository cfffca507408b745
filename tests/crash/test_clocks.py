"""Between a claim and its recovery the wall clock is set, or the machine starts again: boot time decides, never the wall."""

from __future__ import annotations

import pytest
from fleet.invariants import violations
from fleet.stage import Stage
from house.patience import NO_LIMIT_S

from kimi_auth.store import Backoff

pytestmark = pytest.mark.timeout(120)

HOUR_S, DAY_S = 3600.0, 86_400.0
FAR_S = (-365 * DAY_S, -60.0, 60.0, 365 * DAY_S)
EXCHANGING = "token_refresh.exchanging"


def leave_a_claim(stage: Stage, **options: object) -> None:
    worker = stage.start("obtain", gates=[EXCHANGING], **options)
    worker.held(EXCHANGING)
    worker.kill()


@pytest.mark.parametrize(
    "wall_offset_s", [-2 * HOUR_S, 2 * HOUR_S, *(pytest.param(far_s, marks=pytest.mark.prove) for far_s in FAR_S)]
)
def test_a_set_clock(stage: Stage, wall_offset_s: float) -> None:
    """A dead owner of the same boot is recovered from at once, whatever the wall clock says now."""
    stage.sign_in("expired")
    leave_a_claim(stage)
    worker = stage.start("obtain", wall_offset_s=wall_offset_s)
    assert worker.result().error == ""
    assert worker.end() == 0
    assert (stage.exchanges, len(stage.sends), stage.works) == (1, 1, True)
    assert violations(stage) == []


@pytest.mark.parametrize(
    "wall_offset_s", [0.0, *(pytest.param(set_s, marks=pytest.mark.prove) for set_s in (-2 * HOUR_S, 2 * HOUR_S))]
)
def test_another_boot(stage: Stage, wall_offset_s: float) -> None:
    """A claim of another boot: its owner may live for 75 s of boot time from when it was met; then it is recovered."""
    stage.sign_in("long expired")  # under each of the clocks: only who needs a token recovers so late
    leave_a_claim(stage, boot_id="another-boot")
    wall = {"wall_offset_s": wall_offset_s}
    for boottime_s in (0.0, 74.0):
        options = {"boottime_at_s": 1000.0 + boottime_s, "wall_offset_s": max(wall_offset_s, 0.0) + boottime_s}
        met = stage.start("obtain", patience_s=1.0, **options)
        result = met.result()
        assert (result.error, met.end()) == ("unreachable", 0)
        assert stage.sends == []
    late = stage.start("obtain", boottime_at_s=1076.0, **wall)
    assert (late.result().error, late.end()) == ("", 0)
    assert (stage.exchanges, len(stage.sends), stage.works) == (1, 1, True)
    assert violations(stage) == []


def test_another_boot_left_an_staged(stage: Stage) -> None:
    """An answer that reached the disk is installed at once, whichever boot it was."""
    stage.sign_in("expired")
    worker = stage.start("obtain", gates=["token_refresh.committing"], boot_id="another-boot")
    worker.held("token_refresh.committing")
    worker.kill()
    assert stage.next_run().error == ""
    assert (stage.exchanges, len(stage.sends), stage.works) == (1, 1, True)
    assert violations(stage) == []


@pytest.mark.parametrize("wall_offset_s", [-2 * HOUR_S, 2 * HOUR_S])
def test_a_pace_of_another_clock(stage: Stage, wall_offset_s: float) -> None:
    """A backoff that was written under a clock far ahead is void; one of the past is over."""
    stage.sign_in("expired")
    with stage.store.locked(NO_LIMIT_S) as held:
        assert held
        stage.store.set_backoff(Backoff(retry_at_s=stage.emulator.state.now_s() + wall_offset_s, failures=3))
    assert stage.next_run().error == ""
    assert (stage.exchanges, violations(stage)) == (1, [])
