"""Systems that are not this one, by taking names away: each seam has its fallback, and a whole life works without all of them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.support import system
from kimi_auth.testing.emulator import Emulator

F_FULLFSYNC = 51
"""Its number on macOS; Linux has no such command and answers EINVAL."""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


class Calls:
    """The calls to the system, and its answer to F_FULLFSYNC."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: int | None) -> None:
        self.made: list[str] = []
        self._answer = answer
        monkeypatch.setattr(fcntl, "F_FULLFSYNC", F_FULLFSYNC, raising=False)
        monkeypatch.setattr(fcntl, "fcntl", self._fcntl)
        monkeypatch.setattr(os, "fsync", lambda _: self.made.append("fsync"))

    def _fcntl(self, _: int, command: int) -> int:
        assert command == F_FULLFSYNC
        self.made.append("F_FULLFSYNC")
        if self._answer is not None:
            raise OSError(self._answer, os.strerror(self._answer))
        return 0


@pytest.mark.parametrize(
    ("answer", "made"),
    [
        (None, ["F_FULLFSYNC"]),
        (errno.ENOTSUP, ["F_FULLFSYNC", "fsync"]),
        (errno.EINVAL, ["F_FULLFSYNC", "fsync"]),
        (errno.ENOTTY, ["F_FULLFSYNC", "fsync"]),
    ],
)
def test_a_full_sync(monkeypatch: pytest.MonkeyPatch, file: int, answer: int | None, made: list[str]) -> None:
    """Where F_FULLFSYNC exists it is asked for, and fsync where the file system does not have it."""
    calls = Calls(monkeypatch, answer)
    system.sync(file)
    assert calls.made == made


def test_a_full_sync_that_fails(monkeypatch: pytest.MonkeyPatch, file: int) -> None:
    """A disk that reports an error is not asked again in another way: the data may be gone by then."""
    calls = Calls(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        system.sync(file)
    assert calls.made == ["F_FULLFSYNC"]


def test_a_sync(monkeypatch: pytest.MonkeyPatch, file: int) -> None:
    """Without F_FULLFSYNC it is fsync, and nothing else."""
    calls = Calls(monkeypatch, None)
    monkeypatch.delattr(fcntl, "F_FULLFSYNC")
    system.sync(file)
    assert calls.made == ["fsync"]


def test_no_allocation(monkeypatch: pytest.MonkeyPatch, file: int) -> None:
    """Without posix_fallocate the caller is told to write; a full disk is an error in either case."""
    assert system.allocate(file, 100)
    assert os.fstat(file).st_size == 100

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        system.allocate(file, 100)
    monkeypatch.delattr(os, "posix_fallocate")
    assert not system.allocate(file, 100)


A_MAC = f"""
import fcntl, os, sys, time
del os.posix_fallocate, time.CLOCK_BOOTTIME
fcntl.F_FULLFSYNC = {F_FULLFSYNC}
assert not os.path.exists("/proc/self")
import contextlib, io, json
from kimi_auth.cli import main
from kimi_auth.store import owners
owners._system = owners._Darwin
said = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    said.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""
COMMANDS = [
    ["login"],
    ["token"],
    ["token", "--refresh"],
    ["status"],
    ["doctor"],
    ["models", "sync"],
    ["logout"],
    ["token"],
]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide /proc; run: sudo make test")
def test_a_life_without_them(tmp_path: Path) -> None:
    """Without /proc, CLOCK_BOOTTIME and posix_fallocate, and with a sysctl that is not there: every command of a life works, and
    doctor finds nothing."""
    hidden = 'mount -t tmpfs none /proc && exec "$0" "$@"'
    unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c", hidden]
    with Emulator(approve="auto", approve_after_s=0.0, interval_s=1) as emulator:
        environ = {**os.environ, **emulator.env, "KIMI_SHARE_DIR": str(tmp_path / "share"), "TERM": "dumb"}
        done = subprocess.run(
            [*unshare, sys.executable, "-c", A_MAC, json.dumps(COMMANDS)],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [status for status, _, _ in said] == [0] * 7 + [3], said
    first, second = said[1][1], said[2][1]
    assert first != second
    assert "ok      locks: exclude each other" in said[4][1]
    assert not list((tmp_path / "share" / "credentials").glob("*.next"))
