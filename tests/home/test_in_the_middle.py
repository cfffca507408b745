"""The real kimi-code signs in or out in the middle of our exchange, and we in the middle of its: the newest word stands."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from house.patience import until

from home.stage import OURS, THEIRS, Gate, Stage

pytestmark = [pytest.mark.prove, pytest.mark.real_server, pytest.mark.timeout(900)]


@pytest.fixture
def stage(stage_with: Callable[..., Stage]) -> Stage:
    """Signed in by kimi-code, with an access token that has ended."""
    stage = stage_with()
    assert stage.theirs("login").returncode == 0
    stage.emulator.state.expire_access()
    return stage


def at_gate(stage: Stage, platform: str) -> tuple[Gate, subprocess.Popen[str]]:
    """One program's exchange has been processed, and its answer waits at the shut gate."""
    stage.gate = gate = Gate(platform)
    running = stage.start_ours("token", "--refresh") if platform == OURS else stage.start_theirs("-p", "hello")
    until(gate.reached.wait, "the exchange")
    return gate, running


def waits(ours: subprocess.Popen[str]) -> None:
    """Ours, which says what it does, has come as far as their lock."""
    assert ours.stderr
    while "waiting, without a lock of ours: kimi-code" not in (line := ours.stderr.readline()):
        assert line, "it has ended"


def test_they_sign_out_during_our_exchange(stage: Stage) -> None:
    """The login stays ended: our answer is not installed, and its pair does not live on at the server."""
    editor = stage.editor()
    gate, ours = at_gate(stage, OURS)
    editor.sign_out()
    gate.open.set()
    done = stage.done(ours)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert not stage.record_path.exists()
    assert stage.emulator.state.families[0].revoked_because is not None


def test_they_sign_in_during_our_exchange(stage: Stage) -> None:
    """Their new login stands and is what we hand out; the pair that our exchange brought lies nowhere."""
    record = stage.record_path.read_bytes()
    stage.editor().sign_out()
    theirs = stage.signing_in(stage.start_theirs, "login")
    stage.record_path.write_bytes(record)  # with a login there it would have asked for no code
    gate, ours = at_gate(stage, OURS)
    stage.approve()
    assert stage.done(theirs).returncode == 0
    by_them = stage.record_path.read_bytes()
    gate.open.set()
    done = stage.done(ours)
    assert (done.returncode, done.stdout.strip()) == (0, stage.record["access_token"]), done.stderr
    assert stage.record_path.read_bytes() == by_them != record
    old, new = stage.emulator.state.families
    assert (new.revoked_because, stage.emulator.state.counts["reuse_seen"]) == (None, 0)
    home = [path.read_text(errors="replace") for path in (stage.home / ".kimi-code").rglob("*") if path.is_file()]
    assert not any(token.value in text for token in old.tokens for text in home)
    assert stage.theirs("-p", "still there?").returncode == 0


def test_we_sign_out_during_their_exchange(stage: Stage) -> None:
    """We wait for their lock and have the last word: their new pair is written, then ended here and at the server."""
    gate, theirs = at_gate(stage, THEIRS)
    ours = stage.start_ours("logout", "--verbose")
    waits(ours)
    assert stage.record["access_token"] != ""
    gate.open.set()
    done = stage.done(theirs)
    assert (stage.done(ours).returncode, "ECOMPROMISED" in done.stderr) == (0, False), done.stderr
    assert done.returncode in {0, 1}  # its turn may end with the login
    assert stage.record["access_token"] == ""
    state = stage.emulator.state
    assert (state.families[0].revoked_because is not None, state.counts["reuse_seen"]) == (True, 0)
    assert stage.theirs("-p", "still there?").returncode == 1


def test_we_sign_in_during_their_exchange(stage: Stage) -> None:
    """Our login, approved while they renew the old one, is written after their pair and stands."""
    ours = stage.signing_in(stage.start_ours, "login", "--force", "--plain", "--verbose")
    gate, theirs = at_gate(stage, THEIRS)
    before, state = stage.record["access_token"], stage.emulator.state
    stage.approve()
    waits(ours)
    assert len(state.families) == 2
    assert stage.record["access_token"] == before
    gate.open.set()
    done = stage.done(ours)
    assert (done.returncode, stage.done(theirs).returncode) == (0, 0), done.stderr
    assert (state.judge(stage.record["access_token"]), state.families[1].revoked_because) == ("ok", None)
    assert stage.ours("token").stdout.strip() == stage.record["access_token"]
    assert stage.theirs("-p", "still there?").returncode == 0
    assert state.counts["reuse_seen"] == 0
