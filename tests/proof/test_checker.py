"""The committed machines, explored exhaustively; and the proof that the exploration would find a missing part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kimi_auth.machine import Edge, Library, edges
from kimi_auth.proof.ablations import ABLATIONS, Ablation, leave_out, without
from kimi_auth.proof.explore import explore
from kimi_auth.proof.mutation import Mutant, merged, mutants, score
from kimi_auth.proof.rules import RULES
from kimi_auth.proof.scenarios import SCENARIOS, broken_scenario
from kimi_auth.proof.verdicts import Verdict, faults_of, visit, visit_config
from kimi_auth.proof.workers import Pool
from kimi_auth.proof.world import World
from kimi_auth.proof.worlds import FAST, ONE_FAULT, QUIET, WORLDS

SAMPLE = ("one process, any need", "one process, power cuts", *ONE_FAULT, "two quiet processes")
"""Worlds of a second or two. Every world of the proof is visited once by `test_figures.py::test_the_whole_proof`."""

COUNTED = {
    "the claim",
    "never without the lock",
    "closing by nonce",
    "closing the claim with the lock",
    "keeping the lock while the pair is unsaved",
    "the second look after claiming",
    "protection from cancellation",
    "signals wait until the pair is staged",
    "logout under the lock",
    "login under the lock",
    "only an OAuth error is a rejection",
    "no retry in line without a declared recovery",
    "a rejected bearer is handed out to others",
    "waiters wait out a backoff",
}
"""Ablations that are seen at once: they run in this process, where their lines are counted."""

Edit = Callable[[dict[str, Any]], None]


def edited(machines: Library, edit: Edit) -> Library:
    """`machines` with `edit` made in their data."""
    data = machines.data()
    edit(data)
    return Library.from_data(data)


def led(machine: str, state: str, outcome: str, target: str) -> Edit:
    """That edge leads to `target` instead."""

    def edit(data: dict[str, Any]) -> None:
        data[machine]["states"][state]["on"][outcome] = target

    return edit


@pytest.mark.parametrize("name", SAMPLE)
def test_no_rule_is_broken(machines: Library, pool: Pool, name: str) -> None:
    """Kills, cancellations, lost and late answers at every step, in every order: no rule is broken, and all settles."""
    report = pool.submit(visit, machines.data(), name).result()
    verdict = Verdict(name, {**FAST, **WORLDS}[name], report)
    assert verdict.holds, "\n".join(verdict.lines())
    assert verdict.report is not None
    assert verdict.report.states > 100


def test_no_machine_is_at_fault(machines: Library) -> None:
    """Lock discipline, and short courses that each machine must take: what no world reaches, sign-in above all."""
    assert faults_of(machines) == []


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: ablation.part)
def test_what_is_left_out_is_missed(machines: Library, pool: Pool, ablation: Ablation) -> None:
    """Without one part of the protocol the rules that it is there for are broken, and a story says how."""
    if ablation.part in COUNTED:
        report = without(ablation, machines)
    else:
        report = pool.submit(leave_out, machines.data(), ABLATIONS.index(ablation)).result()
    assert ablation.breaks <= report.stories.keys() <= RULES.keys()
    assert bool(report.stories) is bool(ablation.breaks)
    assert all(report.stories[rule].steps for rule in ablation.breaks)


def test_a_signal_that_does_not_wait(machines: Library) -> None:
    """The shortest course in which a signal ends the process between its claim and the staged pair: the answer has come."""
    ablation = next(one for one in ABLATIONS if one.part == "signals wait until the pair is staged")
    steps = without(ablation, machines).stories["I2"].steps
    assert len(steps) == 5
    assert "--claimed-->" in steps[1]
    assert "--tokens--> token_refresh.staging" in steps[3]
    assert steps[4] == "A: is ended by a signal before the pair is staged"


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": "lenient"},
        {"policy": "grace"},
        {"any_need": True, "all_answers": True},
        {"logouts": 1, "all_answers": True},
        {"spoils": 1, "policy": "lenient", "gives_up": True, "full_disk": True},
        {"old_program": True, "logins": 1, "policy": "none"},
        {"old_program": True, "logouts": 1, "policy": "none"},
    ],
    ids=str,
)
def test_a_small_world_holds(machines: Library, pool: Pool, changes: dict[str, Any]) -> None:
    """One process alone: with every server, and with each thing that a world can have more than others."""
    report = pool.submit(visit_config, machines.data(), QUIET._replace(processes=1, **changes)).result()
    assert report is not None
    assert report.holds, "\n\n".join(map(str, report.stories.values()))


def test_the_smallest_world_holds(machines: Library) -> None:
    """A server that does not rotate, and one process: explored in this process, where the checker's lines are counted."""
    report = explore(World(machines, QUIET._replace(processes=1, policy="none")))
    assert report.holds, "\n\n".join(map(str, report.stories.values()))


LED_ELSEWHERE = {
    "I1": ("token_refresh", "rereading", "backing_off", "exchanging"),
    "I4": ("token_lifecycle", "fresh", "touched", "signing_out"),
    "I8": ("token_lifecycle", "fresh", "touched", "expiring"),
    "crash": ("token_refresh", "rereading", "backing_off", "staging"),
    "step bound": ("token_refresh", "rereading", "backing_off", "rereading"),
    "looking spends nothing": ("token_lifecycle", "fresh", "touched", "refreshing"),
    "an event is acted on": ("token_lifecycle", "fresh", "rejected", "fresh"),
    "clients are served": ("token_lifecycle", "refreshing", "renewed", "inspecting"),
    "progress": ("token_lifecycle", "refreshing", "renewed", "falling_back"),
    "one recovery in line": ("token_lifecycle", "backing_off", "over", "falling_back"),
    "I4b": ("token_lifecycle", "falling_back", "usable", "expired"),
}
"""By rule: an edge that breaks it when it leads there."""


@pytest.mark.parametrize("rule", LED_ELSEWHERE)
def test_a_broken_rule_is_found(machines: Library, rule: str) -> None:
    """An edge that leads elsewhere breaks the rule that is about it."""
    broken = edited(machines, led(*LED_ELSEWHERE[rule]))
    report = explore(World(broken, QUIET._replace(processes=1, power=True)), seek=frozenset({rule}))
    assert rule in report.stories


def test_a_story_is_told_in_the_words_of_the_machines(machines: Library) -> None:
    """A broken world names the rule, says what it is, and numbers the steps; no line is wider than it may be."""
    broken = edited(machines, led("token_refresh", "exchanging", "not_processed", "exchanging"))
    name = "one process, power cuts"
    verdict = Verdict(name, WORLDS[name], visit(broken.data(), name))
    lines = list(verdict.lines(80))
    assert lines[0].startswith(f"{name}: BROKEN, ")
    assert lines[1].endswith("and stopped there")
    assert lines[2].startswith("  I1 is broken in")
    assert any("token_refresh.exchanging --not_processed--> token_refresh.exchanging" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_a_world_that_runs_away_is_broken(machines: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with more states than any of ours is reported as broken, not waited for."""
    monkeypatch.setattr("kimi_auth.proof.verdicts.STATES_MAX", 100)
    name = "one process, power cuts"
    verdict = Verdict(name, WORLDS[name], visit(machines.data(), name))
    assert not verdict.holds
    assert "more than 100 states" in " ".join(verdict.lines())
    monkeypatch.setattr("kimi_auth.proof.mutation.LIMIT", 100)
    edge = Edge("token_refresh", "exchanging", "tokens", "staging")
    found = score(machines.data(), {next(iter(FAST)): {edge}}, [Mutant(edge, "staging")])
    assert dict(found.killed) == {"checker: too many states": 1}


def _no_login(data: dict[str, Any]) -> None:
    del data["device_login"]["states"]["persisting"]["on"]["unwritable"]
    data["device_login"]["states"]["persisting"]["activity"] = "keep_it"
    del data["device_login"]["states"]["returning_grant"]


def _renamed_outcome(data: dict[str, Any]) -> None:
    on = data["token_lifecycle"]["states"]["inspecting"]["on"]
    on["new"] = on.pop("fresh")


@pytest.mark.parametrize(
    ("edit", "fault", "rule"),
    [
        (led("device_login", "polling", "unreachable", "failed"), "a scenario is broken: pending, slow_down", ""),
        (_no_login, "store_credential", ""),
        (_renamed_outcome, "a scenario is broken", "undeclared outcome"),
        (
            led("token_refresh", "exchanging", "not_processed", "exchanging"),
            "a scenario is broken: a busy server",
            "I1",
        ),
    ],
    ids=[
        "a transient error ends a login",
        "nobody stores",
        "an outcome has another name",
        "a busy server is asked again",
    ],
)
def test_an_edited_machine_is_judged(machines: Library, pool: Pool, edit: Edit, fault: str, rule: str) -> None:
    """Edited machines get a verdict, whatever was edited: faults, or a rule that a world breaks."""
    broken = edited(machines, edit)
    assert any(fault in said for said in faults_of(broken))
    report = pool.submit(visit, broken.data(), "one process, power cuts").result()
    assert report is not None
    assert list(report.stories) == ([rule] if rule else [])


def test_machines_of_something_else_have_no_world(machines: Library) -> None:
    """Without the machines that the worlds are about there is nothing to visit, and that is said."""
    data = machines.data()
    del data["device_login"]
    assert faults_of(Library.from_data(data)) == [
        "there is no machine device_login; the worlds of the proof are about it"
    ]


KILLED = {
    "lint": Mutant(Edge("device_login", "polling", "access_denied", "denied"), "waiting"),
    "scenario": Mutant(Edge("device_login", "polling", "unreachable", "waiting"), "failed"),
    "checker: I1": Mutant(Edge("token_refresh", "exchanging", "not_processed", "withdrawing_unsent"), "exchanging"),
    "": Mutant(Edge("token_refresh", "exchanging", "in_doubt", "postponing_in_doubt"), "postponing_in_doubt"),
}
"""By what kills it: a mutant. The last one is the machine itself, which nothing must kill."""


SAID = {
    "lint": [["lint: device_login.toml, [states.denied]: cannot be reached from 'checking_store'"]],
    "scenario": [["scenario: pending, slow_down and a lost answer all wait and ask again, with the same code"]],
    "checker: I1": [["checker: I1"]],
    "": [],
}
"""By what kills it: the killers that the figures keep for its edge."""


def test_mutants_are_killed(machines: Library, pool: Pool) -> None:
    """An edge that leads elsewhere is found wrong by a lint, a scenario or a world, and it is said by which."""
    walked = {"one quiet process": set(edges(machines["token_refresh"]))}
    scores = []
    for by, mutant in KILLED.items():
        walks = walked | {name: set() for name in FAST if name not in walked}
        found = pool.submit(score, machines.data(), walks, [mutant]).result()
        scores.append(found)
        assert dict(found.killed) == ({by: 1} if by else {})
        assert found.survivors == ([] if by else [str(mutant)])
        assert [list(killers) for killers in found.killers.values()] == SAID[by]
    assert len(list(mutants(machines["device_login"]))) == len(edges(machines["device_login"])) * (
        len(machines["device_login"].states) - 1
    )
    assert merged([found, found]).mutants == 2
    assert merged(scores).killers == {
        str(KILLED[by].edge): {said[0][0]: [KILLED[by].target]} for by, said in SAID.items() if said
    }


def test_every_scenario_holds(machines: Library) -> None:
    """Each scenario is of a machine of ours and holds; one that asks for another course is broken."""
    assert broken_scenario(machines, SCENARIOS) == ""
    wrong = SCENARIOS[0]._replace(course="check_store ready, request_code refused")
    assert broken_scenario(machines, [wrong]) == wrong.says
