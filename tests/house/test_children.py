"""Child Pythons: they import what this process would, never what lies in the current directory."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import kimi_auth
from house.environments import unmeasured
from kimi_auth.cli import demo
from kimi_auth.support import children

PACKAGE = Path(kimi_auth.__file__).parent
INTERPRETER = {"executable", "_base_executable", "orig_argv"}

STAND_IN = "import pathlib\npathlib.Path({mark!r}).touch()\nraise SystemExit(77)\n"
SHADOWED = ("argparse", "json", "runpy", "webbrowser", "kimi_auth", "starlette", "uvicorn", "typer", "typing")


def executables(package: Path) -> list[str]:
    """Where the source of `package` asks which program is running this Python."""
    found = []
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                case ast.Attribute(value=ast.Name("sys"), attr=name) if name in INTERPRETER:
                    found.append(f"{file.relative_to(package)}:{node.lineno}")
                case ast.ImportFrom(module="sys", names=names) if INTERPRETER & {alias.name for alias in names}:
                    found.append(f"{file.relative_to(package)}:{node.lineno}")
    return sorted(found)


def test_one_module_starts_pythons() -> None:
    """`sys.executable` is read in `support/children.py` and nowhere else."""
    assert {place.partition(":")[0] for place in executables(PACKAGE)} == {"support/children.py"}


def test_other_uses_are_seen(tmp_path: Path) -> None:
    """The search finds an attribute and an import."""
    (tmp_path / "a.py").write_text("import sys\nsys.executable\nfrom sys import executable\nsys.argv\n")
    assert executables(tmp_path) == ["a.py:2", "a.py:3"]


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A directory with a file for each module that a child imports early; each leaves a mark if it runs."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in SHADOWED:
        (folder / f"{name}.py").write_text(STAND_IN.format(mark=str(tmp_path / "ran")))
    return folder


def output(command: list[str] | None, cwd: Path, env: dict[str, str] | None = None) -> str:
    assert command is not None
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", ["", f"{os.pathsep}/nowhere"], ids=["no PYTHONPATH", "PYTHONPATH with an empty entry"])
def test_the_current_directory_is_not_imported_from(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    """The emulator answers --help in a directory full of stand-ins, none of which runs."""
    monkeypatch.chdir(hostile)
    command = children.python_command("kimi_auth.testing.emulator", "--help")
    assert "--share-dir" in output(command, hostile, unmeasured() | {"PYTHONPATH": path})
    assert not (tmp_path / "ran").exists()


def test_the_emulator_command_is_safe_in_any_directory(hostile: Path, tmp_path: Path) -> None:
    """`kimi-auth emulator --help` says the same in such a directory as elsewhere."""
    start = [sys.executable, "-P", "-c", "import sys; from kimi_auth.__main__ import main; sys.exit(main())"]
    assert output([*start, "emulator", "--help"], hostile) == output([*start, "emulator", "--help"], tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_demo_is_safe_in_any_directory(hostile: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The emulator of `kimi-auth demo` starts in such a directory."""
    monkeypatch.chdir(hostile)
    with demo._emulator(tmp_path / "share") as environ:
        assert environ["KIMI_CODE_OAUTH_HOST"].startswith("http://127.0.0.1:")
    assert not (tmp_path / "ran").exists()


PROGRAM = """
import os, subprocess, sys
from kimi_auth.support.children import python_command
sys.exit(subprocess.run(python_command("kimi_auth", "--version"), cwd={cwd!r}).returncode)
"""


@pytest.mark.parametrize("way", ["PYTHONPATH", "insert", "current directory", "zip", "isolated"])
def test_this_package_is_found_as_it_was_here(tmp_path: Path, way: str) -> None:
    """A copy that is not installed starts itself, not the installed one, however it came to be imported."""
    root = tmp_path / "copy"
    shutil.copytree(PACKAGE, root / "kimi_auth", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PACKAGE.parent / "machines", root / "kimi_auth" / "machines")
    (root / "kimi_auth" / "_version.py").write_text('__version__ = "0.0.77"\n')
    if way == "zip":
        with zipfile.ZipFile(tmp_path / "copy.zip", "w") as packed:
            for file in root.rglob("*"):
                packed.write(file, file.relative_to(root))
        shutil.rmtree(root)
        root = tmp_path / "copy.zip"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program, environ = PROGRAM.format(cwd=str(elsewhere)), {**os.environ}
    options: list[str] = []
    if way in {"PYTHONPATH", "zip"}:
        environ["PYTHONPATH"] = str(root)
    elif way == "insert":
        program = f"import sys; sys.path.insert(0, {str(root)!r})\n{program}"
    elif way == "isolated":
        options, program = ["-I"], f"import sys; sys.path.insert(0, {str(root)!r})\n{program}"
    cwd = root if way == "current directory" else elsewhere
    assert output([sys.executable, *options, "-c", program], cwd, environ) == "kimi-auth 0.0.77\n"


def test_a_directory_that_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process whose current directory was removed starts children all the same."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "--share-dir" in output(children.python_command("kimi_auth.testing.emulator", "--help"), tmp_path)


@pytest.mark.parametrize(
    ("executable", "frozen"),
    [("/opt/app/app", True), ("/usr/bin/python3", True), ("/usr/sbin/uwsgi", False), ("", False), (None, False)],
)
def test_no_python_is_no_command(monkeypatch: pytest.MonkeyPatch, executable: str | None, frozen: bool) -> None:
    """A frozen application and a program that embeds Python are not started instead of Python."""
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    assert children.python_command("kimi_auth") is None
    assert children.isolated_command("webbrowser") is None
