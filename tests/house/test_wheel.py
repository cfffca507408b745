"""What people install: built once, put into clean environments outside of the checkout, for every Python that is here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import kimi_auth
from house.environments import CHECKOUT, PROJECT, PYTHONS, Environment, find_python, make_environment, wheel
from kimi_auth.machine import Library, digest
from kimi_auth.review.mermaid import mermaid

EXTRAS_ONLY = (
    "kimi_auth.testing.emulator.",
    "kimi_auth.testing.pytest_plugin",
    "kimi_auth.__pyinstaller.",
    "kimi_auth.serving.",
)
"""In this order they need starlette and uvicorn, pytest, PyInstaller, starlette and uvicorn."""
ROOMS = ("machine", "store", "wire", "platforms", "clients", "credential")  # whose tests the other Pythons run
TOOLS = ("mypy", "ruff", "build", "hatchling", "playwright", "pytest-cov")  # which those tests do without
TEST_KIT = [package for package in PROJECT["dependency-groups"]["dev"] if not package.startswith(TOOLS)]

LOOK = """
import importlib, json, pkgutil, sys
import kimi_auth
from kimi_auth.machine import Library, digest
from kimi_auth.platforms import registry
skip = tuple(sys.argv[1].split())
names = [found.name for found in pkgutil.walk_packages(kimi_auth.__path__, "kimi_auth.")]
for name in names:
    if not name.startswith(skip) and not name.endswith("__main__"):
        importlib.import_module(name)
print(json.dumps([kimi_auth.__file__, kimi_auth.__version__, digest(Library.load()), registry.get("kimi-code").id]))
"""


@pytest.fixture(scope="session")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory, outside: dict[str, str]) -> Environment:
    """The wheel, without extras, in a clean environment of this Python."""
    return make_environment(sys.executable, tmp_path_factory.mktemp("clean") / "venv", outside, str(wheel(dist)))


def is_whole(environment: Environment) -> None:
    """Everything of the package is there, says the same as the checkout, and comes from the wheel."""
    file, version, machines, platform = _look(environment)
    assert Path(file).is_relative_to(environment.folder)
    assert (version, machines, platform) == (kimi_auth.__version__, digest(Library.load()), "kimi-code")
    assert environment.run("kimi-auth", "--version").split()[-1] == kimi_auth.__version__
    for name, machine in Library.load().items():
        assert environment.run("kimi-auth", "diagram", name, "--format", "mermaid").strip() == mermaid(machine).strip()


def _look(environment: Environment) -> list[str]:
    answer: list[str] = json.loads(environment.run("python", "-I", "-c", LOOK, " ".join(EXTRAS_ONLY)))
    return answer


def test_wheel_contents(dist: Path) -> None:
    """The wheel holds the package, its machines and its typing mark, and nothing else."""
    with zipfile.ZipFile(wheel(dist)) as archive:
        names = set(archive.namelist())
    for file in (CHECKOUT / "machines").glob("*.toml"):
        assert f"kimi_auth/machines/{file.name}" in names
    assert {"kimi_auth/py.typed", "kimi_auth/platforms/builtin.toml"} <= names
    assert [name for name in names if "/locale/" in name] == ["kimi_auth/locale/zh/LC_MESSAGES/kimi_auth.mo"]
    info = f"kimi_auth-{kimi_auth.__version__}.dist-info/"
    assert f"{info}licenses/LICENSE" in names
    assert all(name.startswith(("kimi_auth/", info)) for name in names)
    assert not [name for name in names if "__pycache__" in name]


def test_sdist_contents(dist: Path) -> None:
    """The source archive holds everything needed to build, test and read: no build product, no installed package."""
    (file,) = dist.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    pages = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "Makefile", "machines/README.md"}
    pages |= {"README.zh-CN.md", *(f"kimi_auth/locale/zh/LC_MESSAGES/kimi_auth.{end}" for end in ("po", "mo"))}
    assert {*pages, "tests/conftest.py", "tests/servers/oidc/server.mjs", "examples/first_login.py"} <= names
    assert not [name for name in names if "node_modules" in name or "__pycache__" in name or ".venv" in name]


def test_extras_are_declared(dist: Path) -> None:
    """The wheel's metadata offers exactly the extras of pyproject.toml."""
    with zipfile.ZipFile(wheel(dist)) as archive:
        metadata = archive.read(f"kimi_auth-{kimi_auth.__version__}.dist-info/METADATA").decode()
    offered = re.findall(r"^Provides-Extra: (\S+)", metadata, re.MULTILINE)
    assert set(offered) == set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.timeout(120)  # a few seconds of work; a registry that dawdles must not end the run
def test_installed(installed: Environment) -> None:
    """The wheel alone, without extras and without the checkout, is the whole program."""
    is_whole(installed)


def test_installed_without_the_emulator(installed: Environment) -> None:
    """Without its extra the emulator says what to install, in one line."""
    done = subprocess.run(
        [installed.folder / "bin" / "python", "-I", "-m", "kimi_auth.testing.emulator"],
        env=installed.environ,
        cwd=installed.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "pip install 'kimi-auth[emulator]'" in done.stderr


@pytest.mark.prove
@pytest.mark.parametrize("version", PYTHONS)
def test_every_python(version: str, dist: Path, tmp_path: Path, outside: dict[str, str]) -> None:
    """Every supported Python that is here runs the wheel and draws the same bytes; each but this one, for which `make test` shows
    it, passes the tests of the inner rooms."""
    python = find_python(version, outside)
    if python is None:
        pytest.skip(f"there is no Python {version} that starts")
    environment = make_environment(python, tmp_path / "venv", outside, f"{wheel(dist)}[emulator,keyring,qr]", *TEST_KIT)
    is_whole(environment)
    for made in ("machines", "diagrams"):
        shutil.copytree(CHECKOUT / made, environment.folder / made)
    assert environment.run("python", "-m", "kimi_auth.review.diagram", "--check", "diagrams") == ""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return
    shutil.copytree(
        CHECKOUT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("node_modules", "__pycache__")
    )
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    rooms = [str(tmp_path / "tests" / room) for room in ROOMS]
    said = environment.run("python", "-m", "pytest", "-q", "--rootdir", str(tmp_path), *rooms)
    assert re.search(r"\d+ passed", said)
