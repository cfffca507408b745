"""Clean environments outside of the checkout, for every Python that is here, with the wheel that was built once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the variables that programs in it see."""

    folder: Path
    environ: dict[str, str]

    def run(self, name: str, *argv: str, status: int = 0) -> str:
        """The standard output of a program of this environment, run from outside of the checkout."""
        command = [str(self.folder / "bin" / name), *argv]
        return run(command, self.environ, self.folder, status)


def run(command: list[str], environ: dict[str, str], folder: Path, status: int = 0) -> str:
    done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def unmeasured(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environ` for a child that no coverage is measured in: the measure loads modules, from wherever PYTHONPATH says."""
    return {name: value for name, value in environ.items() if not name.startswith("COV")}


def find_python(version: str, environ: dict[str, str]) -> str | None:
    """The path of a Python `version` that starts; where pyenv's shims refuse, pyenv is asked for all it has."""
    command = [f"python{version}", "-c", "import sys; print(sys.executable)"]
    attempts = [environ]
    if pyenv := shutil.which("pyenv", path=environ.get("PATH")):
        versions = subprocess.run(
            [pyenv, "versions", "--bare"], env=environ, capture_output=True, text=True, check=False
        )
        attempts.append({**environ, "PYENV_VERSION": ":".join(versions.stdout.split())})
    for attempt in attempts:
        try:
            return subprocess.run(command, env=attempt, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            continue
    return None


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory, outside: dict[str, str]) -> Path:
    """A folder with an sdist, and the wheel that was built from it; the back end is at hand, no registry is asked."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)], outside, folder)
    return folder


def wheel(dist: Path) -> Path:
    (file,) = dist.glob("*.whl")
    return file


def make_environment(python: str, folder: Path, outside: dict[str, str], *requirements: str) -> Environment:
    run([python, "-m", "venv", "--without-pip", str(folder)], outside, folder.parent)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet", *requirements]
    run(pip, outside, folder.parent)
    hidden = ("PYTHON", "COV", "PYENV", "VIRTUAL_ENV", "KIMI_", "CI")
    return Environment(folder, {name: value for name, value in os.environ.items() if not name.startswith(hidden)})
