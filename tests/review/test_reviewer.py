"""What a reviewer looks up on the page: an answer's edge, a file's name, an outcome's tests, what notices an edit, other checkers."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from kimi_auth.machine import Library, digest, edges
from kimi_auth.review.html_page import html_page
from kimi_auth.review.page_data import NO_PAGE_DATA, PageData

OWN = Library.load()
CLAIMED = next(edge for edge in edges(OWN["token_refresh"]) if edge.event == "interrupted")
ADDRESS = "token_refresh.claiming.interrupted"


def coverage() -> dict[str, Any]:
    return {
        name: {
            "digest": digest(machine),
            "edges": {
                f"{edge.source}.{edge.event}": {"tests/t.py::a": 2, "tests/t.py::b": 1} for edge in edges(machine)
            },
        }
        for name, machine in OWN.items()
    }


def page_data() -> PageData:
    killers = {
        str(CLAIMED): {
            "lint: token_refresh.toml, [states.x]: cannot be reached": ["adopted", "gone", "revoked"],
            "scenario: a death is noticed": ["postponed"],
            "checker: I1": ["exchanging"],
        }
    }
    walks = {
        "machines": digest(OWN),
        "dying": {"token_refresh.claiming": {"record": ["a pair"], "claim": ["none"]}},
        "files": {"record": "credentials/x.json", "claim": "credentials/x.<fp>.next"},
        "sent again": [ADDRESS],
        "not spent": ["token_refresh.exchanging.not_processed"],
        "behind lints": {str(CLAIMED): {"a login is kept": ["adopted", "gone"]}},
        "scenarios": [
            {"machine": "token_refresh", "says": says, "walks": [["", "reread renewable, claim claimed", "renewed"]]}
            for says in ("a death is noticed", "a login is kept")
        ],
    }
    checker = {
        "machines": digest(OWN),
        "runs": [{"world": "one", "processes": 1, "states": 10, "edges": 20, "depth": 3, "longest_walk": 2}],
        "invariants": [{"name": "I1", "about": "Never twice."}],
        "ablations": [],
    }
    mutation = {"machines": digest(OWN), "mutants": 5, "killed": 5, "by": {}, "killers": killers, "survivors": []}
    answers = {
        "exchange": {
            "columns": ["status", "outcome"],
            "rows": [
                [str(number), outcome] for number, outcome in enumerate(OWN["token_refresh"].states["exchanging"].on)
            ],
        }
    }
    world = {"world": "one", "states": 10, "ours": 10, "transitions": 30, "seconds": 0.5, "verdict": "holds"}
    broken = {"about": "the claim", "rule": "I1", "steps": 7, "ours": 7, "seconds": 0.1, "course": ["A: <begins>"]}
    spin = {
        "machines": digest(OWN),
        "worlds": [world],
        "ablations": [broken],
        "not_compared": {"a lease": "the export has files only", "a fence": "the export has files only"},
    }
    quint = {"checker": "Quint", "samples": 10, "steps": 20, "seconds": 26.0}
    others = {
        "machines": digest(OWN),
        "worlds": [world | {"checker": "TLC", "seconds": 40.0, "transitions": 0}],
        "ablations": [broken | {"checker": "TLC"}],
        "simulated": [quint | {"about": "one", "rule": ""}, quint | {"about": "no lock", "rule": "I9", "steps": 9}],
    }
    return PageData({}, answers, coverage(), checker, mutation, {}, walks, {}, spin, others)


@pytest.fixture(scope="module")
def shown() -> str:
    return html_page(OWN, page_data())


def text(part: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", part)).split())


def row(shown: str, address: str) -> str:
    (found,) = re.findall(rf'<tr id="{re.escape(address)}".*?</tr>', shown, re.DOTALL)
    return str(found)


def section(shown: str, begins: str) -> str:
    return shown[shown.index(begins) :].partition("</table>")[0]


def test_an_answer_names_both_ends_of_its_edge(shown: str) -> None:
    """The state in which it comes, and the state that it leads to."""
    for number, (outcome, target) in enumerate(OWN["token_refresh"].states["exchanging"].on.items(), 1):
        found = row(shown, f"answer-exchange-{number}")
        assert f"token_refresh.exchanging → {target}" in text(found)
        assert f'href="#token_refresh.exchanging.{outcome}"' in found


def test_a_legend_names_the_files(shown: str) -> None:
    """Each column that outlives a process has a file."""
    found = text(section(shown, "<h3>If the process dies"))
    assert "record credentials/x.json" in found
    assert "claim credentials/x.<fp>.next" in found


def test_an_outcome_leads_to_its_edges_and_tests(shown: str) -> None:
    """Every edge is listed under its outcome, with the address of the list of its tests; that list is on the page."""
    index = shown[shown.index("<h2>Outcomes</h2>") :].partition("</table>")[0]
    for machine in OWN.values():
        for edge in edges(machine):
            address = f"{edge.machine}.{edge.source}.{edge.event}"
            assert f'href="#{address}">{edge.machine}.{edge.source} → {edge.target}</a>' in index
            assert f'href="#{address}.tests">2 tests</a>' in index
            assert f'<details id="{address}.tests">' in shown
    outcomes = {edge.event for machine in OWN.values() for edge in edges(machine)}
    assert {f"outcome-{outcome.replace('_', '-')}" for outcome in outcomes} == set(
        re.findall(r'<tr id="(outcome-[^"]+)"', index)
    )
    assert "not measured" in html_page(OWN, NO_PAGE_DATA).partition("<h2>Outcomes</h2>")[2]


def test_what_notices_an_edit_is_a_link(shown: str) -> None:
    """A scenario and a rule lead to their rows; behind a lint stand the scenario that notices, and what none notices."""
    found = row(shown, ADDRESS)
    assert '<a href="#scenario-token-refresh-a-death-is-noticed">scenario: a death is noticed</a>' in found
    assert '<a href="#rule-i1">checker: I1</a>' in found
    assert f'<details id="{ADDRESS}.elsewhere">' in found
    assert (
        "to adopted , gone , revoked : first by lint: token_refresh.toml, [states.x]: cannot be reached; behind it "
        "adopted , gone by scenario: a login is kept ; revoked by the lint alone"
    ) in text(found)


def test_what_was_not_spent_is_told_apart(shown: str) -> None:
    """A token that was not processed counts as not sent, and the edges that say so are links."""
    said = row(shown, "question-where-may-a-refresh-token-be-sent-twice")
    assert "One that may have been spent: only on a walk" in text(said)
    assert 'href="#token_refresh.exchanging.not_processed"' in said


def test_other_checkers_stand_beside_ours(shown: str) -> None:
    """Program, verdict, classes of both, seconds; a simulation has samples and steps; a part without a comparison has a reason."""
    found = text(shown[shown.index("<h3>Other checkers</h3>") :].partition("<h3>Scenarios</h3>")[0])
    assert "one spin holds 10 10 30 0.5" in found
    assert "one TLC holds 10 10 40.0" in found
    assert "one Quint no violation in 10 samples of 20 steps 26.0" in found
    assert "the claim spin I1 7 7 0.1 read it A: <begins>" in found
    assert "no lock Quint I9 at most 9, in 10 samples at most 26.0" in found
    assert "a lease; a fence the export has files only" in found


def test_figures_of_other_machines_are_left_out() -> None:
    """Each file is asked for itself whether it is about these machines."""
    data = page_data()
    old = PageData(spin=data.spin, others={**data.others, "machines": "others"})
    assert "spin" in html_page(OWN, old)
    assert "TLC</td>" not in html_page(OWN, old)
    none = PageData(spin={**data.spin, "machines": "others"}, others={**data.others, "machines": "others"})
    assert "Other checkers" not in html_page(OWN, none)
