"""A command line run in this process, against an emulator of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth.cli import main
from kimi_auth.clock import SystemClock
from kimi_auth.store import FileStore
from kimi_auth.testing.emulator import Emulator
from kimi_auth.token import Token


class Said(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(approve="auto", approve_after_s=0.0, interval_s=0) as server:
        yield server


@pytest.fixture
def share_dir(tmp_path: Path) -> Path:
    return tmp_path / "share"


@pytest.fixture
def environ(emulator: Emulator, share_dir: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr("kimi_auth.login.device_login.INTERVAL_FACTOR", 0.01)  # the person approves at once
    env = {**emulator.env, "KIMI_SHARE_DIR": str(share_dir), "COLUMNS": "80", "TERM": "dumb"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return env


@pytest.fixture
def kimi(environ: dict[str, str], capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs a command line and gives its exit status and what it wrote."""

    def run(*args: str) -> Said:
        capfd.readouterr()
        status = main(args)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Said(status, out, err)

    return run


@pytest.fixture
def store(share_dir: Path) -> FileStore:
    return FileStore(share_dir, clock=SystemClock())


@pytest.fixture
def age(store: FileStore) -> Callable[[float], Token]:
    """Makes the stored token end in so many seconds."""

    def make(left_s: float) -> Token:
        old = store.read().token
        assert old is not None
        token = Token(
            old.access_token,
            old.refresh_token,
            SystemClock().wall_s() + left_s,
            900.0,
            issuer=old.issuer,
            scope=old.scope,
        )
        with store.locked(NO_LIMIT_S):
            store.put(token)
        return token

    return make
