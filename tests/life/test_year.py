"""A laptop's year in virtual time: 24 processes on one login of 900-second tokens, and everything that a year brings.

A life is right when nothing ended the login but a fault that had to; no ended token was presented while the server was
reachable, unless the clock had been set back under a process that started later; a request was refused only while, or as
long after, something was wrong as the package says; and the server was asked no more than 5 % more or less often than by
one process without faults. That comparison is of the same seed, so of the same nights, naps and requests, and of the hours
in which the server could be reached; every exchange that it processed counts, repeated and forced ones included.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from kimi_auth import token
from kimi_auth.credential import backoff, classify
from kimi_auth.credential.age import CachedToken
from kimi_auth.store import Claim, MemoryStore, claims
from life.year.disturbances import ALL, NONE, OUTAGES, Faults
from life.year.processes import Process
from life.year.world import KINDS, LIFE_S, MISHAPS, World, alone

TOLERANCE: Final = 0.05

EACH: Final[dict[str, Faults]] = {
    "none": NONE,
    "outages": replace(NONE, outage_h=3.0, network_after_nap_s=15.0),
    "clocks": replace(NONE, step_h=12.0, restart_h=4.0),
    "restarts": replace(NONE, restart_h=2.0),
    "401s": replace(NONE, one_401_in=800, one_ban_in=2000),
    "kills": replace(NONE, kill_h=2.0, one_mishap_in=0),
    "reboots": replace(NONE, reboot_h=12.0),
    "lost answers": replace(NONE, one_mishap_in=60),
    "lost answers, strict server": replace(NONE, one_mishap_in=60, reuse="strict"),
}
"""Each fault by itself, as often as the 5 % allow."""

COMES_IN_A_WEEK: Final = OUTAGES.keys() | {"nap", "kill", "reboot", "reset", "slow", "staged", "401", "401 for all"}

ENDS_LOGINS: Final = {"kills", "reboots", "lost answers", "lost answers, strict server"}
"""Events that can end a login for every process; nothing else may end one."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A year of events fills a log."""
    caplog.set_level(logging.CRITICAL, "kimi_auth")


def ended_logins(world: World) -> int:
    return sum(family.revoked_because is not None for family in world.server.state.families)


def check(world: World) -> None:
    """That the life of `world` was right."""
    assert not world.book.violations, "\n".join(world.book.violations)
    assert set(world.server.state.reused) <= world.lost, f"seed {world.book.seed}"
    assert world.book.happened["forced sign-out"] <= ended_logins(world), f"seed {world.book.seed}"


def check_with_one(world: World, share_dir: Path) -> None:
    """The same, and that the server was asked as often as by one process without faults in the hours when it could be."""
    check(world)
    one = alone(world.book.seed, share_dir).live(awake_s=world.laptop.awake_s)
    check(one)
    ratio = world.disturbances.reachable(world.exchanges_at_s) / world.disturbances.reachable(one.exchanges_at_s)
    assert abs(ratio - 1) <= TOLERANCE, f"seed {world.book.seed}: {ratio:.3f} times the exchanges of one process"


def test_a_week(tmp_path: Path) -> None:
    """Seven days with every kind of fault, each of which is seen to come."""
    world = World(6, tmp_path).live(days=7)
    check_with_one(world, tmp_path)
    happened = world.book.happened
    assert happened["requests"] > len(KINDS) * world.laptop.awake_s / LIFE_S
    assert not (COMES_IN_A_WEEK - happened.keys())


@pytest.mark.prove
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("fault", EACH)
def test_a_week_of_one_fault(tmp_path: Path, fault: str, seed: int) -> None:
    """A week with one kind of fault, and often: it ends no login that it cannot have ended."""
    world = World(seed, tmp_path, EACH[fault]).live(days=7)
    check_with_one(world, tmp_path)
    assert fault in ENDS_LOGINS or not ended_logins(world)


@pytest.mark.prove
@pytest.mark.timeout(2400)  # some six minutes: among the first to begin
def test_a_year(tmp_path: Path) -> None:
    """365 days, with outages of days, a hundred reboots and an unreliable clock."""
    world = World(11, tmp_path).live(days=365)
    check_with_one(world, tmp_path)
    happened = world.book.happened
    assert not (COMES_IN_A_WEEK | MISHAPS.keys()) - happened.keys()


# --- one clock against another ---------------------------------------------------------------------------------------

Step = tuple[float, float, float]
CLOCKS: Final[dict[str, tuple[Step, ...]]] = {
    "awake": ((1000, 0, 0),),
    "asleep": ((0, 1000, 0),),
    "awake, set back": ((1000, 0, -1000),),
    "asleep, set back": ((0, 1000, -1000),),
    "awake and asleep, set back": ((500, 500, -1000),),
    "asleep, set back by less": ((0, 1000, -700),),
    "asleep, set back by more": ((0, 1000, -5000),),
    "set back, then awake": ((100, 0, -1000), (850, 0, 0)),
    "set back, then asleep": ((100, 0, -1000), (0, 850, 0)),
    "set back and forth": ((100, 0, -1000), (10, 0, 1000), (850, 0, -1000)),
    "set back again and again": ((100, 0, -300),) * 10,
    "set forward": ((0, 10, 3600),),
    "set forward and back": ((100, 0, 3600), (100, 0, -3600), (100, 800, 0)),
}
"""Since a process saw its token: seconds awake, seconds asleep, and by how much the wall clock was set then."""


@pytest.mark.parametrize("steps", CLOCKS.values(), ids=CLOCKS)
def test_a_process_knows_how_old_its_token_is(tmp_path: Path, steps: tuple[Step, ...]) -> None:
    """Who has seen a token when it was new is not fooled about its age: not by sleep, not by a clock, not by both."""
    world = World(1, tmp_path, NONE, kinds=("program",))
    laptop = world.laptop

    async def live() -> None:
        with world.store.locked(0.0):
            world.sign_in()
        session = world.session(Process(world, 0, "program"))
        assert world.server.is_live(await session.access_token())
        for awake_s, asleep_s, set_by_s in steps:
            await asyncio.sleep(awake_s)
            laptop.suspend(asleep_s)
            laptop.wrong_by_s += set_by_s
            assert world.server.is_live(await session.access_token())

    laptop.run(live)


# --- it would be noticed ---------------------------------------------------------------------------------------------


def _believe_everything(patch: pytest.MonkeyPatch) -> None:
    for module in (backoff, classify):
        patch.setattr(module, "phase", lambda *_: "fresh")
    patch.setattr(CachedToken, "serves", lambda *_: True)


def _believe_a_void_lock(patch: pytest.MonkeyPatch) -> None:
    def locked(self: MemoryStore, *_: object, **__: object) -> Any:
        self._thread = 1
        return nullcontext(SimpleNamespace(check=lambda: None))

    patch.setattr(MemoryStore, "locked", locked)
    rule = claims.classify

    def judge_by_the_lock(*args: Any) -> Claim:
        claim = rule(*args)
        return claim._replace(state="interrupted") if claim.state == "in_flight" else claim

    patch.setattr(claims, "classify", judge_by_the_lock)


def _never_try_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backoff, "BACKOFF_FIRST_S", 800.0)
    patch.setattr(backoff, "BACKOFF_MAX_S", 800.0)


def _renew_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(token, "WINDOW_SHARE", 0.8)


SABOTAGE: Final[dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Faults, str]]] = {
    "tokens that never end": (_believe_everything, NONE, "presented an ended token"),
    "a lock that excludes nothing, and is believed": (_believe_a_void_lock, ALL, "sent twice"),
    "a pause without end": (_never_try_again, replace(NONE, outage_h=3.0), "refused while the server was reachable"),
    "a window that opens too early": (_renew_too_early, NONE, "times the exchanges"),
}


@pytest.mark.parametrize(("harm", "faults", "words"), SABOTAGE.values(), ids=SABOTAGE)
def test_what_is_wrong_is_noticed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[pytest.MonkeyPatch], None],
    faults: Faults,
    words: str,
) -> None:
    """Without what keeps a login well, two days are not right, and the failure names its seed."""
    with monkeypatch.context() as patch:
        harm(patch)
        world = World(5, tmp_path, faults).live(days=2)
    with pytest.raises(AssertionError, match=f"seed 5: .*{words}"):
        check_with_one(world, tmp_path)
