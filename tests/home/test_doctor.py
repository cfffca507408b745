"""What doctor says about a home that is shared with kimi-code: each finding with its evidence and a step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from house.patience import heard

from kimi_auth.cli import main

Told = dict[str, list[tuple[str, str]]]


@pytest.fixture
def doctor(
    code_home: Path, record: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], Told]:
    """The checks on a home with a login, by name: evidence and step of each."""
    monkeypatch.setenv("HOME", str(code_home.parent))
    monkeypatch.delenv("KIMI_SHARE_DIR", raising=False)
    place = code_home / "credentials/kimi-code.json"
    place.write_text(record(expires_at=int(time.time()) + 800))
    place.chmod(0o600)
    (code_home / "oauth").mkdir(mode=0o700)

    def look() -> Told:
        main(["doctor", "--json", "--home", str(code_home)])
        told: Told = {}
        for check in json.loads(capsys.readouterr().out)["checks"]:
            told.setdefault(check["check"], []).append((check["evidence"], check["step"]))
        return told

    return look


def test_all_is_well(doctor: Callable[[], Told]) -> None:
    """A shared home is no finding: it is named, with its lock and its clocks."""
    told = doctor()
    assert "kimi-code's, shared with it" in told["home"][0][0]
    assert told["lock of kimi-code"] == [("free", "")]
    assert told["clocks"][0][1] == ""
    assert {"pairs", "unfinished writes", "remote control"}.isdisjoint(told)


def test_the_lock(code_home: Path, doctor: Callable[[], Told]) -> None:
    """A held lock, one left behind, and a file where no file may be, which alone is a finding."""
    path = code_home / "oauth/kimi-code.lock"
    path.mkdir()
    assert doctor()["lock of kimi-code"][0][0].startswith("held by kimi-code")
    os.utime(path, (1.0, 1.0))
    evidence, step = doctor()["lock of kimi-code"][0]
    assert ("left behind" in evidence, step) == (True, "")
    path.rmdir()
    path.touch()
    evidence, step = doctor()["lock of kimi-code"][0]
    assert "no directory" in evidence
    assert step.startswith("rm ")
    assert path.exists()


def test_one_pair_in_two_homes(code_home: Path, record: Callable[..., str], doctor: Callable[[], Told]) -> None:
    """A copied login is found before its first renewal ends one of the copies."""
    copy = code_home.parent / ".kimi/credentials/kimi-code.json"
    copy.parent.mkdir(mode=0o700, parents=True)
    copy.write_text((code_home / "credentials/kimi-code.json").read_text())
    (evidence, step), *others = doctor()["pairs"]
    assert ("credentials/kimi-code.json" in evidence, "logout" in step, others) == (True, True, [])
    copy.write_text(record(2))
    assert "pairs" not in doctor()


def test_unfinished_writes(code_home: Path, doctor: Callable[[], Told]) -> None:
    """Those of an ended kimi-code are named, one that is being written is not."""
    dead = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)
    dead.communicate()
    for pid, age_s in ((dead.pid, 60), (os.getpid(), 60), (dead.pid + 1, 0)):
        path = code_home / f"credentials/kimi-code.json.tmp.{pid}.0a1b2c3d"
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)
    ((evidence, step),) = doctor()["unfinished writes"]
    assert evidence.startswith("1 file")
    assert str(dead.pid) in step
    assert str(os.getpid()) not in step


def test_a_switch_of_kimi_code(monkeypatch: pytest.MonkeyPatch, doctor: Callable[[], Told]) -> None:
    """A variable that takes kimi-code's lock away is a finding."""
    monkeypatch.setenv("KIMI_DISABLE_OAUTH_LOCK", "1")
    assert doctor()["lock of kimi-code"][0][1] == "unset KIMI_DISABLE_OAUTH_LOCK"


def test_remote_control(tmp_path: Path, code_home: Path, doctor: Callable[[], Told]) -> None:
    """A running `kimi rc` of this home is named with its pid, one of another home is not."""
    program = tmp_path / "kimi"
    program.write_text("import sys; sys.stdin.read()")
    command = [sys.executable, str(program), "rc"]
    homes = (code_home, tmp_path / "else")
    child, other = (
        subprocess.Popen(command, env={"KIMI_CODE_HOME": str(home)}, stdin=subprocess.PIPE, text=True) for home in homes
    )
    told = doctor()["remote control"]
    heard(child)
    heard(other)
    ((evidence, step),) = told
    assert (f"pid {child.pid}" in evidence, f"kill {child.pid}" in step) == (True, True)


def test_another_clock(code_home: Path, monkeypatch: pytest.MonkeyPatch, doctor: Callable[[], Told]) -> None:
    """A file system whose clock is far from ours is a finding: live locks would look stale there."""
    from kimi_auth import files

    create = files.create

    def late(path: Path, data: bytes) -> None:
        create(path, data)
        os.utime(path, (time.time() - 60, time.time() - 60))

    monkeypatch.setattr(files, "create", late)
    evidence, step = doctor()["clocks"][0]
    assert ("60 s" in evidence, "NTP" in step) == (True, True)
