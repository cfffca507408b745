"""The effect of a mount, a file system's flag or a second name on a file that has to be replaced, and the reaction to
it: nothing is sent, no one is asked to approve, and the sentence says how to mount it instead."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth import files
from kimi_auth.clock import SystemClock
from kimi_auth.files import mounts
from kimi_auth.store import FileStore
from kimi_auth.testing.emulator import Emulator
from kimi_auth.token import Token

from .conftest import MALLORY, made_by, needs_root

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(120)]

IN_A_CONTAINER = """
import contextlib, io, json, subprocess, sys
from pathlib import Path
from kimi_auth.cli import main

order = json.load(sys.stdin)
if order["hidden"]:
    from kimi_auth.files import mounts
    mounts._number = lambda _: ""
for source, target in order["mounts"]:
    Path(target).touch()
    subprocess.run(["mount", "--bind", source, target], check=True)
    if order["read_only"]:
        subprocess.run(["mount", "-o", "remount,bind,ro", target], check=True)
said = []
for words in order["commands"]:
    if words[0] == "mv":
        subprocess.run(words, check=True)
        continue
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    said.append([status, out.getvalue(), err.getvalue()])
sys.__stdout__.write(json.dumps(said))
"""


class Container:
    """A share dir of its own, into which single files of the host's are mounted, in a mount namespace of its own."""

    def __init__(self, folder: Path, emulator: Emulator, environment: dict[str, str]) -> None:
        self.host, self.box = folder / "host", folder / "box"
        self.emulator = emulator
        self._environment = {**environment, **emulator.env, "KIMI_SHARE_DIR": str(self.box)}
        for share in (self.host, self.box):
            (share / "credentials").mkdir(parents=True, mode=0o700)

    def sign_in(self, left_s: float) -> Token:
        """A login on the host whose token ends in so many seconds."""
        state = self.emulator.state
        grant = state.poll(state.issue_code().device_code)
        issuer = self.emulator.env["KIMI_CODE_OAUTH_HOST"]
        token = Token(grant.access_token, grant.refresh_token, time.time() + left_s, 900.0, issuer=issuer)
        store = FileStore(self.host, clock=SystemClock())
        with store.locked(NO_LIMIT_S):
            store.put(token)
        return token

    def run(
        self,
        *commands: tuple[str, ...],
        file: str = "credentials/kimi-code.json",
        read_only: bool = False,
        hidden: bool = False,
    ) -> Any:
        """Exit status, output and errors of each command. `hidden`: the kernel tells of no mounts, as without /proc."""
        order = {
            "mounts": [(str(self.host / file), str(self.box / file))],
            "read_only": read_only,
            "hidden": hidden,
            "commands": commands,
        }
        done = subprocess.run(
            ["unshare", "-m", sys.executable, "-c", IN_A_CONTAINER],
            input=json.dumps(order),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if "unshare failed" in done.stderr or "mount:" in done.stderr:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def container(tmp_path: Path, emulator: Emulator, child_environment: dict[str, str]) -> Container:
    return Container(tmp_path, emulator, child_environment)


@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
def test_only_the_credential_is_mounted(container: Container, read_only: bool) -> None:
    """It is not renewed there: the token serves while it works, then it is said why, and the host's login lives on."""
    token = container.sign_in(200.0)
    (status, renewed, insisted, doctor, login) = container.run(
        ("status",),
        ("token",),
        ("token", "--refresh"),
        ("doctor",),
        ("login", "--no-browser", "--force"),
        read_only=read_only,
    )
    why = f"{container.box / 'credentials/kimi-code.json'} is a mount of its own"
    assert status[0] == 0
    assert "\nstate: usable " in status[1]
    assert why in status[1].replace("\n", " ")
    assert renewed[:2] == [0, f"{token.access_token}\n"]
    assert insisted[0] == 8
    assert why in insisted[2]
    assert "mount the directory that holds it" in insisted[2]
    assert "finding writing: " + why in doctor[1]
    assert login[0] in {1, 8}
    assert why in login[2]
    container.sign_in(-5.0)
    ((expired, out, err),) = container.run(("token",), read_only=read_only)
    assert (expired, out) == (8, "")
    assert why in err
    counts = container.emulator.state.counts
    assert (counts["refreshes"], counts["reuse_seen"], counts["device_codes"]) == (0, 0, 2)


def test_the_host_renews_beside_it(container: Container) -> None:
    """The old file that the mount keeps is no one's any more: its refresh token, long spent, is never sent."""
    container.sign_in(-5.0)
    new = container.host / "credentials" / "kimi-code.json"
    shutil.copy(new, container.host / "new.json")
    first, second = container.run(("token",), ("mv", str(container.host / "new.json"), str(new)), ("token",))
    assert (first[0], second[0]) == (8, 8)
    assert "is a mount of its own" in second[2]
    assert container.emulator.state.counts["refreshes"] == 0


def test_a_file_without_a_name(container: Container) -> None:
    """What the host has replaced has no name any more: that alone keeps it from being sent, where no mount can be seen."""
    container.sign_in(-5.0)
    new = container.host / "credentials" / "kimi-code.json"
    shutil.copy(new, container.host / "new.json")
    ((status, out, err),) = container.run(("mv", str(container.host / "new.json"), str(new)), ("token",), hidden=True)
    assert (status, out) == (8, "")
    assert "is not in its directory any more" in err
    assert container.emulator.state.counts["refreshes"] == 0


def test_a_mounted_directory_renews(container: Container) -> None:
    """What the sentence advises works."""
    container.sign_in(-5.0)
    ((status, out, _),) = container.run(("token",), file="credentials/.")
    assert (status, container.emulator.state.judge(out.strip())) == (0, "ok")
    store = FileStore(container.host, clock=SystemClock())
    assert store.read().token.access_token == out.strip()  # type: ignore[union-attr]


def test_only_config_toml_is_mounted(container: Container) -> None:
    """A login says so before anyone is asked to approve, `models sync` when it would write, and doctor both."""
    container.sign_in(800.0)
    shutil.copy(container.host / "credentials" / "kimi-code.json", container.box / "credentials")
    (container.host / "config.toml").write_text('theme = "dark"\n')
    commands = (("login", "--no-browser", "--force"), ("models", "sync"), ("doctor",))
    login, sync, doctor = container.run(*commands, file="config.toml")
    why = f"{container.box / 'config.toml'} is a mount of its own"
    assert why in login[2]
    assert sync[0] == 9
    assert why in sync[2]
    assert "mount the directory that holds it" in sync[2]
    assert "finding writing: " + why in doctor[1]
    assert container.emulator.state.counts["device_codes"] == 1
    assert (container.host / "config.toml").read_text() == 'theme = "dark"\n'


@pytest.mark.parametrize("flag", ["i", "a"])
def test_a_protected_record(flag: str, container: Container, tmp_path: Path) -> None:
    """A file that not even root may replace is not renewed."""
    token = container.sign_in(-5.0)
    path = container.host / "credentials" / "kimi-code.json"
    if subprocess.run(["chattr", f"+{flag}", str(path)], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no such flags; run the tests with TMPDIR on ext4")
    try:
        found = FileStore(container.host, clock=SystemClock()).read()
        assert found.token == token
        assert "chattr" in str(found.problem)
    finally:
        subprocess.run(["chattr", f"-{flag}", str(path)], check=True)
    assert FileStore(container.host, clock=SystemClock()).read().problem is None


REPLACE = """
import os, sys
from pathlib import Path
from kimi_auth import files
path = Path(sys.argv[1])
try:
    files.refuse_fixed(path)
except files.Fixed as error:
    print(error.message)
new = path.with_name("new")
new.touch()
try:
    os.replace(new, path)
    print("replaced")
except OSError as error:
    print(error.strerror)
"""


def test_what_is_foretold_is_true(world: Path, child_environment: dict[str, str], python: str) -> None:
    """In a sticky directory root's file cannot be replaced by a user: told before it is tried."""
    folder = made_by(0, world / "volume", mode=0o1770)
    os.chown(folder, 0, MALLORY)
    path = made_by(0, folder / "file", "x", mode=0o644)
    for mode, lines in ((0o1770, 2), (0o770, 1)):
        folder.chmod(mode)
        done = subprocess.run(
            [python, "-c", REPLACE, str(path)],
            user=MALLORY,
            group=MALLORY,
            extra_groups=[],
            env=child_environment,
            capture_output=True,
            text=True,
            check=True,
        )
        said = done.stdout.splitlines()
        assert len(said) == lines, said
        assert ("replaced" in said) == (mode == 0o770)


def test_a_name_that_is_another_file_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc a mount of another device is told by the device; one of the same cannot be."""
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert mounts.mount_of_its_own("file", descriptor) == ""
        assert mounts.mount_of_its_own("nothing", descriptor) == ""
        monkeypatch.setattr(mounts, "_number", lambda _: "")
        assert mounts.mount_of_its_own("file", descriptor) == ""
    finally:
        os.close(descriptor)


# --- file systems that store no modes --------------------------------------------------------------------------------


@pytest.fixture
def modeless(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A share dir as such a file system shows it: everything open to all and another user's, and `chmod` does nothing."""
    device = world.stat().st_dev
    table = tmp_path / "mountinfo"
    table.write_text(f"36 35 {os.major(device)}:{os.minor(device)} / /mnt\\040c rw - 9p drvfs rw\n")
    monkeypatch.setattr(mounts, "TABLE", table)
    monkeypatch.setattr(os, "fchmod", lambda *_: None)
    share = made_by(MALLORY, world / "share", mode=0o777)
    made_by(MALLORY, share / "credentials", mode=0o777)
    return share


def test_no_modes(modeless: Path) -> None:
    """A login there works as before, and doctor has a remark about it."""
    store = FileStore(modeless, clock=SystemClock())
    store.check_writable()
    with store.locked(0.0):
        store.put(Token("a", "r", 5.0, 9.0))
        os.chown(store.path, MALLORY, MALLORY)
        store.path.chmod(0o777)
        fp = store.read().fp
        claim = store.claim(fp)
        assert claim.state == "made"
        store.stage(claim, Token("b", "s", 5.0, 9.0))
        store.commit(claim, Token("b", "s", 5.0, 9.0))
    found = store.read()
    assert (found.state, found.problem) == ("present", None)
    ((words, step),) = set(files.remarks(store.path.parent))
    assert "stores no owners or modes" in words
    assert step


def test_modes_count_elsewhere(modeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same directories on a file system that stores modes are refused."""
    mounts.TABLE.write_text("36 35 0:99 / /mnt rw - 9p drvfs rw\n")
    with pytest.raises(files.NotOurs):
        files.read_bounded(modeless / "config.toml", 9)
    mounts.TABLE.unlink()
    with pytest.raises(files.NotOurs):
        files.read_bounded(modeless / "config.toml", 9)
