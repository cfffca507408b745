"""Homes of kimi-code, and programs that lock there: kimi-code's own package under node, and ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from house import npm
from house.environments import unmeasured
from house.patience import heard
from servers.fixtures import unavailable

from home.stage import Stage, stages


class Program:
    """A child that obeys lines. `ask` waits for the answer, `tell` does not."""

    def __init__(self, command: list[str], cwd: Path) -> None:
        environ = unmeasured()
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environ | {"PATH": npm.SEARCH_PATH, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.hear()

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, line: str) -> str:
        self.tell(line)
        return self.hear()

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self) -> tuple[int, str]:
        """Ends it; its exit status and the errors that it printed."""
        said = heard(self.process)
        return self.process.returncode, said[1] or ""


@pytest.fixture
def code_home(tmp_path: Path) -> Path:
    """The directory of a home of kimi-code, with its marks and without a login."""
    home = tmp_path / "code"
    (home / "credentials").mkdir(parents=True)
    home.chmod(0o700)
    for name in ("tui.toml", "session_index.jsonl"):
        (home / name).touch()
    return home


@pytest.fixture
def record() -> Callable[..., str]:
    """A record as kimi-code writes it."""

    def make(number: int = 1, expires_at: int = 4_000_000_000) -> str:
        tokens = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", "expires_at": expires_at}
        return json.dumps({**tokens, "scope": "kimi-code", "token_type": "Bearer", "expires_in": 900}, indent=2) + "\n"

    return make


@pytest.fixture
def programs() -> Iterator[tuple[Callable[[Path], Program], Callable[[Path], Program]]]:
    """Start kimi-code's lock package, and ours, on a home."""
    if lack := npm.KIMI_CODE.missing(any_node=True):
        unavailable(*lack)
    started: list[Program] = []

    def theirs(home: Path) -> Program:
        started.append(
            Program([str(npm.tool("node")), "locker.cjs", str(home / "oauth/kimi-code")], npm.KIMI_CODE.folder)
        )
        return started[-1]

    def ours(home: Path) -> Program:
        started.append(Program([sys.executable, str(Path(__file__).with_name("ours.py")), str(home)], home))
        return started[-1]

    yield theirs, ours
    for program in started:
        if program.process.poll() is None:
            program.process.kill()
        heard(program.process)


@pytest.fixture
def stage_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stage]]:
    """`stage_with(access_ttl_s=20)`: a stage whose emulator has that setting."""
    yield from stages(tmp_path, monkeypatch)
