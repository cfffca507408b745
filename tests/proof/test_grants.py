"""The world of grants: every state is visited, every rule holds, and every part and edge is missed."""

from __future__ import annotations

import pytest

from kimi_auth.machine import Library, SpecError, edges
from kimi_auth.proof.grants import ABLATIONS, RULES, explore_grants
from kimi_auth.proof.mutation import Mutant, mutants
from kimi_auth.proof.scenarios import SCENARIOS, broken_scenario
from kimi_auth.proof.verdicts import faults_of

MACHINES = Library.load()


def test_every_rule_holds_in_every_state() -> None:
    """Two processes, kills, a full disk and the clock: no rule is broken, and every edge of the machine is walked."""
    report = explore_grants(MACHINES)
    assert report.broken == {}
    assert report.walked == set(edges(MACHINES["grant"]))
    assert report.states > 1_000
    assert faults_of(MACHINES) == []


@pytest.mark.parametrize("part", ABLATIONS)
def test_every_part_is_missed(part: str) -> None:
    """Without the last look, the audit line, the note of the first use or the end on disk the rule that it serves breaks."""
    broken = explore_grants(MACHINES, part).broken
    assert ABLATIONS[part] in broken
    assert set(broken) <= set(RULES)


def test_no_edge_can_be_led_elsewhere_unseen() -> None:
    """Each edge, led to each other state, breaks a lint or a scenario; half of them break a rule of this world as well."""
    survivors, seen_by_the_world = [], 0
    for mutant in mutants(MACHINES["grant"]):
        try:
            edited = mutant.library(MACHINES)
        except SpecError:
            continue
        if not broken_scenario(edited, (one for one in SCENARIOS if one.machine == "grant")):
            survivors.append(str(mutant))
    for edge in edges(MACHINES["grant"]):
        for target in ("active", "revoked"):
            if target == edge.target:
                continue
            try:
                edited = Mutant(edge, target).library(MACHINES)
            except SpecError:
                continue
            seen_by_the_world += bool(explore_grants(edited).broken)
    assert survivors == []
    assert seen_by_the_world > 10
