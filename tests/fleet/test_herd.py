"""The simulation behind docs/many-hosts.md, on a small fleet: jitter spreads a herd, in flight bounds it."""

from __future__ import annotations

from fleet.herd import Plan, simulate

LOGINS = 2_000


def test_a_steady_fleet_asks_as_often_as_its_logins_are_due() -> None:
    """One rotation of each login in 5/12 of its life, less up to a tenth: 2,000 of 900 s ask 5 or 6 times a second, in time."""
    seen = simulate(Plan(LOGINS, seconds=2_000))
    assert 5.0 < seen.steady < 6.5
    assert (seen.ended, seen.most_failing) == (0, 0)


def test_jitter_spreads_logins_of_one_moment() -> None:
    """Without it every login of an import asks in one second, in every life; with it, a twentieth of them at most."""
    assert simulate(Plan(LOGINS, spread=False, jitter=False, in_flight=LOGINS, seconds=2_000)).most == LOGINS
    assert simulate(Plan(LOGINS, spread=False, in_flight=LOGINS, seconds=2_000)).most < LOGINS / 20


def test_in_flight_bounds_what_the_host_sees() -> None:
    """After an outage no more requests a second than all workers have free; logins are late then, and an outage that is
    shorter than a window ends no token."""
    seen = simulate(Plan(LOGINS, outage_s=120.0, in_flight=10, seconds=2_000))
    assert max(seen.most, seen.most_failing) <= 20
    assert seen.ended == 0
