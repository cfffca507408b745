"""The committed machines, explored exhaustively; and the proof that the exploration would find what is missing."""

from __future__ import annotations

import pytest

from kimi_auth.flows.simulated.ablations import ABLATIONS, Ablation, without
from kimi_auth.flows.simulated.mutation import Mutant, killer, mutants, walked_by_world
from kimi_auth.flows.simulated.promises import PROMISES, broken_promise
from kimi_auth.flows.simulated.world import World
from kimi_auth.flows.simulated.worlds import FAST, WORLDS
from kimi_auth.machine import Library
from kimi_auth.machine.explore import explore

QUIET = ("two quiet processes", "two processes, one signs out", "one process, power cuts")
"""Worlds that every run of the tests visits as a whole."""

PROVED = ("two processes", "two processes, power cuts")
"""Worlds of minutes, for the long proofs."""

QUICK_ABLATIONS = {
    "never without the lock",
    "re-read under the lock",
    "the claim",
    "renewing the claim before recovery sends",
    "keeping the lock while the pair is unsaved",
    "the second look after claiming",
}


@pytest.fixture(scope="module")
def machines() -> Library:
    """The machines that run."""
    return Library.load()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", QUIET)
def test_no_rule_is_broken(machines: Library, name: str) -> None:
    """Kills, cancellations, lost and late answers at every step, every interleaving: no invariant is violated, all settles."""
    report = explore(World(machines, FAST[name]), limit=1_000_000)
    assert report.states > 1_000
    assert not report.stories, "\n\n".join(map(str, report.stories.values()))


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PROVED)
def test_no_rule_is_broken_in_a_larger_world(machines: Library, name: str) -> None:
    """The same with a login and a logout at any moment, and with power cuts."""
    report = explore(World(machines, WORLDS[name]), limit=5_000_000)
    assert not report.stories, "\n\n".join(map(str, report.stories.values()))


def ablation_ids(ablation: Ablation) -> str:
    return ablation.part


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "ablation",
    [pytest.param(a, id=a.part, marks=[] if a.part in QUICK_ABLATIONS else [pytest.mark.prove]) for a in ABLATIONS],
)
def test_what_is_left_out_is_missed(machines: Library, ablation: Ablation) -> None:
    """Without one part of the protocol the rule that it is there for is broken, and the story says how."""
    report = without(ablation, machines, limit=2_000_000)
    assert bool(ablation.breaks) == bool(ablation.breaks & set(report.stories))
    for story in report.stories.values():
        assert str(story)


def test_every_promise_is_kept(machines: Library) -> None:
    """Short courses that each machine must take: what the exploration does not reach, sign-in above all."""
    assert broken_promise(machines, PROMISES) == ""


def test_a_mutant_is_killed(machines: Library) -> None:
    """An edge that leads elsewhere is found wrong by a lint or a promise, and it is said by which."""
    found: list[Mutant] = list(mutants(machines["device_login"]))
    assert len(found) > 100
    assert killer(found[0], machines, {})


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_the_fast_worlds_walk_what_they_say(machines: Library) -> None:
    """Each world of the mutation run walks edges of the machines."""
    worlds = {name: FAST[name] for name in QUIET}
    assert all(walked_by_world(machines, worlds).values())
