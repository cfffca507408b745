"""`kimi-auth doctor`: whatever is wrong is named, with the next step; nothing else is; and nothing shows who asked."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth import files
from kimi_auth.cli.doctor import ALL_WELL, credential, disk, renewal
from kimi_auth.cli.doctor import environment as surroundings
from kimi_auth.cli.doctor.check import public
from kimi_auth.cli.terminal import Terminal
from kimi_auth.credential.status import Status
from kimi_auth.errors import ConfigError, StorageError, StoreUnwritable
from kimi_auth.session import Session
from kimi_auth.store import Backoff, FileStore, MemoryStore, RevokedMark
from kimi_auth.testing.emulator import Emulator, Fault

Run = Callable[..., Any]

HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def share_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default location in the home of a user who wants to stay anonymous."""
    home = tmp_path / "jane-doe"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", "jane-doe")
    return home / ".kimi"


@dataclass
class House:
    """A set-up that is signed in and well, and the ways to break it."""

    kimi: Run
    age: Run
    store: FileStore
    share_dir: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def file(self) -> Path:
        return self.store.path

    @property
    def config(self) -> Path:
        return self.share_dir / "config.toml"

    def findings(self) -> list[tuple[str, str]]:
        """What the doctor finds, the same as data and for people; nothing in it names the user."""
        said, shown = self.kimi("doctor", "--json"), self.kimi("doctor")
        assert "jane-doe" not in said.out + said.err + shown.out + shown.err
        found = [(c["check"], c["step"]) for c in said.json["checks"] if c["verdict"] == "finding"]
        lines = [tuple(line[8:].split(": ", 1)) for line in shown.out.splitlines() if line.startswith("next ")]
        assert [name for name, _ in lines] == [name for name, _ in found]
        assert said.json["ok"] is (found == [])
        assert (said.status, shown.status) == ((1, 1) if found else (0, 0))
        assert shown.err.count("\n") == said.err.count("\n") == bool(found)
        return found

    # --- one defect each ------------------------------------------------------------------------------------------------

    def remove(self) -> None:
        self.file.unlink()

    def unreadable(self) -> None:
        """Mode 000; root, who reads everything, is refused by hand."""
        self.file.chmod(0)
        read = files.read_bounded

        def refuse(path: Path, *args: Any, **more: Any) -> Any:
            if path.name == self.file.name:  # a path, or its location in an open directory
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return read(path, *args, **more)

        self.monkeypatch.setattr("kimi_auth.files.read_bounded", refuse)

    def no_mode(self) -> None:
        self.file.chmod(0o400)

    def corrupt(self) -> None:
        self.file.write_text('{"access_token": "cut off h')

    def world_readable(self) -> None:
        self.file.chmod(0o644)

    def open_directory(self) -> None:
        self.file.parent.chmod(0o777)

    def refused(self) -> None:
        self.age(-5.0)
        now_s = time.time()
        fp = self.store.read().fp
        unrecognized = Backoff(
            unrecognized_fp=fp,
            unrecognized_count=2,
            unrecognized_first_at_s=now_s - 300,
            unrecognized_last_at_s=now_s,
            unrecognized_words="403 without an error",
        )
        with self.store.locked(NO_LIMIT_S):
            self.store.set_backoff(unrecognized)

    def revoked(self) -> None:
        self.age(-5.0)
        self.ended()

    def age_300(self) -> None:
        self.age(300.0)

    def ended(self) -> None:
        with self.store.locked(NO_LIMIT_S):
            self.store.mark_revoked(self.store.read().fp, RevokedMark(time.time(), "invalid_grant"))

    def stale_claim(self) -> None:
        with self.store.locked(NO_LIMIT_S):
            self.store.claim(self.store.read().fp)

    def keyring(self) -> None:
        self.config.write_text(self.config.read_text().replace('storage = "file"', 'storage = "keyring"'))

    def keyring_without_package(self) -> None:
        self.keyring()
        self.monkeypatch.setattr("kimi_auth.cli.doctor.credential.find_spec", lambda _: None)

    def keyring_only(self) -> None:
        self.keyring()
        self.remove()

    def config_invalid(self) -> None:
        self.config.write_text("= no")

    def config_unwritable(self) -> None:
        def refuse(*_: object) -> None:
            raise ConfigError(f"{self.config}: read-only", hint=f"make it writable: chmod u+w {self.config}")

        self.monkeypatch.setattr("kimi_auth.models.ConfigFile.writable", refuse)

    def default_gone(self) -> None:
        self.config.write_text(self.config.read_text().replace('default_model = "', 'default_model = "gone-'))

    def provider_gone(self) -> None:
        text = 'default_model = "mine"\n[models.mine]\nprovider = "nobody"\nmodel = "m"\nmax_context_size = 1\n'
        rest = self.config.read_text().replace("default_model", "# default_model")
        self.config.write_text(text + rest)

    def orphan(self) -> None:
        with self.config.open("a") as file:
            file.write('\n[models.orphan]\nprovider = "nobody"\nmodel = "m"\nmax_context_size = 1\n')

    def config_is_a_directory(self) -> None:
        self.config.unlink()
        self.config.mkdir()

    def no_models(self) -> None:
        self.config.unlink()

    def locks_do_not_exclude(self) -> None:
        self.monkeypatch.setattr(disk, "why_locks_are_shared", lambda _: "it can be taken twice at the same time")

    def no_locks(self) -> None:
        def refuse(_: Path) -> str:
            raise StorageError("cannot lock it: this file system cannot do that", hint="set KIMI_SHARE_DIR elsewhere")

        self.monkeypatch.setattr(disk, "why_locks_are_shared", refuse)

    def disk_full(self) -> None:
        def refuse(_: FileStore) -> None:
            raise StoreUnwritable("cannot write: the disk is full", hint="make room, then try again")

        self.monkeypatch.setattr(FileStore, "check_writable", refuse)

    def waiting(self) -> None:
        self.age(-5.0)
        self.backing_off()

    def backing_off(self) -> None:
        with self.store.locked(NO_LIMIT_S):
            self.store.set_backoff(
                Backoff(retry_at_s=time.time() + 50, failures=3, code="unreachable", message="no route")
            )

    def client_refused(self) -> None:
        self.age(-5.0)
        with self.store.locked(NO_LIMIT_S):
            self.store.set_backoff(
                Backoff(retry_at_s=time.time() + 50, failures=1, code="client_refused", message="no")
            )

    def platforms_broken(self) -> None:
        (self.share_dir / "platforms.toml").write_text("= no")

    def other_issuer(self) -> None:
        self.monkeypatch.setenv("KIMI_CODE_OAUTH_HOST", "http://127.0.0.1:9")

    def no_url(self) -> None:
        self.monkeypatch.setenv("KIMI_CODE_OAUTH_HOST", "nonsense")

    def relative(self) -> None:
        self.monkeypatch.chdir(self.share_dir.parent)
        self.monkeypatch.setenv("KIMI_SHARE_DIR", ".kimi")

    def no_directory(self) -> None:
        (self.share_dir.parent / "file").write_text("")
        self.monkeypatch.setenv("KIMI_SHARE_DIR", str(self.share_dir.parent / "file"))

    def name_too_long(self) -> None:
        self.monkeypatch.setenv("KIMI_SHARE_DIR", str(self.share_dir.parent / ("x" * 256)))

    def locked_out(self) -> None:
        """Another user's directory; root, who enters everything, is refused by hand."""
        for name in ("stat", "open", "lstat"):
            usual = getattr(os, name)

            def refuse(path: Any, *args: Any, usual: Any = usual, **more: Any) -> Any:
                if "dir_fd" in more:
                    path = os.path.realpath(f"/proc/self/fd/{more.pop('dir_fd')}") + f"/{path}"
                if str(path).startswith(f"{self.share_dir}/"):
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
                return usual(path, *args, **more)

            self.monkeypatch.setattr(os, name, refuse)

    def provider_is_a_list(self) -> None:
        self.config.write_text(self.config.read_text().replace("default_model", "# default_model"))
        with self.config.open("a") as file:
            file.write("\n[models.odd]\nprovider = [1]\n")
        self.config.write_text('default_model = "odd"\n' + self.config.read_text())

    def absurd_walk(self) -> None:
        name = "20251123T121320.000-device_login-failed-0123456789ab.ndjson"
        line = {"walk": "w", "machine": "device_login", "from": "polling", "event": "refused", "to": "failed"}
        numbers = {"seconds": 9e10, "step": 1, "at_s": 1.0}
        (self.share_dir / "kimi-auth" / "walks" / name).write_text(json.dumps(line | numbers) + "\n")

    def edit_record(self, **changes: object) -> None:
        self.file.write_text(json.dumps(json.loads(self.file.read_text()) | changes))

    def no_refresh_token(self) -> None:
        self.edit_record(refresh_token="")

    def in_milliseconds(self) -> None:
        self.edit_record(expires_at=time.time() * 1000)

    def base_url_edited(self) -> None:
        text = self.config.read_text()
        base = re.search(r'base_url = "([^"]+)"', text)
        assert base
        self.config.write_text(text.replace(base[0], 'base_url = "https://me:s3cret@llm.example/v1"', 1))

    def service_elsewhere(self) -> None:
        self.config.write_text(
            re.sub(r'base_url = "[^"]+/search"', 'base_url = "https://search.example"', self.config.read_text())
        )

    def in_proc(self) -> None:
        self.monkeypatch.setenv("KIMI_SHARE_DIR", "/proc/x/y")

    def kimi_cli_wrote(self) -> None:
        record = json.loads(self.file.read_text())
        self.file.write_text(json.dumps({key: value for key, value in record.items() if key != "issuer"}))
        (self.file.parent / "tmp0a1b_2c3.tmp").write_text("")


@pytest.fixture
def house(kimi: Run, age: Run, store: FileStore, share_dir: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(renewal, "MOMENT_S", 0.02)
    assert kimi("login").status == 0
    return House(kimi, age, store, share_dir, monkeypatch)


FILE = "~/.kimi/credentials/kimi-code.json"
EDIT = "${EDITOR:-vi} ~/.kimi/config.toml"
RENEW = "kimi-auth token --refresh"
DEFECTS: dict[str, tuple[tuple[str, ...], list[tuple[str, str]]]] = {
    "credential missing": (("remove",), [("credential", "kimi-auth login")]),
    "credential unreadable": (("unreadable",), [("credential", f"chmod 600 {FILE}")]),
    "credential with a strange mode": (("no_mode",), [("file mode", f"chmod 600 {FILE}")]),
    "credential corrupt": (("corrupt",), [("credential", "kimi-auth login")]),
    "credential for all to read": (("world_readable",), [("file mode", f"chmod 600 {FILE}")]),
    "directory for all to write": (
        ("open_directory",),
        [("share dir", "keep others out: chmod go-w ~/.kimi/credentials")],
    ),
    "refused": (("refused",), [("credential", f"{RENEW}; if the server still refuses: kimi-auth login")]),
    "revoked": (("revoked",), [("credential", "kimi-auth login")]),
    "ended, token still good": (("age_300", "ended"), [("credential", "kimi-auth login --force")]),
    "stale claim": (("stale_claim",), [("claim", RENEW)]),
    "keyring": (("keyring",), [("keyring", "kimi-auth models sync")]),
    "keyring only": (("keyring_only",), [("keyring", "kimi-auth models sync")]),
    "keyring, no package": (
        ("keyring_without_package",),
        [("keyring", "pip install 'kimi-auth[keyring]' && kimi-auth models sync")],
    ),
    "no refresh token": (("no_refresh_token",), [("renewal", "sign in again: kimi-auth login --force")]),
    "expires_at in milliseconds": (("in_milliseconds",), [("token", RENEW)]),
    "provider at another API": (("base_url_edited",), [("provider", f"correct it: {EDIT}")]),
    "service at another host": (("service_elsewhere",), [("provider", f"correct it: {EDIT}")]),
    "share dir that cannot be made": (
        ("in_proc",),
        [("share dir", "name another directory: export KIMI_SHARE_DIR=/a/directory")],
    ),
    "config invalid": (("config_invalid",), [("config.toml", f"correct it: {EDIT}")]),
    "config read-only": (("config_unwritable",), [("writing", "make it writable: chmod u+w ~/.kimi/config.toml")]),
    "default model gone": (
        ("default_gone",),
        [("default model", f"kimi-auth models sync, or name another default_model: {EDIT}")],
    ),
    "default model's provider gone": (
        ("provider_gone",),
        [("providers", f"add it, or take the model out: {EDIT}")],
    ),
    "another model's provider gone": (("orphan",), [("providers", f"add it, or take the model out: {EDIT}")]),
    "config is a directory": (
        ("config_is_a_directory",),
        [("config.toml", "move it out of the way, then try again: ~/.kimi/config.toml")],
    ),
    "models never synced": (("no_models",), [("models", "kimi-auth models sync")]),
    "locks do not exclude": (("locks_do_not_exclude",), [("locks", disk.LOCAL_DISK)]),
    "no locks at all": (("no_locks",), [("locks", "set KIMI_SHARE_DIR elsewhere")]),
    "disk full": (("disk_full",), [("writing", "make room, then try again")]),
    "server not reached": (("waiting",), [("backoff", f"check the network, then: {RENEW}")]),
    "server not reached, token still good": (
        ("age_300", "backing_off"),
        [("backoff", f"check the network, then: {RENEW}")],
    ),
    "client refused": (
        ("client_refused",),
        [("backoff", "update kimi-auth, or check its OAuth host and client id: kimi-auth platforms list")],
    ),
    "platforms broken": (("platforms_broken",), [("platforms", ".+")]),
    "another issuer": (
        ("other_issuer",),
        [("credential", "select that host; or name the host that it is from: kimi-auth adopt --issuer URL; .+")],
    ),
    "an address that is none": (("no_url",), [("environment", ".+")]),
    "share dir relative": (("relative",), [("share dir", "export KIMI_SHARE_DIR=~/.kimi")]),
    "share dir is a file": (
        ("no_directory",),
        [("share dir", "mv ~/file ~/file.aside")],
    ),
    "share dir with too long a name": (("name_too_long",), [("share dir", surroundings.ELSEWHERE)]),
    "share dir of another user": (
        ("locked_out",),
        [("share dir", "check owner and mode: ls -ld ~ ~/.kimi")],
    ),
    "default model's provider is no text": (
        ("provider_is_a_list",),
        [("providers", f"add it, or take the model out: {EDIT}")],
    ),
    "a walk that began before there were years": (("absurd_walk",), []),
    "stale claim of a login that the server ended": (("revoked", "stale_claim"), [("credential", "kimi-auth login")]),
    "another writer, login lost": (
        ("kimi_cli_wrote", "revoked"),
        [
            ("credential", "kimi-auth login"),
            ("writers", "close every running Kimi CLI, then: kimi-auth login --force"),
        ],
    ),
    "corrupt and invalid": (
        ("corrupt", "config_invalid"),
        [("credential", "kimi-auth login"), ("config.toml", f"correct it: {EDIT}")],
    ),
    "readable, gone default, broken locks": (
        ("world_readable", "default_gone", "locks_do_not_exclude"),
        [("file mode", "chmod 600 .+"), ("default model", "kimi-auth models sync.+"), ("locks", ".*KIMI_SHARE_DIR.*")],
    ),
    "claim and backoff": (("waiting", "stale_claim"), [("claim", RENEW), ("backoff", "check the network.+")]),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_is_named(house: House, name: str) -> None:
    """One thing is broken, or some together: exactly those are found, each with its own next step."""
    seeds, expected = DEFECTS[name]
    for seed in seeds:
        getattr(house, seed)()
    found = house.findings()
    assert [check for check, _ in found] == [check for check, _ in expected]
    for (_, step), (_, wanted) in zip(found, expected, strict=True):
        assert step == wanted or re.fullmatch(wanted, step)


def test_a_check_of_the_store_names_a_home_that_is_closed(house: House, kimi: Any) -> None:
    """`store check` says why the login's file cannot be read, with the next step; it is no success."""
    assert kimi("store", "check").status == 0
    house.locked_out()
    done = kimi("store", "check", "--json")
    assert done.status == 1
    (check,) = done.json["checks"]
    assert check["check"] == "file"
    assert check["step"].startswith("check owner and mode: ls -ld ~/.kimi/credentials")
    assert "permission denied" in check["evidence"]


PLACES = {
    "the credential": ("remove", "unreadable", "corrupt", "refused", "stale_claim"),
    "its mode": ("world_readable",),
    "the config": ("keyring", "config_invalid", "default_gone", "no_models"),
    "the disk": ("locks_do_not_exclude",),
}
HIDDEN = {
    *((gone, "world_readable") for gone in ("remove", "unreadable")),  # a file has one mode, or none
    ("remove", "keyring"),  # what waits in the keyring is not missing
    *((gone, "no_models") for gone in ("remove", "unreadable", "corrupt")),  # signed out, there are to be none
}
PAIRS = [
    pair
    for some, others in itertools.combinations(PLACES.values(), 2)
    for pair in itertools.product(some, others)
    if pair not in HIDDEN
]


@pytest.mark.prove
@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_two_defects(house: House, pair: tuple[str, str]) -> None:
    """Two things are broken in two files: both are found, each with the step that it has alone."""
    alone = {seeds[0]: expected for seeds, expected in DEFECTS.values() if len(seeds) == 1}
    for seed in pair:
        getattr(house, seed)()
    found = dict(house.findings())
    wanted = dict(each for seed in pair for each in alone[seed])
    assert found.keys() == wanted.keys()
    assert all(step == wanted[check] or re.fullmatch(wanted[check], step) for check, step in found.items())


def test_status_says_it_too(house: House) -> None:
    """What keeps a login from being renewed, an end that cannot be right, and another API stand in `status` as well; an address
    is shown without its user name."""
    house.no_refresh_token()
    assert "renewal: never: the record has no refresh token" in house.kimi("status").out
    assert house.kimi("status", "--json").json["renews_in_s"] is None
    house.edit_record(refresh_token="r")
    house.in_milliseconds()
    assert "is not a time in seconds, so the token counts as expired\n" in house.kimi("status").out
    house.base_url_edited()
    said = house.kimi("status")
    assert (
        'providers."managed:kimi-code".base_url: is not at this API: the Kimi CLI sends this login\'s token to llm.example/v1\n'
        in said.out
    )
    assert "s3cret" not in said.out + house.kimi("doctor").out
    assert house.kimi("status", "--json").json["elsewhere"] == [
        {"location": 'providers."managed:kimi-code".base_url', "host": "llm.example/v1"}
    ]


def test_all_well_is_one_line(house: House) -> None:
    """A healthy set-up: exit 0, every row is fine, and one line says so; nothing was renewed, nothing is left."""
    before = {path: path.stat().st_mtime_ns for path in house.share_dir.rglob("*") if path.is_file()}
    assert house.findings() == []
    said = house.kimi("doctor")
    *rows, last = said.out.splitlines()
    assert (last, said.err) == (ALL_WELL, "")
    assert all(row.startswith("ok      ") for row in rows)
    assert {path: path.stat().st_mtime_ns for path in house.share_dir.rglob("*") if path.is_file()} == before


def test_before_the_first_sign_in(kimi: Run, share_dir: Path) -> None:
    """Nothing is there: the sign-in is the one next step, and looking lays nothing there."""
    said = kimi("doctor", "--json")
    assert [(c["check"], c["step"]) for c in said.json["checks"] if c["step"]] == [("credential", "kimi-auth login")]
    assert "nothing in the file ~/.kimi/credentials/kimi-code.json" in said.out
    assert not list(share_dir.rglob("*"))


def test_locks_are_tried_before_the_first_sign_in(house: House) -> None:
    """A share directory without credentials: its locks are tried all the same."""
    house.remove()
    for path in house.file.parent.iterdir():
        path.unlink()
    house.file.parent.rmdir()
    house.locks_do_not_exclude()
    assert house.findings() == [("credential", "kimi-auth login"), ("locks", disk.LOCAL_DISK)]


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Another process holds the lock `path`; gives its id."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid
        assert process.stdin is not None
        process.stdin.close()


def test_a_lock_that_is_held(house: House) -> None:
    """Another process does not give the lock back: which one, and how to end it; once it has ended, all is well."""
    with held(house.file.with_suffix(".lock")) as pid:
        assert house.findings() == [("lock", f"if it does not end soon: kill {pid}")]
        assert f"lock: held by pid {pid} (python" in house.kimi("doctor").out
    assert house.findings() == []


@pytest.mark.parametrize("is_renewing", [False, True])
def test_a_lock_that_a_stopped_process_holds(house: House, is_renewing: bool) -> None:
    """A user pressed Ctrl-Z: such a process hears no `kill`, so the step lets it go on, and its renewal is not lost."""
    if is_renewing:
        house.stale_claim()
    with held(house.file.with_suffix(".lock")) as pid:
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        assert house.findings() == [("lock", f"resume it: kill -CONT {pid}")]
        assert "which is stopped" in house.kimi("doctor").out
        os.kill(pid, signal.SIGCONT)
    assert house.findings() == ([("claim", RENEW)] if is_renewing else [])


def test_a_renewal_under_way_is_let_alone(house: House) -> None:
    """A lock that is held for a renewal is no finding, until the renewal takes longer than any does."""
    house.stale_claim()
    claim = next(house.file.parent.glob("*.next"))
    with held(house.file.with_suffix(".lock")) as pid:
        assert house.findings() == []
        assert f"a renewal is in progress, by pid {pid}" in house.kimi("doctor").out
        os.utime(claim, (time.time() - 80, time.time() - 80))
        assert house.findings() == [("lock", f"if it does not end soon: kill {pid}")]


def test_a_lock_that_is_given_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held at the first look, free or another holder's at the next: that is how locks are used."""
    for after in ("", "pid 2 (b)"):
        holders = iter(["pid 1 (a)", after])
        monkeypatch.setattr(FileStore, "holder", lambda _, holders=holders: next(holders))
        (check,) = renewal.lock(Session(), Status("", "", "fresh", ""))
        assert check == ("lock", "free", "")


@pytest.mark.parametrize(
    ("holder", "evidence", "step"),
    [
        (
            "pid 7 on janes-laptop (according to its claim)",
            "held by pid 7 of another host",
            "if it does not end soon: kill 7",
        ),
        ("somebody", "held by somebody", "wait for that process, or end it"),
    ],
)
def test_holders_that_are_no_process_of_ours(
    house: House, monkeypatch: pytest.MonkeyPatch, holder: str, evidence: str, step: str
) -> None:
    """Another host's holder is told without the name of the host."""
    monkeypatch.setattr(FileStore, "holder", lambda _: holder)
    (check,) = renewal.lock(Session(), Status("", "", "fresh", "", fp="0" * 16, claim="in_flight"))
    assert check == ("lock", evidence, step)


def test_a_claim_that_is_finished_meanwhile(house: House) -> None:
    """A claim that was seen and is gone at the second look is a renewal that came to its end."""
    (check,) = renewal.claim(Session(), Status("", "", "expired", "", fp="0" * 16, claim="interrupted"))
    assert check == ("claim", "a renewal has just been finished", "")


def test_a_login_that_is_shared(house: House) -> None:
    """A Kimi CLI that writes the same file is told, and is no finding while nothing is lost."""
    house.kimi_cli_wrote()
    assert house.findings() == []
    assert "last written by a Kimi CLI; one unfinished write of a Kimi CLI" in house.kimi("doctor").out


def test_renewals_are_dated(house: House) -> None:
    """The last renewal is told once there has been one."""
    assert "last renewal: none yet since the sign-in" in house.kimi("doctor").out
    assert house.kimi("token", "--refresh").status == 0
    assert re.search(r"last renewal: \d+ s ago", house.kimi("doctor").out)


@pytest.mark.parametrize(
    ("break_it", "verdict", "step"),
    [(None, "valid", ""), ("models_rejected", "invalid", RENEW), ("models_down", "unknown", "check the network.+")],
)
def test_the_api_is_asked(house: House, emulator: Emulator, break_it: str | None, verdict: str, step: str) -> None:
    """--verify: what the API says of the token; not asked where there is none."""
    if break_it:
        status = 401 if break_it == "models_rejected" else 503
        emulator.state.inject(Fault("models", status=status, body="", times=None))
    *_, last = house.kimi("doctor", "--verify", "--json").json["checks"]
    assert (last["check"], last["evidence"].partition(":")[0]) == ("API says", verdict)
    assert re.fullmatch(step, last["step"])
    house.remove()
    assert "API says" not in house.kimi("doctor", "--verify").out


def test_on_a_terminal(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """80 columns: names, marks and evidence each in a column of their own, long evidence under itself."""
    monkeypatch.setattr(Terminal, "is_lively", True)
    well = house.kimi("doctor").out
    assert ALL_WELL in well
    assert "✗" not in well
    house.default_gone()
    lines = house.kimi("doctor").out.splitlines()
    assert ALL_WELL not in lines
    assert max(map(len, lines)) <= 80
    (row,) = [n for n, line in enumerate(lines) if "✗" in line]
    column = lines[row].index("✗")
    assert lines[row].startswith("  default model  ✗  gone-")
    (arrow,) = [line for line in lines if "→" in line]
    assert arrow.index("→") == column
    assert all(line[:column].strip() == "" for line in lines[row + 1 : lines.index(arrow) + 2])
    assert "✓" in lines[lines.index(arrow) + 2]


PUBLIC = [
    ("{home}/.kimi/x", "~/.kimi/x"),
    ("in {home}", "in ~"),
    ("in {home}.", "in ~."),
    ("{home}-other/x", "{home}-other/x"),
    ("{home}ette/x", "{home}ette/x"),
    ("rm '{home}/a b'", "rm ~/'a b'"),
    ("/data{home}", "/data{parent}/$USER"),
    ("/srv/jane/kimi", "/srv/$USER/kimi"),
    ("/srv/jane", "/srv/$USER"),
    ("/srv/jane-doe and jane", "/srv/jane-doe and jane"),
    ("two\nlines\x1b[31m", "two lines[31m"),
]


@pytest.mark.parametrize(("text", "shown"), PUBLIC)
def test_nobody_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, shown: str) -> None:
    """A home and a directory called like the user are written as a shell writes them; their neighbours stay."""
    home = tmp_path / "jane"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", "jane")
    places = {"home": home, "parent": tmp_path}
    assert public(text.format(**places)) == shown.format(**places)


def test_a_home_at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user may have / for a home and no name: nothing is replaced."""

    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setenv("HOME", "/")
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.delenv("LOGNAME", raising=False)
    monkeypatch.setattr("kimi_auth.cli.doctor.check.pwd.getpwuid", nobody)
    assert public("/a/b and /") == "/a/b and /"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert public("/a/b and /") == "/a/b and /"


def test_a_credential_that_is_no_file(house: House) -> None:
    """A store in memory has no mode, no other writers and no directory."""
    session = Session(store=MemoryStore(house.store._clock))
    nothing = session.status()
    assert credential.file_of(session) is None
    for look in (credential.told, disk.writers, disk.writable):
        assert list(look(session, nothing)) == []


def test_locks_are_really_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe finds nothing on this disk, reports the lock that lets a second holder in, and leaves no file."""
    assert disk.why_locks_are_shared(tmp_path / "kimi-code.json") == ""
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    assert "twice" in disk.why_locks_are_shared(tmp_path / "kimi-code.json")
    assert list(tmp_path.iterdir()) == []
