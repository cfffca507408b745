"""The real kimi-code, and the real Kimi CLI, in a sandbox that sees only its lent home, through a long turn in which the login is renewed."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from house import npm

from home.spy import Spy
from home.stage import PROGRAM, Stage, tool_call
from kimi_auth.testing.emulator.call import Answer, Call

pytestmark = [pytest.mark.prove, pytest.mark.real_server, pytest.mark.root, pytest.mark.timeout(900)]

TURN_S = 60.0
LIFE_S = 30.0
"""Three renewals of a life of 30 s, each at 7/12 of it, fit into a turn."""

SEES_ONLY_THE_BOX = """
    mount --make-rprivate / && mount --bind "$OUTSIDE" /mnt && mount -t tmpfs none "$HIDDEN" || exit 99
    mkdir "$BOX" && mount --move /mnt "$BOX" && cd / || exit 99
    export SPIED="$MARK"; unset MARK
"""
KIMI_CODE_TURN = """
    HOME="$BOX" KIMI_CODE_HOME="$BOX" exec "$NODE" "$KIMI" -p "wait a while"
"""


def test_a_turn_of_a_minute(stage_with: Callable[..., Stage], tmp_path_factory: pytest.TempPathFactory) -> None:
    """One turn of 60 s, of many requests, across three renewals: each request has a token that works, and no refresh token
    is in the files, the environment or the memory of the sandbox."""
    stage = stage_with(access_ttl_s=LIFE_S)
    assert stage.ours("login", "--plain").returncode == 0
    hidden = tmp_path_factory.getbasetemp()  # the login's home lies below it
    box = stage.home.parent / f"{stage.home.name} lent"
    began_s: list[float] = []

    def chat(call: Call) -> Answer | None:
        began_s.append(time.monotonic())
        is_long_enough = began_s[-1] - began_s[0] >= TURN_S
        # No two calls are alike: kimi-code ends a turn after twelve that are.
        wait = f"sleep 4; env; echo {len(began_s)}"
        return None if is_long_enough else tool_call("Bash", {"command": wait, "description": "wait"})

    stage.chat = chat
    stage.environ |= {"NODE": str(npm.tool("node")), "KIMI": str(PROGRAM), "HIDDEN": str(hidden)}
    stage.environ |= {"OUTSIDE": str(box), "BOX": str(hidden / "box"), "MARK": secrets.token_hex()}
    before = stage.emulator.state.counts["rotations"]
    spy = Spy(stage.environ["MARK"], stage.environ["HIDDEN"])
    spy.begin()
    try:
        command = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "sh",
            "-c",
            SEES_ONLY_THE_BOX + KIMI_CODE_TURN,
        ]
        ran = stage.ours("lend", str(box), "--", *command, lasts_s=TURN_S)
    finally:
        spy.end()
    counts = stage.emulator.state.counts
    assert ran.returncode == 0, ran.stderr
    assert began_s[-1] - began_s[0] >= TURN_S
    assert counts["rotations"] - before >= 3
    assert (counts["reuse_seen"], counts["device_codes"]) == (0, 1)
    assert (spy.found, spy.saw > 0) == (set(), True), (spy.looks, spy.saw)
    assert list((box / "credentials").iterdir()) == []
    refused = [entry for entry in stage.emulator.state.log if entry["endpoint"] == "chat" and entry["status"] == 401]
    assert refused == []


KIMI_CLI_TURNS = """
    (for turn in 1 2 3 4 5 6 7 8 9 10; do echo '{"do": "refresh"}'; sleep 6; done) | env -u PYTHONPATH HOME="$BOX" KIMI_SHARE_DIR="$BOX" "$KIMI_PYTHON" "$WORKER"
"""


def test_lent_to_a_kimi_cli(
    stage_with: Callable[..., Stage], tmp_path_factory: pytest.TempPathFactory, kimi_cli_python: str
) -> None:
    """The real Kimi CLI's own code, which sees only its lent home, has a token that works before each turn across three
    renewals, knows the models, and sends no renewal of its own."""
    stage = stage_with(access_ttl_s=15.0)
    assert stage.ours("login", "--plain").returncode == 0
    box, hidden = stage.home.parent / f"{stage.home.name} lent", tmp_path_factory.getbasetemp()
    worker = Path(__file__).parents[1] / "compat/worker_theirs.py"
    stage.environ |= {"KIMI_PYTHON": kimi_cli_python, "WORKER": str(worker), "HIDDEN": str(hidden)}
    stage.environ |= {"OUTSIDE": str(box), "BOX": str(hidden / "box"), "MARK": secrets.token_hex()}
    stage.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
    before, log = stage.emulator.state.counts["rotations"], stage.emulator.state.log
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", SEES_ONLY_THE_BOX + KIMI_CLI_TURNS]
    spy = Spy(stage.environ["MARK"], stage.environ["HIDDEN"])
    spy.begin()
    try:
        ran = stage.ours("lend", "--for", "kimi-cli", str(box), "--", *command, lasts_s=TURN_S)
    finally:
        spy.end()
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0, ran.stderr
    assert [turn["status"] for turn in said] == [200] * 10, ran.stderr
    assert (len({turn["pair"] for turn in said}) >= 3, bool(said[0]["models"])) == (True, True)
    assert stage.emulator.state.counts["rotations"] - before >= 3
    assert stage.emulator.state.counts["reuse_seen"] == 0
    assert not [entry for entry in log if entry["grant"] == "refresh_token" and entry["status"] != 200]
    assert (spy.found, spy.saw > 0) == (set(), True), (spy.looks, spy.saw)
    assert list((box / "credentials").iterdir()) == []
