"""The exported model in TLA+ and in Quint: TLC visits the same states and finds the same shortest counterexamples, and Quint's
simulator sees the same rules hold and break."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from house import npm
from proof.checkers import install
from servers.fixtures import unavailable

from kimi_auth.cli import main
from kimi_auth.machine import Library
from kimi_auth.proof.ablations import ABLATIONS, without
from kimi_auth.proof.explore import explore
from kimi_auth.proof.export import tlc
from kimi_auth.proof.export.compare import COMPARED, OF_ONE_CHECKER, model_without
from kimi_auth.proof.export.model import Exported, exported
from kimi_auth.proof.export.quint import quint
from kimi_auth.proof.export.tla import tla
from kimi_auth.proof.rules import RULES
from kimi_auth.proof.world import World
from kimi_auth.proof.worlds import QUIET

BY_PART = {ablation.part: ablation for ablation in ABLATIONS}
NEAR = (
    "never without the lock",
    "the claim",
    "closing the claim with the lock",
    "keeping the lock while the pair is unsaved",
    "credential first, sidecars after, at logout",
    "protection from cancellation",
    "only an OAuth error is a rejection",
    "no retry in line without a declared recovery",
    "a rejected bearer is handed out to others",
    "waiters wait out a backoff",
)
"""Ablations whose counterexample has at most ten steps. TLC needs minutes for the others, which spin has in a second each."""

SIMULATED = "never without the lock"
"""The ablation that a simulation of some dozen walks finds."""

ALONE = QUIET._replace(processes=1)


CLI = npm.QUINT.modules / "@informalsystems/quint/dist/src/cli.js"


@pytest.fixture
def jar() -> Path:
    """The jar of TLC."""
    if lacks := install.missing():
        unavailable(*lacks)
    return install.JAR


@pytest.fixture
def node() -> str:
    """The node that runs Quint."""
    if lacks := npm.QUINT.missing():
        unavailable(*lacks)
    return npm.tool("node") or "node"


@pytest.mark.prove
def test_tlc_visits_the_same_states(jar: Path, machines: Library, measured: Callable[[str], None]) -> None:
    """Visited whole: no rule breaks, and there is one state for each of ours, as spin has."""
    config, pairs = COMPARED["one quiet process"]
    found = tlc.run(exported(machines, config, pairs=pairs), jar)
    measured(f"one quiet process: TLC: no rule is broken, {found.states:,} states, {found.seconds:.1f} s")
    assert not found.rules, found.story
    assert found.states == explore(World(machines, config), liveness=False).states


@pytest.mark.prove
@pytest.mark.parametrize("part", NEAR)
def test_tlc_finds_the_ablation(jar: Path, machines: Library, measured: Callable[[str], None], part: str) -> None:
    """Without that part TLC breaks one of the same rules, in as few steps as ours."""
    ablation = BY_PART[part]
    rules = sorted(ablation.breaks - OF_ONE_CHECKER)
    ours = {rule: len(without(ablation, machines).stories[rule].steps) for rule in rules}
    found = tlc.run(model_without(ablation, machines), jar, rules)
    measured(
        f"without {part}: TLC: {', '.join(sorted(found.rules))} in {len(found.story)} steps, {found.seconds:.1f} s"
    )
    assert found.rules <= set(rules)
    assert len(found.story) == min(ours.values()) == ours[min(found.rules, key=lambda rule: ours[rule])]


def simulated(node: str, model: Exported, folder: Path, *how: str) -> subprocess.CompletedProcess[str]:
    file = folder / "kimi_auth.qnt"
    file.write_text(quint(model), encoding="utf-8")
    command = [node, str(CLI), "run", str(file), "--backend", "typescript", "--seed", "0x7", *how]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=800, check=False)


@pytest.mark.prove
@pytest.mark.soak
def test_quint_simulates_the_world(node: str, machines: Library, tmp_path: Path) -> None:
    """The module has Quint's types and effects, and no rule breaks in its walks."""
    done = simulated(
        node, exported(machines, ALONE), tmp_path, "--invariant", "holds", "--max-samples", "10", "--max-steps", "20"
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "No violation found" in done.stdout


@pytest.mark.prove
@pytest.mark.soak
def test_quint_finds_an_ablation(node: str, machines: Library, tmp_path: Path) -> None:
    """Its simulator comes to a state in which the rule is broken."""
    model = model_without(BY_PART[SIMULATED], machines)
    done = simulated(node, model, tmp_path, "--invariant", "holds", "--max-samples", "60", "--max-steps", "12")
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    broke = re.findall(r"broke: Set\((.*?)\)", done.stdout)[-1]
    assert any(f'"{rule}"' in broke for rule in BY_PART[SIMULATED].breaks)


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
