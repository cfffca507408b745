"""The figures of the proof that are kept: about today's machines, whole, argued for, and the same when measured again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.machine import Edge, Library, digest, edges
from kimi_auth.proof import proofs
from kimi_auth.proof.ablations import ABLATIONS
from kimi_auth.proof.equivalent_mutants import ARGUMENTS
from kimi_auth.proof.mutation import Mutant, mutants
from kimi_auth.proof.rules import RULES
from kimi_auth.proof.worlds import WORLDS
from kimi_auth.review.html_page import html_page
from kimi_auth.review.page_data import PageData

MEASURED = Path(__file__).parents[2] / "diagrams" / "measured"
STALE = "the figures are of other machines or another proof; measure again: make verify, then make diagrams"

SMALL = "one process, power cuts"
EDGE = Edge("token_refresh", "exchanging", "in_doubt", "postponing_in_doubt")
SELF = Mutant(EDGE, "postponing_in_doubt")
"""A mutant that is the machine itself."""


def kept(name: str) -> Any:
    return json.loads((MEASURED / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", ["checker", "mutation"])
def test_they_are_about_the_machines_that_run(machines: Library, name: str) -> None:
    """A machine that changes takes its figures with it."""
    assert kept(name)["machines"] == digest(machines), STALE


def test_they_are_whole(machines: Library) -> None:
    """Every world, every rule and every ablation is in them, and every mutant was hunted."""
    checker, mutation = kept("checker"), kept("mutation")
    worlds = [(run["world"], run["processes"], run["policy"]) for run in checker["runs"]]
    assert worlds == [(name, config.processes, config.policy) for name, config in WORLDS.items()], STALE
    assert {rule["name"]: rule["about"] for rule in checker["invariants"]} == RULES, STALE
    missed = [(row["about"], row["rule"]) for row in checker["ablations"]]
    assert set(missed) == {(part.part, rule) for part in ABLATIONS for rule in part.breaks or {""}}, STALE
    assert mutation["mutants"] == sum(len(list(mutants(machine))) for machine in machines.values()), STALE


def test_every_survivor_is_argued_for() -> None:
    """A mutant that survives has a reason, in one sentence; a reason without a surviving mutant is stale."""
    mutation = kept("mutation")
    survivors = {one["mutant"]: one["argument"] for one in mutation["survivors"]}
    assert survivors == ARGUMENTS, STALE
    assert all(argument.endswith(".") for argument in survivors.values())
    assert mutation["killed"] == sum(mutation["by"].values()) == mutation["mutants"] - len(survivors)


def test_every_edge_that_can_be_walked_is_walked(machines: Library) -> None:
    """Edges of the credential's machines that no world walks would be unproved."""
    walked = {edge for run in kept("checker")["runs"] for edge in run["walked"]}
    credential = ("sign_out", "token_lifecycle", "token_refresh")
    assert [str(edge) for name in credential for edge in edges(machines[name]) if str(edge) not in walked] == []


def test_a_reviewer_sees_them(machines: Library) -> None:
    """The page shows each world with its size, each rule, and what caught the mutants."""
    page = html_page(machines, PageData(checker=kept("checker"), mutation=kept("mutation")))
    for run in kept("checker")["runs"]:
        assert f">{run['world']}</th>" in page
        assert f"{run['states']:,}".replace(",", "\u202f") in page
    for words in ("N processes share one credential", "A logout is final", "checker: I8"):
        assert words in page


@pytest.fixture
def short(uncounted: None, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A proof of one world, two ablations and no mutant."""
    for name, value in {"WORLDS": {SMALL: WORLDS[SMALL]}, "FAST": {SMALL: WORLDS[SMALL]}, "QUICK": (SMALL,)}.items():
        monkeypatch.setattr(proofs, name, value)
    monkeypatch.setattr(proofs, "ABLATIONS", ABLATIONS[:2])
    monkeypatch.setattr(proofs, "mutants", lambda machine: [])
    return monkeypatch


def test_the_proof_is_told_and_kept(
    short: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Worlds, parts and mutants are told as they are proved, and the figures are the same bytes each time."""
    short.setattr(proofs, "ARGUMENTS", {str(SELF): "It is the machine itself."})
    short.setattr(proofs, "mutants", lambda machine: [SELF] if machine.name == EDGE.machine else [])
    assert proofs.main(["--write", str(tmp_path), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert f"{SMALL}: holds" in said
    assert "without re-read under the lock: I8 in" in said
    assert "edges led elsewhere: 0 of 1 mutants are killed" in said
    mutation = json.loads((tmp_path / "mutation.json").read_text("utf-8"))
    assert mutation["survivors"] == [{"argument": "It is the machine itself.", "mutant": str(SELF)}]
    checker = json.loads((tmp_path / "checker.json").read_text("utf-8"))
    (run,) = checker["runs"]
    full = next(run for run in kept("checker")["runs"] if run["world"] == SMALL)
    same = ("states", "edges", "depth", "longest_walk", "processes", "policy")
    assert {key: run[key] for key in same} == {key: full[key] for key in same}, STALE
    assert json.loads((tmp_path / "revision.json").read_text("utf-8"))["machines"] == checker["machines"]


def test_a_survivor_without_a_reason_fails(
    short: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failed proof writes nothing, and its faults are printed at the end."""
    short.setattr(proofs, "mutants", lambda machine: [SELF] if machine.name == EDGE.machine else [])
    short.setattr(proofs, "ARGUMENTS", {"a mutant of old": "It was as good."})
    assert proofs.main(["--write", str(tmp_path), "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert f"NOT AS IT MUST BE: nothing kills the mutant {SELF}" in said
    assert "NOT AS IT MUST BE: a mutant is argued for and killed: a mutant of old" in said
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_nobody_misses_fails(
    short: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An ablation that does not break what it must, or breaks what it must not, is a hole in the checker."""
    wrong = (replace(ABLATIONS[0], breaks=frozenset({"I9"})), replace(ABLATIONS[1], breaks=frozenset()))
    short.setattr(proofs, "ABLATIONS", wrong)
    assert proofs.main(["--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert "NOT AS IT MUST BE: without never without the lock, I9 must break" in said
    assert "NOT AS IT MUST BE: without re-read under the lock, nothing must break" in said


def test_a_broken_world_fails(short: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine that breaks a rule is told with its story, and the status is 1."""
    data = Library.load().data()
    data["token_refresh"]["states"]["exchanging"]["on"]["not_processed"] = "exchanging"
    broken = Library.from_data(data)
    short.setattr(Library, "load", lambda: broken)
    assert proofs.main(["--quick", "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert "I1 is broken in" in said
    assert f"NOT AS IT MUST BE: a rule is broken in the world of {SMALL}" in said
    assert "NOT AS IT MUST BE: a scenario is broken: a busy server leaves no claim and a backoff" in said


def test_it_says_how_it_is_run() -> None:
    """`python -m kimi_auth.proof --help` names the options."""
    command = [sys.executable, "-m", "kimi_auth.proof", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert {"--quick", "--write", "--workers"} <= set(said.replace("[", " ").split())


@pytest.mark.prove
@pytest.mark.timeout(2400)
def test_the_whole_proof(tmp_path: Path) -> None:
    """Every world, every ablation and every mutant, again: it is all as it must be, and the figures are the same bytes."""
    assert proofs.main(["--write", str(tmp_path)]) == 0
    for name in ("checker", "mutation"):
        assert (tmp_path / f"{name}.json").read_bytes() == (MEASURED / f"{name}.json").read_bytes(), STALE
