"""What doctor says about a home that is shared with kimi-code: each finding with its evidence and a step."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from house.patience import NO_LIMIT_S, heard

from kimi_auth.cli import main
from kimi_auth.cli.doctor import homes
from kimi_auth.cli.doctor.borders import border
from kimi_auth.files import mounts

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
        printed = json.loads(capsys.readouterr().out)
        assert "checks" in printed, printed
        for check in printed["checks"]:
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
    assert told["models"][0][1] == "let kimi-code write them: kimi login"  # which `models sync` refuses there


def test_the_lock(code_home: Path, doctor: Callable[[], Told]) -> None:
    """A held lock and one left behind are told, and are no finding."""
    path = code_home / "oauth/kimi-code.lock"
    path.mkdir()
    os.utime(path, (time.time() + 50,) * 2)  # a holder stamps it ahead
    assert doctor()["lock of kimi-code"][0][0].startswith("held by kimi-code")
    os.utime(path, (1.0, 1.0))
    evidence, step = doctor()["lock of kimi-code"][0]
    assert ("left behind" in evidence, step) == (True, "")


Harm = Callable[[Path], object]
UNUSABLE: dict[str, tuple[Harm, str, str]] = {
    # how the lock's name is taken: the evidence, and the step
    "a file": (lambda lock: lock.touch(), "no directory", "rm "),
    "a file inside": (lambda lock: (lock.mkdir(), (lock / "pid").touch()), "not empty", "rm -r "),
    "stamped far ahead": (
        lambda lock: (lock.mkdir(), os.utime(lock, (time.time() + 600,) * 2)),
        "ahead of this host's clock",
        "close every kimi-code, then: rmdir ",
    ),
}


@pytest.mark.parametrize("name", ["kimi-code.lock", "kimi-code-env-0e4f99c69cc27850.lock"])
@pytest.mark.parametrize(("harm", "evidence", "step"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_lock_that_is_no_good(
    code_home: Path, doctor: Callable[[], Told], name: str, harm: Harm, evidence: str, step: str
) -> None:
    """What kimi-code can never take over is a finding, for this login and for any other one of the home; it is left there."""
    path = code_home / "oauth" / name
    harm(path)
    told = [check for check in doctor()["lock of kimi-code"] if check[1]]
    assert len(told) == 1
    assert evidence in told[0][0]
    assert told[0][1].startswith(step)
    assert path.exists()


@pytest.mark.root
def test_another_users_lock(code_home: Path, doctor: Callable[[], Told]) -> None:
    """A lock that another user's process made is named with its owner: kimi-code cannot remove it."""
    path = code_home / "oauth/kimi-code.lock"
    path.mkdir()
    os.chown(path, 12345, 12345)
    evidence, step = doctor()["lock of kimi-code"][0]
    assert ("uid 12345" in evidence, step.startswith("sudo rmdir ")) == (True, True)


def test_one_pair_in_two_homes(
    code_home: Path, record: Callable[..., str], doctor: Callable[[], Told], capsys: pytest.CaptureFixture[str]
) -> None:
    """A copied login is found before its first renewal ends one of the copies, and the step that is named is a cure: it ends
    neither."""
    copy = code_home.parent / ".kimi/credentials/kimi-code.json"
    copy.parent.mkdir(mode=0o700, parents=True)
    copy.write_text((code_home / "credentials/kimi-code.json").read_text())
    told = doctor()
    (evidence, step), *others = told["pairs"]
    assert ("credentials/kimi-code.json" in evidence, "kimi-auth adopt" in step, others) == (True, True, [])
    assert "holds a login too" in told["home"][0][0]
    copy.write_text(record(2))
    assert "pairs" not in doctor()
    copy.write_text((code_home / "credentials/kimi-code.json").read_text())
    copy.chmod(0o600)
    assert main(["adopt", "--home", str(code_home)]) == 0
    capsys.readouterr()
    assert "pairs" not in doctor()
    third = code_home.parent / "third"
    shutil.copytree(code_home, third)
    main(["doctor", "--json", "--home", str(third)])
    assert "pairs" not in {
        check["check"] for check in json.loads(capsys.readouterr().out)["checks"]
    }  # neither is usual


TABLE = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:31 / /mnt/c rw - 9p C:\\134 rw,aname=drvfs;path=C:\\
31 22 0:32 / /shared rw - virtiofs share rw
32 22 0:33 / /nfs rw - nfs4 server:/export rw,vers=4.2
33 32 8:2 / /nfs/local\\040disk rw - xfs /dev/sdb1 rw
34 22 0:34 / /mnt/d rw - drvfs D: rw
35 34 8:3 / /mnt/d rw - ext4 /dev/sdc1 rw
"""
BORDERS = [
    # where a home lies, the kernel: text of the evidence, is it a finding
    ("/srv/me/.kimi-code", "6.1.0-amd64", None),
    ("/srv/me/.kimi-code", "5.15.153.1-microsoft-standard-WSL2", None),
    ("/mnt/c/Users/me/.kimi-code", "5.15.153.1-microsoft-standard-WSL2", ("Windows", True)),
    ("/mnt/c/Users/me/.kimi-code", "4.4.0-19041-Microsoft", ("Windows", True)),
    ("/mnt/c/me", "6.1.0-amd64", ("shared folder (9p)", False)),
    ("/mnt/d/me", "5.15.153.1-microsoft-standard-WSL2", None),
    ("/shared/home", "6.1.0-amd64", ("shared folder (virtiofs)", False)),
    ("/sharedness", "6.1.0-amd64", None),
    ("/nfs/me/.kimi-code", "6.1.0-amd64", ("network file system (nfs4)", False)),
    ("/nfs/local disk/me", "6.1.0-amd64", None),
]


@pytest.mark.parametrize(("home", "kernel", "expected"), BORDERS)
def test_disks_of_other_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str, kernel: str, expected: tuple[str, bool] | None
) -> None:
    """From the mount table alone: where Windows writes too a login of one's own is advised, other borders are named."""
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    monkeypatch.setattr(mounts, "TABLE", table)
    mount = mounts.mount_at(Path(home))
    assert mount is not None
    told = border(mount, kernel)
    assert (told is None) == (expected is None)
    if told and expected:
        assert (expected[0] in told[0], bool(told[1])) == (True, expected[1])


def test_a_disk_of_windows(
    tmp_path: Path, code_home: Path, monkeypatch: pytest.MonkeyPatch, doctor: Callable[[], Told]
) -> None:
    """Doctor says it of the home that it looks at."""
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:31 / {tmp_path.resolve()} rw - 9p C: rw\n")
    monkeypatch.setattr(mounts, "TABLE", table)
    monkeypatch.setattr(homes, "release", lambda: "5.15.153.1-microsoft-standard-WSL2")
    evidence, step = doctor()["home"][1]
    assert ("Windows" in evidence, "--home kimi-cli" in step) == (True, True)


def test_unfinished_writes(code_home: Path, doctor: Callable[[], Told]) -> None:
    """Those of an ended kimi-code are named, one that is being written is not."""
    dead = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)
    dead.communicate()
    for pid, age_s in ((dead.pid, 60), (os.getpid(), 60), (dead.pid + 1, -NO_LIMIT_S)):
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


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": "1"}', '{"pid": 0}', '{"pid": -1}', '{"pid": 999999999}', '{"pid": true}']
)
def test_no_remote_control(code_home: Path, doctor: Callable[[], Told], text: str) -> None:
    """A file that names no running process is no finding: kimi-code leaves it behind when it is killed."""
    (code_home / "server").mkdir()
    (code_home / "server/rc.json").write_text(text)
    assert "remote control" not in doctor()


def test_remote_control(code_home: Path, doctor: Callable[[], Told]) -> None:
    """A running Remote Control is named with its pid, from the file in which kimi-code names it."""
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, text=True)
    (code_home / "server").mkdir()
    (code_home / "server/rc.json").write_text(json.dumps({"pid": child.pid, "nonce": "0", "url": "http://h"}))
    told = doctor()["remote control"]
    heard(child)
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
    began_s = time.monotonic()
    evidence, step = doctor()["clocks"][0]
    took_s = time.monotonic() - began_s
    told = re.search(r"by (-\d+) s", evidence)
    assert told, evidence
    assert -60 <= int(told[1]) <= -59.5 + took_s
    assert "NTP" in step
