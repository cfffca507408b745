"""The exported model in TLA+ and in Quint: TLC visits the same states and finds the same shortest counterexamples, and Quint's
simulator sees the same rules hold and break."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from house import npm
from proof.checkers import install
from servers.fixtures import unavailable

from kimi_auth.cli import main
from kimi_auth.machine import Library, digest
from kimi_auth.proof.export import others, simulator, tlc
from kimi_auth.proof.export.model import Exported, exported
from kimi_auth.proof.export.quint import quint
from kimi_auth.proof.export.tla import tla
from kimi_auth.proof.rules import RULES
from kimi_auth.proof.worlds import QUIET

ALONE = QUIET._replace(processes=1)


MEASURED = Path(__file__).parents[2] / "diagrams" / "measured"
Quint = tuple[str, ...]
CLI = npm.QUINT.modules / "@informalsystems/quint/dist/src/cli.js"


@pytest.fixture
def jar() -> Path:
    """The jar of TLC."""
    if lacks := install.missing():
        unavailable(*lacks)
    return install.JAR


@pytest.fixture
def quint_command() -> Quint:
    """Node and Quint's program."""
    if lacks := npm.QUINT.missing():
        unavailable(*lacks)
    return npm.tool("node") or "node", str(CLI)


@pytest.mark.prove
def test_tlc_visits_the_same_states(jar: Path, machines: Library, measured: Callable[[str], None]) -> None:
    """Visited whole: no rule breaks, and there is one state for each of ours, as spin has."""
    row = others.tlc_world(machines, jar)
    measured(f"{row['world']}: TLC: {row['verdict']}, {row['states']:,} states, {row['seconds']} s")
    assert (row["verdict"], row["states"]) == ("holds", row["ours"])


@pytest.mark.prove
@pytest.mark.parametrize("part", others.NEAR)
def test_tlc_finds_the_ablation(jar: Path, machines: Library, measured: Callable[[str], None], part: str) -> None:
    """Without that part TLC breaks one of the same rules, in as few steps as ours."""
    row = others.tlc_ablation(machines, jar, part)
    measured(f"without {part}: TLC: {row['rule']} in {row['steps']} steps, {row['seconds']} s")
    assert row["rule"] in others.PARTS[part].breaks
    assert row["steps"] == row["ours"]


@pytest.mark.prove
def test_quint_simulates_the_world(quint_command: Quint, machines: Library, measured: Callable[[str], None]) -> None:
    """The module has Quint's types and effects, and no rule breaks in any of its walks."""
    row = others.quint_world(machines, quint_command)
    measured(f"{row['about']}: Quint: {row['samples']} walks of {row['steps']} steps, {row['seconds']} s")
    assert row["rule"] == ""


@pytest.mark.prove
@pytest.mark.soak
def test_quint_simulates_two_processes(
    quint_command: Quint, machines: Library, measured: Callable[[str], None]
) -> None:
    """With two processes, more walks and longer ones: no rule breaks."""
    row = others.quint_world(machines, quint_command, "two quiet processes", samples=60, steps=40)
    measured(f"{row['about']}: Quint: {row['samples']} walks of {row['steps']} steps, {row['seconds']} s")
    assert row["rule"] == ""


@pytest.mark.prove
def test_quint_finds_an_ablation(quint_command: Quint, machines: Library, measured: Callable[[str], None]) -> None:
    """Its simulator comes to a state in which the rule is broken."""
    row = others.quint_ablation(machines, quint_command)
    measured(f"without {row['about']}: Quint: {row['rule']} in {row['steps']} steps, {row['seconds']} s")
    assert row["rule"] in others.PARTS[others.SIMULATED].breaks


def test_a_jar_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TLC's own complaint is said, and no traceback."""
    if not tlc.has_java() or npm.tool("node") is None:
        unavailable("there is no java, or no node", "apt-get install default-jre-headless nodejs")
    file = tmp_path / "no.jar"
    file.write_bytes(b"no jar")
    assert others.main(["--tlc", str(file), "--quint", str(file)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("no verdict: ")
    assert "tlc2.TLC" in said


def test_what_quint_cannot_read_is_told(
    quint_command: Quint, machines: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that is not Quint is no verdict."""
    monkeypatch.setattr(simulator, "quint", lambda model: "module kimi_auth { nothing }")
    with pytest.raises(simulator.QuintFailed, match="error"):
        others.quint_world(machines, quint_command)


def test_a_disagreement_is_told(machines: Library) -> None:
    """A count that differs, an ablation that is not found, a rule that breaks in a world that holds."""
    good = {
        "worlds": [{"states": 3, "ours": 3, "verdict": "holds"}],
        "ablations": [{"rule": "I1", "steps": 7, "ours": 7}],
        "simulated": [{"about": others.ALONE, "rule": ""}, {"about": others.SIMULATED, "rule": "I9"}],
    }
    assert others.disagreements(good) == []
    bad = {
        "worlds": [{"states": 3, "ours": 4, "verdict": "holds"}, {"states": 3, "ours": 3, "verdict": "broken: I1"}],
        "ablations": [{"rule": "", "steps": 7, "ours": 7}, {"rule": "I1", "steps": 8, "ours": 7}],
        "simulated": [{"about": others.ALONE, "rule": "I1"}, {"about": others.SIMULATED, "rule": ""}],
    }
    assert len(others.disagreements(bad)) == 6


def test_the_kept_figures_are_whole(machines: Library) -> None:
    """They are about today's machines, agree with ours, and have every part that is asked."""
    kept = json.loads((MEASURED / others.NAME).read_text("utf-8"))
    assert kept["machines"] == digest(machines), "the figures are of other machines; measure again: make verify"
    assert others.disagreements(kept) == []
    assert tuple(row["about"] for row in kept["ablations"]) == others.NEAR
    assert [row["about"] for row in kept["simulated"]] == [others.ALONE, others.SIMULATED]


def test_without_a_program_the_command_says_what_to_install(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 3, and the command that helps."""
    assert others.main(["--tlc", str(tmp_path / "no.jar"), "--quint", str(tmp_path / "no.js")]) == 3
    assert "make servers" in capsys.readouterr().out


@pytest.mark.parametrize("write", [tla, quint], ids=["tla", "quint"])
def test_the_text_has_every_rule_and_state(machines: Library, write: Callable[[Exported, str], str]) -> None:
    """The same text each time; each rule is explained in its head, and each state of a machine is a position."""
    model = exported(machines, ALONE)
    text = write(model, "one quiet process")
    assert text == write(model, "one quiet process")
    for rule, about in RULES.items():
        assert f"{rule}: {about}" in text
    for name in ("token_lifecycle", "token_refresh", "sign_out"):
        assert all(f"{name}_{state}" in text for state in machines[name].states)
    assert all(f" h_{name}(s" in text for name in model.hooks)


@pytest.mark.parametrize("form", ["quint", "tla"])
def test_the_command_prints_it(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """`--export` prints the module of the named world."""
    assert main(["diagram", "--export", form, "--world", "one process signs out"]) == 0
    shown = capsys.readouterr().out
    assert "one process signs out: generated by" in shown
    assert shown.startswith("----" if form == "tla" else "// one")
