"""The real Kimi CLI, started by `examples/kimi_cli_dropin.py` with our stand-ins, on the emulator."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.testing.emulator import Fault

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]

DROP_IN = Path(__file__).parents[2] / "examples" / "kimi_cli_dropin.py"
KimiCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def kimi(home: Path, kimi_cli_python: str, kimi_cli_environ: dict[str, str]) -> KimiCli:
    """`kimi("login", "--json")` runs it to its end. It is never started without arguments."""

    def run(first: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [kimi_cli_python, str(DROP_IN), first, *arguments]
        return subprocess.run(command, cwd=home, env=kimi_cli_environ, capture_output=True, text=True, check=False)

    return run


def events(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def calls_a_tool(name: str, arguments: Mapping[str, object]) -> Fault:
    """A model's answer that calls a tool instead of saying something."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"index": 0, "id": "call-1", "type": "function", "function": function}
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": "", "tool_calls": [call]}, None),
        ({}, "tool_calls"),
    ]
    head = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1, "model": "kimi-for-coding"}
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    return Fault("chat", status=200, headers={"Content-Type": "text/event-stream"}, body=body)


def test_login_turn_logout(world: Any, kimi: KimiCli) -> None:
    """Sign in, ask one thing, sign out: each is one run of the Kimi CLI."""
    signed_in = kimi("login", "--json")
    assert signed_in.returncode == 0, signed_in.stderr
    assert [event["type"] for event in events(signed_in)][1] == "verification_url"
    assert events(signed_in)[-1]["type"] == "success"
    assert world.another().status().state == "fresh"

    turn = kimi("--print", "-p", "hello there", "--output-format", "stream-json")
    assert turn.returncode == 0, turn.stderr
    assert events(turn) == [{"role": "assistant", "content": "hello there"}]
    assert world.state.counts["rotations"] == 0

    signed_out = kimi("logout", "--json")
    assert signed_out.returncode == 0, signed_out.stderr
    assert [event["type"] for event in events(signed_out)] == ["success"]
    assert world.another().status().state == "absent"
    assert world.another()._components.config.read()["providers"] == {}
    assert world.state.snapshot()["families_alive"] == 0


def test_a_401_in_the_middle_of_a_turn(world: Any, kimi: KimiCli, home: Path) -> None:
    """The token dies between two steps of one turn: the answer is delivered, with one rotation and not a word about it."""
    assert kimi("login", "--json").returncode == 0
    (home / "note.txt").write_text("what the tool reads\n")
    state = world.state
    state.inject(calls_a_tool("ReadFile", {"path": str(home / "note.txt")}))
    chats: list[int] = []

    def after_each(entry: Mapping[str, Any]) -> None:
        if entry["endpoint"] == "chat":
            chats.append(entry["status"])
            if len(chats) == 1:
                state.expire_access()

    state.on_record = after_each
    turn = kimi("--print", "-p", "hello there", "--output-format", "stream-json")

    assert turn.returncode == 0, turn.stderr
    assert chats == [200, 401, 200]
    assert state.counts["rotations"] == 1
    said = events(turn)
    assert [event["role"] for event in said] == ["assistant", "tool", "assistant"]
    assert "what the tool reads" in json.dumps(said[1])
    assert said[-1]["content"] == "hello there"
    shown = turn.stdout + turn.stderr
    assert [word for word in ("401", "invalid_", "rror", "Traceback") if word in shown] == []


@pytest.mark.parametrize("why", ["expired", "rotated elsewhere"])
def test_a_turn_that_begins_with_an_old_token(world: Any, kimi: KimiCli, why: str) -> None:
    """A token that has run out is renewed before the turn; one that another process replaced is just read."""
    assert kimi("login", "--json").returncode == 0
    if why == "expired":
        world.sign_in(left_s=-1.0)
        world.state.expire_access()
    else:
        world.another().access_token_sync(refresh=True)
    turn = kimi("--print", "-p", "hello there", "--output-format", "stream-json")
    assert turn.returncode == 0, turn.stderr
    assert events(turn)[-1]["content"] == "hello there"
    assert world.state.counts["rotations"] == 1


def test_a_turn_after_the_login_was_revoked(world: Any, kimi: KimiCli) -> None:
    """Then the Kimi CLI says in its own way that it is signed out, and its log names the next step; no token is in
    it."""
    assert kimi("login", "--json").returncode == 0
    token = world.stored()
    world.state.revoke_family()
    turn = kimi("--print", "-p", "hello there", "--output-format", "stream-json")
    assert turn.returncode != 0
    assert "Traceback" not in turn.stdout
    log = (world.share_dir / "logs" / "kimi.log").read_text()
    assert "sign in again" in log
    assert [secret for secret in (token.access_token, token.refresh_token) if secret in log + turn.stdout] == []
    assert world.another().status().state in {"revoked", "usable"}


def test_the_background_sync(world: Any, kimi: KimiCli, hold: Callable[..., None]) -> None:
    """A start of the Kimi CLI brings new models into config.toml, and leaves what the user wrote there alone."""
    assert kimi("login", "--json").returncode == 0
    world.config_file.write_text("# mine\n" + world.config_file.read_text())
    world.state.models = world.state.models[:1]
    before = world.config_file.read_text()
    # The Kimi CLI waits for its sync no longer than for its turn.
    hold("chat", lambda: world.config_file.read_text() != before)
    kimi("--print", "-p", "hello there")
    text = world.config_file.read_text()
    assert text.startswith("# mine\n")
    assert list(world.another()._components.config.read()["models"]) == ["kimi-code/kimi-for-coding"]
