"""A renewal that is due when a command hands out a token: a process of its own does it, and the shell waits for nothing."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S, met, until

from kimi_auth import renewal
from kimi_auth.advisory import renew_if_due, successor_of
from kimi_auth.credential import detached
from kimi_auth.credential.history import WalkHistory
from kimi_auth.platforms import Platform
from kimi_auth.platforms.spec import builtin
from kimi_auth.session import Session
from kimi_auth.store import FileStore
from kimi_auth.support.children import python_command
from kimi_auth.testing.emulator import Emulator, Fault
from kimi_auth.token import Token

Run = Callable[..., Any]

LONG_S = 60.0
"""How long a test waits for a process that has nothing to wait for: a loaded machine, never a measure of anything."""

DUE_S = 200.0
"""Of 900 seconds: in the second half of the window, and far from its end."""

ELSEWHERE = """
import sys
from kimi_auth.credential import detached
detached.can_outlive_us = lambda: True
from kimi_auth.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
KIMI_AUTH = [sys.executable, "-c", ELSEWHERE]
"""The program as on a machine that is not a container, wherever the tests run."""


class HeldServer:
    """A server that holds every renewal behind a gate."""

    def __init__(self, emulator: Emulator) -> None:
        self.state = emulator.state
        self.arrived = threading.Event()
        self.gate = threading.Event()
        self._refresh = self.state.refresh
        self.state.refresh = self.refresh  # type: ignore[method-assign]

    def refresh(self, refresh_token: str) -> Any:
        self.arrived.set()
        met(self.gate)
        return self._refresh(refresh_token)


@pytest.fixture
def held(emulator: Emulator) -> Iterator[HeldServer]:
    server = HeldServer(emulator)
    yield server
    server.gate.set()


@pytest.fixture
def due(kimi: Run, age: Run) -> Token:
    """A login whose renewal is due."""
    kimi("login")
    token: Token = age(DUE_S)
    return token


def program(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KIMI_AUTH, *args], capture_output=True, text=True, check=False, **options)


def renewing(store: FileStore) -> int:
    """The pid of the process that holds the lock."""
    return int(store.holder().split()[1])


def ended(pid: int) -> None:
    """Returns when that process, which is no child of ours, has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        until(lambda tick_s: select.select([descriptor], [], [], tick_s)[0], f"the end of process {pid}")
    finally:
        os.close(descriptor)


def until_renewed(store: FileStore, old: Token) -> Token:
    """The pair that replaces `old` on disk."""

    def renewed(_: float) -> Token | None:
        token = store.read().token
        if token is not None and token.access_token != old.access_token:
            return token
        time.sleep(0.01)
        return None

    found = until(renewed, "a renewal")
    assert found is not None
    return found


COMMANDS: dict[str, tuple[tuple[str, ...], Callable[[str], str]]] = {
    "token": (("token",), str.strip),
    "token of a platform": (("token", "--platform", "kimi-code"), str.strip),
    "--min-ttl": (("token", "--min-ttl", "60"), str.strip),
    "--json": (("token", "--json"), lambda out: str(json.loads(out)["access_token"])),
    "run": (("run", "--", "sh", "-c", 'printf %s "$KIMI_API_KEY"'), str),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_waits_while_a_token_works(
    due: Token, held: HeldServer, store: FileStore, share_dir: Path, command: str
) -> None:
    """It has ended, and its output too, while the server still holds the request; then the renewal lands, and is recorded."""
    args, token_in = COMMANDS[command]
    done = program(*args)
    assert (done.returncode, token_in(done.stdout), done.stderr) == (0, due.access_token, "")
    met(held.arrived)
    pid = renewing(store)
    held.gate.set()
    assert until_renewed(store, due).access_token != due.access_token
    ended(pid)
    walks = [kept for kept in WalkHistory(share_dir).kept() if kept.machine == "token_lifecycle"]
    assert [kept.end for kept in walks] == ["fresh"]
    assert held.state.counts["rotations"] == 1


def test_a_shell_goes_on(due: Token, held: HeldServer, store: FileStore) -> None:
    """Command substitution waits for every writer of the pipe: there is none left."""
    line = ["sh", "-c", 'T=$("$@"); printf "got %s" "$T"', "sh", *KIMI_AUTH, "token"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout == f"got {due.access_token}"
    met(held.arrived)
    pid = renewing(store)
    held.gate.set()
    until_renewed(store, due)
    ended(pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc, by which the process is looked at")
def test_what_the_process_is(
    due: Token, held: HeldServer, store: FileStore, share_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session of its own, nothing but /dev/null and its own files open, in /, child of none of ours, without the keys of
    others."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-program")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    extra = os.pipe()
    assert program("token", pass_fds=extra).returncode == 0
    met(held.arrived)
    pid = renewing(store)
    proc = Path(f"/proc/{pid}")
    assert os.getsid(pid) == pid
    assert {str((proc / f"fd/{number}").readlink()) for number in (0, 1, 2)} == {"/dev/null"}
    inherited = {os.fstat(end).st_ino for end in extra}
    assert not inherited & {path.stat().st_ino for path in (proc / "fd").iterdir() if path.exists()}
    assert (proc / "cwd").readlink() == Path("/")
    environ = dict(pair.split("=", 1) for pair in (proc / "environ").read_text().split("\0") if pair)
    assert environ["KIMI_SHARE_DIR"] == str(share_dir)
    assert environ["https_proxy"] == "http://127.0.0.1:1"
    assert "OPENAI_API_KEY" not in environ
    held.gate.set()
    until_renewed(store, due)
    ended(pid)
    for end in extra:
        os.close(end)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_waits_for_its_answer(due: Token, held: HeldServer, store: FileStore, number: signal.Signals) -> None:
    """What a service manager or a session's end sends the process tears no renewal."""
    assert program("token").returncode == 0
    met(held.arrived)
    pid = renewing(store)
    os.kill(pid, number)
    held.gate.set()
    until_renewed(store, due)
    ended(pid)


def test_run_leaves_no_zombie(due: Token, held: HeldServer, store: FileStore) -> None:
    """`run` lives as long as its command: what it started beside is reaped when it ends."""
    line = [*KIMI_AUTH, "run", "--", "cat"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        met(held.arrived)
        pid = renewing(store)
        held.gate.set()
        ended(pid)
        until(lambda _: not Path(f"/proc/{pid}").exists() or time.sleep(0.01), "its parent's wait for it")
        child.communicate(b"")
    assert child.returncode == 0


# --- when no process is started --------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that would have been run, in an environment where processes live on."""
    lines: list[list[str]] = []

    def refuse(line: list[str], _environ: object) -> int:
        lines.append(line)
        raise OSError(11, "none is started in this test")

    monkeypatch.setattr(detached, "can_outlive_us", lambda: True)
    monkeypatch.setattr(detached, "spawn", refuse)
    return lines


def test_one_is_started_when_it_is_due(kimi: Run, due: Token, started: list[list[str]]) -> None:
    """In the second half of the window, and where it cannot be started the token is printed all the same."""
    assert kimi("token").out.strip() == due.access_token
    assert [("kimi_auth.renewal" in line[-2], line[-1]) for line in started] == [(True, "kimi-code@default")]


@pytest.mark.parametrize("left_s", [900.0, 400.0])
def test_none_while_there_is_time(kimi: Run, age: Run, started: list[list[str]], left_s: float) -> None:
    """Fresh, or in the first half of the window."""
    kimi("login")
    age(left_s)
    assert kimi("token").status == 0
    assert started == []


def test_none_while_one_is_under_way(kimi: Run, due: Token, store: FileStore, started: list[list[str]]) -> None:
    """Another process holds the lock."""
    with store.locked(0.0) as held:
        assert held
        assert kimi("token").out.strip() == due.access_token
    assert started == []


def test_none_while_backing_off(kimi: Run, due: Token, emulator: Emulator, started: list[list[str]]) -> None:
    """The last try has failed a moment ago."""
    emulator.state.inject(Fault("token", "refresh_token", status=503, processed=False))
    renew_if_due(Session(one_shot=True)._components)
    assert kimi("token").out.strip() == due.access_token
    assert started == []


@pytest.mark.parametrize("frozen", [True, False])
def test_none_in_a_frozen_application(
    kimi: Run, due: Token, monkeypatch: pytest.MonkeyPatch, started: list[list[str]], frozen: bool
) -> None:
    """Its executable is the application itself."""
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    assert kimi("token").out.strip() == due.access_token
    assert len(started) == (not frozen)


@pytest.mark.parametrize(
    ("platform", "inode", "lives_on"),
    [
        ("linux", "same", True),
        ("linux", "other", False),
        ("linux", "unreadable", False),
        ("darwin", "unreadable", True),
    ],
)
def test_where_a_process_lives_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, inode: str, lives_on: bool
) -> None:
    """Not in another PID namespace than the first one; where that cannot be told, neither; other systems have none."""
    namespace = tmp_path / "pid"
    if inode != "unreadable":
        namespace.touch()
        number = namespace.stat().st_ino + (inode == "other")
        monkeypatch.setattr(detached, "INITIAL_PID_NAMESPACE", number)
    monkeypatch.setattr(detached, "NAMESPACE", namespace)
    monkeypatch.setattr(sys, "platform", platform)
    assert detached.can_outlive_us() is lives_on


ALL_END = '"$@"; status=$?; while set -- /proc/[0-9]*; [ $# -gt 1 ]; do sleep 0.01; done; exit $status'
"""For a shell that is the first process: with its end the kernel would end a renewal before that can send anything."""


def in_container(*args: str) -> subprocess.CompletedProcess[str]:
    """`kimi-auth` in a PID namespace of its own, to the end of all that it started there."""
    line = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", ALL_END, "sh"]
    return subprocess.run(
        [*line, sys.executable, "-m", "kimi_auth", *args], capture_output=True, text=True, check=False
    )


def needs_namespaces() -> None:
    if not shutil.which("unshare") or in_container("--version").returncode:
        pytest.skip("needs unshare(1) and the right to make PID namespaces: run it as root")


def test_in_a_container(kimi: Run, due: Token, age: Run, emulator: Emulator) -> None:
    """The advisory renewal is left out; a renewal that is needed runs in the foreground."""
    needs_namespaces()
    done = in_container("token")
    assert (done.returncode, done.stdout.strip()) == (0, due.access_token)
    assert emulator.state.counts["refreshes"] == 0
    age(-10.0)
    done = in_container("token")
    assert (done.returncode, emulator.state.counts["rotations"]) == (0, 1)
    assert emulator.state.judge(done.stdout.strip()) == "ok"


# --- servers on which a rotation ends the old token ------------------------------------------------------------------


@pytest.fixture
def strict_platform(kimi: Run, emulator: Emulator, share_dir: Path, age: Run, store: FileStore) -> Path:
    """A platform on a server that ends the old access token the moment it rotates, and a login on it."""
    share_dir.mkdir(exist_ok=True)
    (share_dir / "platforms.toml").write_text(
        f"""
        v = 1
        [platforms.acme]
        name = "Acme"
        auth = "device"
        api_base = "{emulator.api_base}"
        rotation_ends_access = true
        [platforms.acme.oauth]
        host = "{emulator.oauth_host}"
        device_authorization_path = "/api/oauth/device_authorization"
        token_path = "/api/oauth/token"
        client_id = "17e5f671-d194-4dfb-9706-5516cb48c098"
        """
    )
    rotate = emulator.state.refresh

    def refresh(refresh_token: str) -> Any:
        emulator.state.expire_access()
        return rotate(refresh_token)

    emulator.state.refresh = refresh  # type: ignore[method-assign]
    assert kimi("login", "--platform", "acme").status == 0
    return share_dir


def make_due(share_dir: Path) -> Token:
    store = FileStore(share_dir, "oauth/acme", clock=Session().__dict__["_clock"])
    old = store.read().token
    assert old is not None
    now_s = Session()._components.age_clock.now_s()
    token = Token(old.access_token, old.refresh_token, now_s + DUE_S, 900.0, issuer=old.issuer, scope=old.scope)
    with store.locked(NO_LIMIT_S):
        store.put(token)
    return token


@pytest.mark.timeout(600)
@pytest.mark.parametrize("runs", [2, pytest.param(20, marks=pytest.mark.prove)])
def test_nothing_is_dead_on_arrival(strict_platform: Path, emulator: Emulator, runs: int) -> None:
    """Each token that is printed works after the command has ended and the renewal too."""
    for _ in range(runs):
        old = make_due(strict_platform)
        done = program("token", "--platform", "acme")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip() != old.access_token
        assert emulator.state.judge(done.stdout.strip()) == "ok"


def test_a_successor_that_does_not_come(strict_platform: Path, emulator: Emulator) -> None:
    """The renewal fails: the stored token still works, and is printed as soon as that is known."""
    old = make_due(strict_platform)
    emulator.state.inject(Fault("token", "refresh_token", status=503, processed=False, times=None))
    done = program("token", "--platform", "acme")
    assert (done.returncode, done.stdout.strip()) == (0, old.access_token)
    assert emulator.state.judge(old.access_token) == "ok"


def test_patience_with_a_successor_is_bounded(strict_platform: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal that takes longer than a caller waits: the stored token is handed out."""
    old = make_due(strict_platform)
    session = Session(platform="acme")
    assert successor_of(session._components, old, 0.05, is_coming=lambda: True) == old


def test_what_the_environment_keeps() -> None:
    """What selects the login and reaches the server; the variables that a platform names are among it, keys are not."""
    custom = next(p for p in builtin() if p.oauth)._replace(api_base_env=("ACME_API",))
    environ = {
        "HOME": "/home/user", "ACME_API": "https://a.example", "KIMI_CODE_OAUTH_HOST": "https://b.example",
        "HTTPS_PROXY": "http://p", "no_proxy": "x", "SSL_CERT_FILE": "ca.pem", "PYTHONPATH": "lib:/abs", "LC_ALL": "C",
        "KIMI_API_KEY": "secret", "OPENAI_API_KEY": "secret", "EDITOR": "vi",
    }  # fmt: skip
    kept = detached.environment(
        "share", environ, [*custom.api_base_env, *(custom.oauth.host_env if custom.oauth else ())]
    )
    here = str(Path.cwd())
    assert kept == {
        **{name: environ[name] for name in ("HOME", "ACME_API", "KIMI_CODE_OAUTH_HOST", "HTTPS_PROXY", "no_proxy", "LC_ALL")},
        "SSL_CERT_FILE": f"{here}/ca.pem",
        "PYTHONPATH": f"{here}/lib:/abs",
        "KIMI_SHARE_DIR": f"{here}/share",
    }  # fmt: skip


def test_a_child_python_is_as_isolated_as_we_are() -> None:
    """-P always, -E, -s and -I as they were given."""
    shown = "import kimi_auth.support.children as c; print(*c.python_command('x')[1:])"
    for flags, expected in (([], "-P"), (["-E"], "-P -E"), (["-s"], "-P -s"), (["-I"], "-I")):
        done = subprocess.run([sys.executable, *flags, "-c", shown], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"{expected} -c import runpy")
    assert python_command("x") is not None
    assert Platform._field_defaults["rotation_ends_access"] is False


def test_the_program_of_the_process(due: Token, emulator: Emulator, store: FileStore) -> None:
    """It renews an expiring token, once; an unknown platform is an exit status, for its message has no reader."""
    assert renewal.main("kimi-code") == 0
    assert until_renewed(store, due) == store.read().token
    assert renewal.main("kimi-code") == 0
    assert emulator.state.counts["rotations"] == 1
    assert renewal.main("nothing") == 9
