"""The real kimi-code signs in or out in the middle of our exchange, and we in the middle of its: the newest word stands."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from house.patience import until

from home.stage import OURS, THEIRS, Gate, Stage

pytestmark = [pytest.mark.prove, pytest.mark.real_server, pytest.mark.timeout(900)]


@pytest.fixture
def at_gate(stage_with: Callable[..., Stage]) -> Callable[[str], tuple[Stage, Gate, subprocess.Popen[str]]]:
    """Signed in; one program's exchange has been processed, and waits for its answer at the shut gate."""

    def start(platform: str) -> tuple[Stage, Gate, subprocess.Popen[str]]:
        stage = stage_with()
        assert stage.theirs("login").returncode == 0
        stage.emulator.state.expire_access()
        stage.gate = gate = Gate(platform)
        running = stage.start_ours("token", "--refresh") if platform == OURS else stage.start_theirs("-p", "hello")
        until(gate.reached.wait, "the exchange")
        return stage, gate, running

    return start


Start = Callable[[str], tuple[Stage, Gate, subprocess.Popen[str]]]


def test_they_sign_out_during_our_exchange(at_gate: Start) -> None:
    """The login stays ended: our answer is not installed, and its pair does not live on at the server."""
    stage, gate, ours = at_gate(OURS)
    stage.sign_out_theirs()
    gate.open.set()
    done = stage.done(ours)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert not stage.record_path.exists()
    assert stage.emulator.state.families[0].revoked_because is not None


def test_they_sign_in_during_our_exchange(at_gate: Start) -> None:
    """Their new login stands and is what we hand out; the pair that our exchange brought is given back."""
    stage, gate, ours = at_gate(OURS)
    stage.sign_out_theirs()
    stage.gate = None
    assert stage.theirs("login").returncode == 0
    theirs = stage.record_path.read_bytes()
    gate.open.set()
    done = stage.done(ours)
    assert (done.returncode, done.stdout.strip()) == (0, stage.record["access_token"]), done.stderr
    assert stage.record_path.read_bytes() == theirs
    old, new = stage.emulator.state.families
    assert (old.revoked_because is not None, new.revoked_because) == (True, None)
    assert stage.theirs("-p", "still there?").returncode == 0


def test_we_sign_out_during_their_exchange(at_gate: Start) -> None:
    """We wait for their lock and have the last word: their new pair is written, then ended here and at the server."""
    stage, gate, theirs = at_gate(THEIRS)
    ours = stage.start_ours("logout", "--verbose")
    assert ours.stderr
    while "waiting, without a lock of ours: kimi-code" not in ours.stderr.readline():
        assert ours.poll() is None
    before = stage.record["access_token"]
    gate.open.set()
    assert (before != "", stage.done(ours).returncode, stage.done(theirs).returncode) == (True, 0, 0)
    assert stage.record["access_token"] == ""
    assert stage.emulator.state.families[0].revoked_because is not None
    assert stage.theirs("-p", "still there?").returncode == 1
    assert stage.emulator.state.counts["reuse_seen"] == 0


def test_we_sign_in_during_their_exchange(at_gate: Start) -> None:
    """Our login, approved while they renew the old one, is written after theirs and stands."""
    stage, gate, theirs = at_gate(THEIRS)
    before, state = stage.record["access_token"], stage.emulator.state
    ours = stage.start_ours("login", "--force", "--plain")
    until(lambda _: len(state.families) == 2, "our login")
    assert stage.record["access_token"] == before
    gate.open.set()
    done = stage.done(ours)
    assert (done.returncode, stage.done(theirs).returncode) == (0, 0), done.stderr
    assert state.judge(stage.record["access_token"]) == "ok"
    assert state.families[1].revoked_because is None
    token = stage.ours("token").stdout.strip()
    assert token == stage.record["access_token"]
    assert stage.theirs("-p", "still there?").returncode == 0
    assert state.counts["reuse_seen"] == 0
