"""The real kimi-code, headless on loopback: it starts no device flow for our login, and shares one with our programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from house.patience import heard
from servers.fixtures import unavailable

from home import install
from kimi_auth.home import slot
from kimi_auth.testing import Emulator
from kimi_auth.testing.emulator import app, oauth
from kimi_auth.testing.emulator.authorization_server import State
from kimi_auth.testing.emulator.call import Answer, Call

pytestmark = [pytest.mark.prove, pytest.mark.real_server, pytest.mark.timeout(900)]


class Stage:
    """A home of kimi-code that points at an emulator, and the two programs there. `rotated`: how often each has renewed, by
    its X-Msh-Platform."""

    def __init__(self, home: Path, emulator: Emulator, rotated: Counter[str]) -> None:
        self.home = home
        self.emulator = emulator
        self.rotated = rotated
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("COV", "KIMI_"))}
        self.environ = kept | emulator.env
        self.environ |= {"HOME": str(home), "KIMI_CODE_HOME": str(home / ".kimi-code"), "PATH": install.SEARCH_PATH}
        self.environ |= {"KIMI_DISABLE_TELEMETRY": "1", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        key = slot(emulator.oauth_host, emulator.api_base).removeprefix("oauth/")
        self.record = home / f".kimi-code/credentials/{key}.json"

    def theirs(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self._run([str(install.tool("node")), str(install.KIMI_CODE), *args])

    def ours(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-m", "kimi_auth", *args])

    def kept_fresh(self) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("kept.py"))],
            env=self.environ,
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout
        assert child.stdout.readline() == "served\n"
        return child

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        child = subprocess.Popen(
            command,
            env=self.environ,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        out, err = heard(child)
        return subprocess.CompletedProcess(command, child.returncode, out, err)


@pytest.fixture
def stage_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stage]]:
    """`stage_with(access_ttl_s=20)`: a stage whose emulator has that setting."""
    if lack := install.missing(kimi_code=True):
        unavailable(*lack)
    open_ones: list[Emulator] = []
    rotated: Counter[str] = Counter()

    def token(state: State, call: Call) -> Answer:
        answer = oauth.token(state, call)
        if oauth.grant_name(call) == "refresh_token" and answer.status == 200:
            rotated[call.headers.get("x-msh-platform", "")] += 1
        return answer

    endpoints = tuple((*row[:3], token if row[0] == "token" else row[3]) for row in app.ENDPOINTS)
    monkeypatch.setattr(app, "ENDPOINTS", endpoints)

    def make(**settings: Any) -> Stage:
        emulator = Emulator(approve_after_s=0.0, interval_s=1.0, **settings).__enter__()
        open_ones.append(emulator)
        return Stage(tmp_path, emulator, rotated)

    yield make
    for emulator in open_ones:
        emulator.__exit__(None, None, None)


def test_signed_in_by_us(stage_with: Callable[..., Stage]) -> None:
    """Our login, its provisioning, three turns and our logout: kimi-code asks for no code of its own, and goes on with the
    pair that we have renewed; signed out here, it is signed out there."""
    stage = stage_with()
    assert stage.ours("login", "--plain").returncode == 0
    provisioned = stage.theirs("login")
    assert (provisioned.returncode, stage.emulator.state.counts["device_codes"]) == (0, 1), provisioned.stderr
    config = (stage.home / ".kimi-code/config.toml").read_bytes()
    for turn in range(3):
        said = stage.theirs("-p", f"turn {turn}")
        assert (said.returncode, said.stdout.strip() != "") == (0, True), said.stderr
        if turn == 0:
            assert stage.ours("token", "--refresh").returncode == 0
    status = json.loads(stage.ours("status", "--json").stdout)
    assert (status["state"], status["home"], status["models"] > 0) == ("fresh", "kimi-code", True)
    assert stage.ours("logout").returncode == 0
    assert stage.theirs("-p", "still there?").returncode == 1
    assert json.loads(stage.record.read_text())["access_token"] == ""
    assert (stage.home / ".kimi-code/config.toml").read_bytes() == config
    counts = stage.emulator.state.counts
    assert (counts["device_codes"], counts["reuse_seen"]) == (1, 0)
    assert stage.theirs("login").returncode == 0  # over our tombstone, as over its own
    assert counts["device_codes"] == 2
    assert stage.ours("token").returncode == 0


@pytest.mark.parametrize("access_ttl_s", [20.0, 900.0], ids=["renewed at each use", "life of 900 s"])
def test_a_shared_life(stage_with: Callable[..., Stage], access_ttl_s: float) -> None:
    """Signed in by kimi-code: its turns, our kept clients and our commands share the login, one of ours is stopped for 8 s
    and one killed. No spent token comes twice, no turn fails, and we rotate no more often than we need to."""
    stage = stage_with(access_ttl_s=access_ttl_s)
    minutes = float(os.environ.get("MINUTES_BESIDE_KIMI_CODE", "1"))  # `make soak` gives it five
    length_s = 60.0 * minutes if access_ttl_s < 300 else 15.0
    assert stage.theirs("login").returncode == 0
    state, began_s = stage.emulator.state, time.monotonic()
    kept = [stage.kept_fresh() for _ in range(2)]
    failed: list[str] = []

    def again(run: Callable[..., subprocess.CompletedProcess[str]], *args: str, pause_s: float = 0.0) -> None:
        while time.monotonic() - began_s < length_s:
            done = run(*args)
            if done.returncode != 0:
                failed.append(f"{args}: {done.returncode}: {done.stderr}")
            time.sleep(pause_s)

    threads = [threading.Thread(target=again, args=(stage.theirs, "-p", "hello")) for _ in range(3)]
    threads.append(threading.Thread(target=again, args=(stage.ours, "token"), kwargs={"pause_s": 1.0}))
    for thread in threads:
        thread.start()
    time.sleep(length_s / 4)
    kept[0].send_signal(signal.SIGSTOP)
    time.sleep(8.0)
    kept[0].send_signal(signal.SIGCONT)
    time.sleep(length_s / 8)
    kept[1].kill()
    for thread in threads:
        thread.join()
    heard(kept[0])
    heard(kept[1])
    assert (failed, kept[0].returncode, state.counts["reuse_seen"]) == ([], 0, 0)
    assert state.judge(json.loads(stage.record.read_text())["access_token"]) in {"ok", "expired"}
    assert len(state.families) == 1
    # We renew once 7/12 of a life are left: so often at most, once more for each program that began or was stopped.
    needs = (time.monotonic() - began_s) / (access_ttl_s * 5 / 12)
    assert stage.rotated["kimi_cli"] <= needs + 3, stage.rotated
    assert stage.rotated.total() == state.counts["rotations"]
    assert access_ttl_s < 300 or stage.rotated.total() == 0


def test_configured_by_us(stage_with: Callable[..., Stage]) -> None:
    """Asked to, a login of ours writes config.toml so that kimi-code needs no login of its own: its own check passes, what
    the user wrote stays, and its login then changes nothing that it reads."""
    stage = stage_with()
    config = stage.home / ".kimi-code/config.toml"
    config.parent.mkdir(mode=0o700)
    config.write_text('# mine\ntheme = "dark" # too\n\n[providers.other]\ntype = "openai"\napi_key = "k"\n')
    assert stage.ours("login", "--plain", "--configure").returncode == 0
    written = config.read_text()
    assert written.startswith('# mine\ntheme = "dark" # too\n')
    checked = stage.theirs("doctor", "config")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    said = stage.theirs("-p", "hello")
    assert said.returncode == 0, said.stderr
    by_us = tomllib.loads(written)
    assert stage.theirs("login").returncode == 0
    by_them = tomllib.loads(config.read_text())
    for part in ("providers", "models", "services", "default_model", "thinking"):
        assert by_us[part] == by_them[part], part
    assert stage.emulator.state.counts["device_codes"] == 1


@pytest.mark.root
def test_lent(stage_with: Callable[..., Stage]) -> None:
    """A kimi-code in a mount namespace of its own, which sees the lent directory and not the home of the login, takes turns
    across three rotations; no refresh token is readable there."""
    stage = stage_with(access_ttl_s=12.0)
    assert stage.ours("login", "--plain").returncode == 0
    box = stage.home.parent / f"{stage.home.name} lent"
    turns = """
        mount -t tmpfs none "$HOME" || exit 99
        end=$(($(date +%s) + 40))
        while [ "$(date +%s)" -lt "$end" ]; do
            "$NODE" "$KIMI" -p hello > /dev/null || exit 98
            grep -rl '"refresh_token": "[^"]' "$HOME" "$KIMI_CODE_HOME" && exit 97
        done
        exit 0
    """
    stage.environ |= {"NODE": str(install.tool("node")), "KIMI": str(install.KIMI_CODE)}
    ran = stage.ours("lend", str(box), "--", "unshare", "--mount", "sh", "-c", turns)
    counts = stage.emulator.state.counts
    assert ran.returncode == 0, ran.stderr
    assert counts["rotations"] >= 3
    assert (counts["reuse_seen"], counts["device_codes"]) == (0, 1)
    assert list((box / "credentials").iterdir()) == []
