"""Other users of the same machine, with real ids: what they lay out for us is not followed, and they get nothing of ours."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house.patience import heard

from kimi_auth import Session, files
from kimi_auth.errors import ConfigError, StorageError
from kimi_auth.testing.emulator import Emulator

from .conftest import MALLORY, USER, linked_by, made_by, needs_root

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(120)]

SECRET = 'default_model = "root-only"\n'
CONFIG = "config.toml"
PLACES = {
    CONFIG: CONFIG,
    "config.json": "config.json",
    "platforms.toml": "platforms.toml",
    "device_id": "device_id",
    "undo": "kimi-auth/undo.json",
    "accounts.toml": "kimi-auth/accounts.toml",
    "accounts.lock": "kimi-auth/accounts.lock",
    "credential": "credentials/kimi-code.json",
    "lock": "credentials/kimi-code.lock",
    "backoff": "credentials/kimi-code.backoff",
    "binding": "credentials/kimi-code.issuer",
    "config.lock": "config.lock",
}
FOLDERS = {
    "walks": "kimi-auth/walks",
    "models": "kimi-auth/models",
    "accounts": "kimi-auth/accounts",
    "serving": "kimi-auth/serving",
}
PARENTS = {"credentials": "credentials", "kimi-auth": "kimi-auth"}
PLACES |= FOLDERS | PARENTS
"""What a user may replace by a link in the own share dir."""

LIFE = (
    ("login", "--no-browser"),
    ("models", "sync"),
    ("accounts", "use", "default"),
    ("serve", "grant", "agent"),
    ("logout",),
)


def share_of(uid: int, home: Path) -> Path:
    """A share dir as that user's Kimi CLI makes it."""
    share = made_by(uid, home / ".kimi")
    made_by(uid, share / "credentials")
    made_by(uid, share / "kimi-auth", mode=0o700)
    return share


def tree(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "place",
    [
        CONFIG,
        "credential",
        *(pytest.param(one, marks=pytest.mark.prove) for one in PLACES if one not in {CONFIG, "credential"}),
    ],
)
def test_root_follows_no_link_of_a_user(
    place: str, world: Path, home: Path, kimi: Callable[..., Any], emulator: Emulator
) -> None:
    """Whatever link the user makes to files of root: root's commands neither change, copy nor create anything there,
    and the files they make are the user's."""
    share = share_of(USER, home)
    vault = world / "vault"
    vault.mkdir(mode=0o755)
    secret = vault / "secret"
    secret.mkdir(0o700) if place in FOLDERS | PARENTS else secret.write_text(SECRET)
    secret.chmod(0o700 if secret.is_dir() else 0o600)
    path = share / PLACES[place]
    if path.is_dir():
        path.rmdir()
    linked_by(USER, path, secret)
    before = secret.lstat()
    for args in LIFE:
        done = kimi(*args, uid=0)
        assert done.returncode in {0, 3, 8, 9, 10}, done.stderr
    after = secret.lstat()
    assert (after.st_ino, after.st_mode, after.st_uid, after.st_mtime_ns) == (
        before.st_ino,
        before.st_mode,
        before.st_uid,
        before.st_mtime_ns,
    )
    assert list(tree(vault)) == [secret.name]
    for name, made in tree(home).items():
        assert made.lstat().st_uid == USER, name
        if made.is_file() and not made.is_symlink():
            assert b"root-only" not in made.read_bytes(), name


def test_every_file_of_a_life_is_a_place(home: Path, kimi: Callable[..., Any]) -> None:
    """A file that is added to the share dir is one that the test above replaces by a link."""
    for args in LIFE[:-1]:
        assert kimi(*args).returncode == 0
    files_of = [name for name, path in tree(home / ".kimi").items() if path.is_file()]
    folders = tuple(f"{folder}/" for folder in FOLDERS.values())
    assert [name for name in files_of if name not in PLACES.values() and not name.startswith(folders)] == []


def test_root_makes_no_file_for_a_user_elsewhere(world: Path, home: Path, kimi: Callable[..., Any]) -> None:
    """A config.toml that leads to a start-up file of root's which is not there yet does not become one."""
    share = share_of(USER, home)
    vault = made_by(0, world / "profile.d")
    linked_by(USER, share / CONFIG, vault / "start.sh")
    done = kimi("login", "--no-browser", uid=0)
    assert done.returncode in {8, 9}, done.stderr
    assert list(vault.iterdir()) == []


def test_root_s_login_in_a_user_s_home_is_that_user_s(
    home: Path, kimi: Callable[..., Any], emulator: Emulator, python: str
) -> None:
    """Under sudo a command does its work, as the user whose directory it is: the user can go on with what it has made."""
    assert kimi("login", "--no-browser", uid=0).returncode == 0
    assert {path.lstat().st_uid for path in tree(home).values()} == {USER}
    as_user, as_root = kimi("token"), kimi("token", uid=0)
    assert as_user.stdout == as_root.stdout != ""
    assert emulator.state.judge(as_user.stdout.strip()) == "ok"
    ran = kimi("run", "--", python, "-c", "import os; print(os.getresuid(), os.getgroups())", uid=0)
    assert ran.stdout == f"{(USER, USER, USER)} {[USER]}\n"


def test_a_library_refuses_to_be_root_there(home: Path, kimi: Callable[..., Any], emulator: Emulator) -> None:
    """A process that others share cannot change its ids: it says so, and what to do."""
    assert kimi("login", "--no-browser").returncode == 0
    session = Session(home / ".kimi", environ=emulator.env, platform="kimi-code")
    with pytest.raises(StorageError, match=f"belongs to another user .uid {USER}") as caught:
        session.access_token_sync()
    assert "sudo -u" in caught.value.hint
    with pytest.raises(ConfigError, match="another user"):
        session._components.config.read()


PLANTED = {
    "platforms.toml": '[platforms.evil]\nname = "Evil"\nauth = "api_key"\napi_base = "http://127.0.0.1:9"\n',
    CONFIG: 'default_model = "evil/m"\n[providers."managed:evil"]\ntype = "kimi"\nbase_url = "http://127.0.0.1:9"\n'
    'api_key = "k"\n[models."evil/m"]\nprovider = "managed:evil"\nmodel = "m"\nmax_context_size = 1\n',
}


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_an_open_share_dir(mode: int, home: Path, kimi: Callable[..., Any], emulator: Emulator) -> None:
    """Where every user may write, looking refuses and changes nothing; a login closes the directory, and what another user
    had planted in it is not used."""
    share = share_of(USER, home)
    share.chmod(mode)
    shown = kimi("status")
    assert shown.returncode == 8
    for words in (f"{share} can be written by every user (mode {mode:04o}", f"chmod go-w {share}"):
        assert words in shown.stderr
    assert stat.S_IMODE(share.stat().st_mode) == mode
    doctor = kimi("doctor")
    assert "share dir" in doctor.stdout
    assert "can be written by every user" in doctor.stdout
    assert stat.S_IMODE(share.stat().st_mode) == mode
    for name, text in PLANTED.items():
        made_by(MALLORY, share / name, text, mode=0o644)
    refused = kimi("login", "--no-browser")
    assert refused.returncode == 9
    assert f"{share / CONFIG} belongs to another user (uid {MALLORY})" in refused.stderr
    assert "chown" not in refused.stderr
    assert stat.S_IMODE(share.stat().st_mode) == mode & ~0o022
    assert emulator.state.counts["device_codes"] == 0
    for name in PLANTED:
        (share / name).unlink()
    assert kimi("login", "--no-browser").returncode == 0
    assert kimi("status").returncode == 0


COMMANDS_OF_A_HOME = (
    ("login", "--no-browser"),
    ("logout",),
    ("status",),
    ("status", "--all"),
    ("token",),
    ("run", "true"),
    ("models",),
    ("platforms",),
    ("accounts", "list"),
    ("accounts", "use", "work"),
    ("store", "check"),
    ("store", "move", "--to", "file"),
    ("serve", "grants", "list"),
    ("doctor",),
)


def test_a_share_dir_that_was_made_for_us(world: Path, kimi: Callable[..., Any], emulator: Emulator) -> None:
    """In a directory that all may write to, one that another user has made is not used: by no one, root included."""
    sticky = made_by(0, world / "sticky", mode=0o1777)
    share = share_of(MALLORY, sticky)
    share.chmod(0o777)
    for uid in (USER, 0):
        for command in (("login", "--no-browser"), ("status",), ("token",)):
            done = kimi(*command, uid=uid, share=share)
            assert done.returncode in {8, 9}, done.stderr
            assert f"uid {MALLORY}" in done.stderr
    assert emulator.state.counts["device_codes"] == 0
    assert {path.lstat().st_uid for path in tree(share).values()} == {MALLORY}
    own = kimi("login", "--no-browser", share=sticky / "mine")
    assert own.returncode == 0, own.stderr
    assert kimi("token", share=sticky / "mine").returncode == 0


def test_a_sticky_directory_of_another_user(world: Path) -> None:
    """Others cannot exchange my directory in it, but its owner can: it may stand above, and holds no file of mine."""
    shared = made_by(MALLORY, world / "shared", mode=0o1755)
    made_by(MALLORY, shared / CONFIG, "x", mode=0o644)
    for use in (
        lambda: files.read_bounded(shared / CONFIG, 9),
        lambda: files.write_durably(shared / "file", b"x"),
    ):
        with pytest.raises(files.NotOurs, match=f"belongs to another user .uid {MALLORY}"):
            use()
    own = made_by(0, shared / "own")
    files.write_durably(own / "file", b"x")


@pytest.mark.parametrize("closed", [".", "kimi-auth"])
def test_a_directory_that_we_may_not_enter(closed: str, world: Path, kimi: Callable[..., Any]) -> None:
    """Each command names the directory that is not ours: none ends in a traceback."""
    share = share_of(MALLORY, world)
    (share / "kimi-auth" / "store").mkdir(parents=True, exist_ok=True)
    for path in tree(share).values():
        os.chown(path, MALLORY, MALLORY)
    (share / closed).chmod(0o700)
    for command in COMMANDS_OF_A_HOME:
        done = kimi(*command, share=share)
        assert "Traceback" not in done.stderr, done.stderr
        assert "unexpected" not in done.stderr, done.stderr
        assert done.returncode in {0, 8, 9} or command in {("doctor",), ("store", "check")}, (
            command,
            done.returncode,
            done.stderr,
        )


@pytest.mark.parametrize("maker", [MALLORY, 0])
@pytest.mark.parametrize("place", [CONFIG, "platforms.toml", "device_id", "kimi-auth/undo.json", "credentials"])
def test_who_made_the_link(place: str, maker: int, world: Path) -> None:
    """A link counts as its maker's, wherever it leads: mine and root's are followed, another user's is not."""
    share, away = made_by(0, world / "share"), made_by(0, world / "dotfiles")
    made_by(0, share / "kimi-auth")
    target = made_by(0, away / "target", None if place == "credentials" else "x")
    linked_by(maker, share / place, target)
    path = share / place / "kimi-code.json" if place == "credentials" else share / place
    if place == "credentials":
        made_by(0, target / "kimi-code.json", "x")
    if maker == 0:
        found = files.read_bounded(path, 9, follow=True)
        assert found is not None
        assert found.data == b"x"
        return
    for use in (
        lambda: files.read_bounded(path, 9, follow=True),
        lambda: files.followed(path),
        lambda: files.write_durably(path / "below", b"y"),
    ):
        with pytest.raises(files.NotOurs, match=f"symbolic link that another user made .uid {MALLORY}"):
            use()
    if place == "credentials":
        with pytest.raises(files.NotOurs):
            files.write_durably(path, b"y")


def test_where_a_link_leads(world: Path, home: Path, kimi: Callable[..., Any]) -> None:
    """The directories behind a link of mine are checked like those before it."""
    assert kimi("login", "--no-browser").returncode == 0
    share = home / ".kimi"
    shared = made_by(USER, world / "shared", mode=0o777)
    for name in (CONFIG, "credentials/kimi-code.json"):
        (share / name).rename(shared / Path(name).name)
        linked_by(USER, share / name, shared / Path(name).name)
    token = kimi("token", "--platform", "kimi-code")
    assert (token.returncode, token.stdout) == (8, "")
    assert f"{shared} can be written by every user" in token.stderr
    sync = kimi("models", "sync")
    assert sync.returncode == 9
    assert f"{shared} can be written by every user" in sync.stderr


@pytest.mark.parametrize("owner", [USER, 0])
def test_a_group_of_one_s_own(owner: int, home: Path, kimi: Callable[..., Any]) -> None:
    """umask 002 with a group for each user, and a volume that Kubernetes has given to the pod's group: a finding, and all
    works."""
    share = share_of(USER, home)
    os.chown(share, owner, USER)
    share.chmod(0o2775)
    assert kimi("login", "--no-browser", umask=0o002).returncode == 0
    assert kimi("token").returncode == 0
    doctor = kimi("doctor")
    assert doctor.returncode == 1
    assert f"can be written by the group {USER} (mode 2775)" in doctor.stdout
    assert kimi("logout").returncode == 0
    assert stat.S_IMODE(share.stat().st_mode) == 0o2775


def test_ids_from_outside_of_a_user_namespace(home: Path, kimi: Callable[..., Any]) -> None:
    """In a rootless container everything above the share dir belongs to the overflow id: that is no other user."""
    tried = subprocess.run(["unshare", "-r", "true"], user=USER, group=USER, extra_groups=[], check=False)
    if tried.returncode:
        pytest.skip("user namespaces are not permitted here; run: sysctl kernel.unprivileged_userns_clone=1")
    for command in (("login", "--no-browser"), ("token",), ("status",), ("logout",)):
        done = kimi(*command, prefix=("unshare", "-r"))
        assert done.returncode == 0 or command == ("status",), done.stderr
    assert {path.lstat().st_uid for path in tree(home).values()} == {USER}


HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""

ASK = """
import sys
from pathlib import Path
from kimi_auth.clock import SystemClock
from kimi_auth.store import FileStore
store = FileStore(Path(sys.argv[1]), clock=SystemClock())
with store.locked(0.0) as held:
    print(bool(held), store.holder())
"""


def test_a_lock_that_another_user_holds(home: Path, child_environment: dict[str, str], python: str) -> None:
    """An old Kimi CLI's lock file lets every user hold it: the next one of ours closes that, and says how to end it."""
    share = share_of(USER, home)
    lock = made_by(USER, share / "credentials" / "kimi-code.lock", "", mode=0o644)

    def start(uid: int, code: str, path: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [python, "-c", code, str(path)],
            user=uid,
            group=uid,
            extra_groups=[],
            env=child_environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )

    with start(MALLORY, HOLD, lock) as mallory:
        assert mallory.stdout is not None
        assert mallory.stdout.readline() == "held\n"
        said, _ = heard(start(USER, ASK, share))
        assert said.startswith("False")
        assert f"of uid {MALLORY} (to end it: sudo kill {mallory.pid})" in said
        heard(mallory, "")
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert stat.S_IMODE(lock.parent.stat().st_mode) == 0o700
    assert heard(start(USER, ASK, share))[0].startswith("True")
    with start(MALLORY, HOLD, lock) as mallory:
        assert heard(mallory, "")[0] == ""
        assert mallory.returncode == 1


def test_the_fast_lane_looks_too(
    home: Path, kimi: Callable[..., Any], child_environment: dict[str, str], python: str
) -> None:
    """Where a directory is not as it should be, the quick way of `token` has no opinion."""
    assert kimi("login", "--no-browser").returncode == 0
    code = (
        "import os, sys, time; from kimi_auth import __main__ as m\n"
        "try: print(bool(m.stored_token(os.environ, time.time(), is_named=True)))\n"
        "except m.FallThrough: print('aside')"
    )

    def quick(uid: int) -> str:
        env = child_environment | {"KIMI_SHARE_DIR": str(home / ".kimi"), "KIMI_CODE_OAUTH_HOST": issuer}
        done = subprocess.run(
            [python, "-c", code],
            user=uid,
            group=uid,
            extra_groups=[],
            env=env,
            capture_output=True,
            cwd="/",
            check=False,
        )
        return done.stdout.decode().strip()

    issuer = json.loads((home / ".kimi/credentials/kimi-code.json").read_text())["issuer"]
    assert (quick(USER), quick(0), quick(MALLORY)) == ("True", "aside", "aside")
    for path in (home / ".kimi", home / ".kimi" / "credentials"):
        before = stat.S_IMODE(path.stat().st_mode)
        path.chmod(before | 0o020)
        assert quick(USER) == "aside"
        path.chmod(before)
    assert quick(USER) == "True"


def test_a_trace_is_private(home: Path, kimi: Callable[..., Any]) -> None:
    """`--trace FILE` does not follow a umask that takes nothing away."""
    trace = home / "walk.ndjson"
    assert kimi("login", "--no-browser", "--trace", str(trace), umask=0).returncode == 0
    assert stat.S_IMODE(trace.stat().st_mode) == 0o600


def test_swapped_between_the_look_and_the_use(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is exchanged after the check is not written to."""
    share = made_by(0, world / "share", mode=0o700)
    evil = made_by(MALLORY, world / "evil", mode=0o777)
    with files.reached(share / "file") as place:
        share.rename(world / "away")
        linked_by(MALLORY, share, evil)
        os.close(os.open(place.name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=place.directory))
    assert (world / "away" / "file").exists()
    assert list(evil.iterdir()) == []
    with pytest.raises(files.NotOurs, match="symbolic link that another user made"):
        files.write_durably(share / "file", b"x")
