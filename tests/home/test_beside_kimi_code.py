"""Minutes beside the real kimi-code: its processes and ours renew one login, and none of them loses it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from house.patience import heard, until

from home.stage import OURS, THEIRS, Stage
from kimi_auth.clock import SystemClock
from kimi_auth.home import KIMI_CODE
from kimi_auth.store import FileStore
from kimi_auth.token import parse_record

pytestmark = [pytest.mark.prove, pytest.mark.real_server, pytest.mark.timeout(900)]

MINUTES = float(os.environ.get("MINUTES_BESIDE_KIMI_CODE", "1"))
"""`make soak` gives it five."""

SHORT_S, USUAL_S = 20.0, 900.0
"""The lives of access tokens: below 300 s kimi-code renews at each use."""


class Turns:
    """Programs in turns, each in a thread, until the end. `failed`: those that did not end with 0; `count`: all of them."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.count: dict[str, int] = {}
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(
        self, name: str, run: Callable[..., subprocess.CompletedProcess[str]], *args: str, pause_s: float
    ) -> None:
        def again() -> None:
            while not self._over.is_set():
                done = run(*args)
                self.count[name] = self.count.get(name, 0) + 1
                if done.returncode != 0:
                    self.failed.append(f"{name}: {done.returncode}: {done.stderr}")
                self._over.wait(pause_s)

        self._threads.append(threading.Thread(target=again))
        self._threads[-1].start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def begun(stage: Stage, *, is_alone: bool = False) -> Turns:
    """Three kimi-code processes in turns, and a `kimi-auth token` each second unless kimi-code is alone."""
    turns = Turns()
    for number in range(3):
        turns.begin(f"kimi -p {number}", stage.theirs, "-p", "hello", pause_s=0.0)
    if not is_alone:
        turns.begin("kimi-auth token", stage.ours, "token", pause_s=1.0)
    return turns


def tell(capsys: pytest.CaptureFixture[str], title: str, stage: Stage, turns: Turns, **more: object) -> None:
    """The figures, also where a passed test prints nothing."""
    counts = stage.emulator.state.counts
    figures = {"turns": turns.count, "failed": len(turns.failed), "rotations": dict(stage.rotated), **more}
    figures |= {"reuse": counts["reuse_seen"], "logins": len(stage.emulator.state.families)}
    with capsys.disabled():
        print(f"\n{title}: " + ", ".join(f"{name} {value}" for name, value in figures.items()))


def test_a_shared_life(stage_with: Callable[..., Stage], capsys: pytest.CaptureFixture[str]) -> None:
    """Signed in by kimi-code, with tokens of 20 s: its turns, our kept clients and our commands share the login, one of ours
    is stopped for 8 s and one killed. No spent token comes twice, no turn fails, and we renew no more often than we need."""
    stage = stage_with(access_ttl_s=SHORT_S)
    assert stage.theirs("login").returncode == 0
    state, began_s = stage.emulator.state, time.monotonic()
    kept = [stage.kept_fresh() for _ in range(2)]
    turns = begun(stage)
    try:
        time.sleep(60.0 * MINUTES / 4)
        kept[0].send_signal(signal.SIGSTOP)
        time.sleep(8.0)
        kept[0].send_signal(signal.SIGCONT)
        time.sleep(60.0 * MINUTES / 8)
        kept[1].kill()
        was_renewing = stage.is_renewing(OURS)
        time.sleep(max(0.0, began_s + 60.0 * MINUTES - time.monotonic()))
        turns.end()
        # Three kimi-code processes on a quick machine renew so often that we need not once.
        until(lambda _: stage.rotated[OURS] > 0, "a renewal of ours")
    finally:
        turns.end()
        for child in kept:
            heard(child)
    # We renew once 7/12 of a life are left: so often at most, once more for each program that began or was stopped.
    needs = (time.monotonic() - began_s) / (SHORT_S * 5 / 12) + 3
    tell(capsys, "tokens of 20 s", stage, turns, needs=int(needs), killed_while_renewing=was_renewing)
    assert stage.rotated[OURS] <= needs
    assert stage.rotated[OURS] > 0
    assert stage.rotated[THEIRS] > 0
    assert len(turns.count) == 4
    assert stage.rotated.total() == state.counts["rotations"]
    if not was_renewing:  # a pair whose answer died with its process may be lost; that has tests of its own
        assert (turns.failed, kept[0].returncode, state.counts["reuse_seen"]) == ([], 0, 0)
        assert state.judge(stage.record["access_token"]) in {"ok", "expired"}
        assert len(state.families) == 1


def at_left(stage: Stage, left_s: float) -> None:
    """Moves the record's end, under both locks, so that the token has `left_s` seconds: the clock of a real kimi-code cannot
    be moved, and half of 900 s is longer than this test. The server still ends the token when it said."""
    clock, home = SystemClock(), Path(stage.environ["KIMI_CODE_HOME"])
    store = FileStore(home, stage.key, clock=clock, layout=KIMI_CODE.layout(home, stage.key, clock))
    with store.locked(None) as held:
        token = store.read().token
        assert held
        assert token
        store.put(parse_record({**token.record(), "expires_at": int(time.time() + left_s)}))
    store.close()


def test_past_the_half_of_a_life(stage_with: Callable[..., Stage], capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens of 900 s, whose half passes while programs run: kimi-code alone renews once, however many of it run; beside us
    one program of ours is first, at 7/12 of a life, once for each half that passes. No turn fails and nothing comes twice."""
    stage = stage_with(access_ttl_s=USUAL_S)
    assert stage.theirs("login").returncode == 0
    assert stage.record["expires_in"] == USUAL_S
    at_left(stage, USUAL_S / 2 + 1.0)
    turns = begun(stage, is_alone=True)
    until(lambda _: stage.rotated[THEIRS] > 0, "a renewal of theirs")
    turns.end()
    assert (turns.failed, dict(stage.rotated)) == ([], {THEIRS: 1})
    by_them = stage.record["access_token"]
    assert stage.ours("token").stdout.strip() == by_them
    kept = [stage.kept_fresh() for _ in range(2)]
    turns = begun(stage)
    for number in range(1, 4):
        at_left(stage, USUAL_S * 7 / 12 + 2.0)
        until(lambda _, number=number: stage.rotated[OURS] >= number, "a renewal of ours")  # type: ignore[misc]
        until(lambda _: stage.record["expires_at"] > time.time() + USUAL_S * 7 / 12 + 3, "its record")
    turns.end()
    for child in kept:
        heard(child)
    tell(capsys, "tokens of 900 s", stage, turns)
    assert (turns.failed, [child.returncode for child in kept]) == ([], [0, 0])
    assert dict(stage.rotated) == {THEIRS: 1, OURS: 3}
    state = stage.emulator.state
    assert (state.counts["reuse_seen"], len(state.families)) == (0, 1)
    assert state.judge(stage.record["access_token"]) == "ok"
