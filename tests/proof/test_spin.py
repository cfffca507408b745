"""spin visits the exported model: the same states, the same verdict, and the same shortest counterexamples as ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.machine import Library, digest
from kimi_auth.proof.ablations import ABLATIONS, Ablation
from kimi_auth.proof.export import compare, promela
from kimi_auth.proof.export.compare import COMPARED, NOT_COMPARED, OF_ONE_CHECKER, compared_ablation, compared_world
from kimi_auth.proof.export.model import NotExportable, exported
from kimi_auth.proof.export.spin import SpinFailed, compiled, missing_tool
from kimi_auth.proof.worlds import QUIET

MEASURED = Path(__file__).parents[2] / "diagrams" / "measured"
BY_PART = {ablation.part: ablation for ablation in ABLATIONS}

needs_spin = pytest.mark.spin


@pytest.fixture(autouse=True)
def spin(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("spin") and (tool := missing_tool()):
        pytest.skip(f"{tool} is not here: apt-get install spin gcc libc6-dev")


@needs_spin
@pytest.mark.prove
@pytest.mark.parametrize("name", COMPARED)
def test_a_world_is_the_same_for_both(machines: Library, measured: Callable[[str], None], name: str) -> None:
    """Visited whole by both: no rule is broken, and there is one state for each of ours."""
    row = compared_world(machines, name)
    measured(row.line)
    assert row.agrees, row.line


@needs_spin
@pytest.mark.prove
def test_moves_that_are_taken_together_hide_nothing(machines: Library, measured: Callable[[str], None]) -> None:
    """With each step of a walk a move of its own there are twelve times as many states, the same ones, and no rule breaks."""
    row = compared_world(machines, "two quiet processes", chained=False)
    measured(row.line)
    assert row.agrees, row.line


@needs_spin
@pytest.mark.prove
@pytest.mark.parametrize("part", BY_PART)
def test_each_ablation_is_found_by_both(machines: Library, measured: Callable[[str], None], part: str) -> None:
    """Without that part spin breaks the same rules, in as many steps; where nothing breaks, in as many states."""
    ablation: Ablation = BY_PART[part]
    try:
        rows = compared_ablation(machines, ablation)
    except NotExportable:
        assert part in NOT_COMPARED
        return
    for row in rows:
        measured(row.line)
        assert row.agrees, row.line
    assert ablation.breaks - OF_ONE_CHECKER <= {row.rule for row in rows}
    assert all(bool(row.rule) == bool(ablation.breaks) for row in rows)


@needs_spin
def test_a_model_that_is_too_small_says_so(machines: Library) -> None:
    """With room for one pair the export stops, instead of forgetting a state."""
    with (
        compiled(exported(machines, QUIET._replace(processes=1), pairs=1), shortest=True) as verifier,
        pytest.raises(SpinFailed),
    ):
        verifier.run()


def test_the_figures_are_whole(machines: Library) -> None:
    """The kept figures are about today's machines, agree with ours, and leave out only ablations with an argument."""
    figures: Any = json.loads((MEASURED / "spin.json").read_text("utf-8"))
    stale = "the figures are of other machines; measure again: make verify"
    assert figures["machines"] == digest(machines), stale
    assert figures["not_compared"] == NOT_COMPARED, stale
    assert [row["world"] for row in figures["worlds"]][: len(COMPARED)] == list(COMPARED), stale
    assert all(row["states"] == row["ours"] for row in figures["worlds"])
    found = {(row["about"], row["rule"]) for row in figures["ablations"]}
    parts = [part for part in ABLATIONS if part.part not in NOT_COMPARED]
    assert {(part.part, rule) for part in parts for rule in (part.breaks or {""}) - OF_ONE_CHECKER} <= found, stale
    assert {part.part for part in parts} == {about for about, _ in found}, stale
    assert all(row.get("steps", row.get("states")) == row["ours"] for row in figures["ablations"])


def test_without_spin_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 3, and the command that helps."""
    monkeypatch.setattr(compare, "missing_tool", lambda: "spin")
    assert compare.main([]) == 3
    assert "apt-get install spin" in capsys.readouterr().out


@needs_spin
@pytest.mark.prove
def test_a_fault_in_one_of_the_two_shows(machines: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where spin's side forgets one difference less, the numbers differ: that they are equal says something."""
    forgets = "if (now.pair[i].phase == EXPIRED) now.pair[i].rejected = 0;"
    assert forgets in promela.WALKS
    monkeypatch.setattr(promela, "WALKS", promela.WALKS.replace(forgets, ""))
    assert not compared_world(machines, "one quiet process").agrees
