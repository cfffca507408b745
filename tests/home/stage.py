"""A home of kimi-code that points at an emulator, and the two programs there: the real kimi-code and ours."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from house import npm
from house.patience import heard, until
from servers.fixtures import unavailable
from starlette.responses import Response

from kimi_auth.home import slot
from kimi_auth.testing import Emulator
from kimi_auth.testing.emulator import app, oauth
from kimi_auth.testing.emulator.authorization_server import State
from kimi_auth.testing.emulator.call import Answer, Call, Endpoint

PROGRAM: Final = npm.KIMI_CODE.modules / "@moonshot-ai/kimi-code/dist/main.mjs"
OURS, THEIRS = "kimi_cli", "kimi_code_cli"
"""What each program says of itself in X-Msh-Platform."""


JUST_S: Final = 1.0


class Gate:
    """Holds the answers to one program's exchanges, which the server has processed, until it opens."""

    def __init__(self, platform: str) -> None:
        self.platform = platform
        self.reached = threading.Event()
        self.open = threading.Event()


class Editor:
    """kimi-code that answers an editor (ACP): it has no command for its logout, and this is where it can be asked for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._asked = 0
        self._ask("initialize", protocolVersion=1, clientCapabilities={})

    def sign_out(self) -> None:
        self._ask("logout")
        heard(self.process)

    def _ask(self, method: str, **params: object) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self._asked += 1
        order = {"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        while (said := json.loads(self.process.stdout.readline())).get("id") != self._asked:
            pass
        assert "error" not in said, said


class Stage:
    """`rotated`: how often each program has renewed. `gate`: the gate that is shut. `chat`: answers a request of a turn
    instead of the emulator; None leaves it to the emulator."""

    def __init__(self, home: Path, emulator: Emulator) -> None:
        self.home = home
        self.emulator = emulator
        self.rotated: Counter[str] = Counter()
        self.renewed_s: dict[str, float] = {}
        self.gate: Gate | None = None
        self.chat: Callable[[Call], Answer | None] = lambda call: None
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("COV", "KIMI_"))}
        self.environ = kept | emulator.env
        self.environ |= {"HOME": str(home), "KIMI_CODE_HOME": str(home / ".kimi-code"), "PATH": npm.SEARCH_PATH}
        self.environ |= {"KIMI_DISABLE_TELEMETRY": "1", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        self.key = slot(emulator.oauth_host, emulator.api_base)
        self.record_path = home / f".kimi-code/credentials/{self.key.removeprefix('oauth/')}.json"

    @property
    def record(self) -> dict[str, Any]:
        return json.loads(self.record_path.read_text())  # type: ignore[no-any-return]

    def is_renewing(self, platform: str) -> bool:
        """True if an exchange of that program is under way, or its answer has just gone out."""
        return time.monotonic() - self.renewed_s.get(platform, -math.inf) < JUST_S

    def theirs(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.done(self.start_theirs(*args))

    def ours(self, *args: str, lasts_s: float = 0.0) -> subprocess.CompletedProcess[str]:
        return self.done(self.start_ours(*args), lasts_s)

    def start_theirs(self, *args: str) -> subprocess.Popen[str]:
        return self.start([str(npm.tool("node")), str(PROGRAM), *args])

    def start_ours(self, *args: str) -> subprocess.Popen[str]:
        return self.start([sys.executable, "-m", "kimi_auth", *args])

    def kept_fresh(self) -> subprocess.Popen[str]:
        child = self.start([sys.executable, str(Path(__file__).with_name("kept.py"))], stdin=subprocess.PIPE)
        assert child.stdout
        assert child.stdout.readline() == "served\n"
        return child

    def editor(self) -> Editor:
        """kimi-code as an editor starts it."""
        return Editor(self.start([str(npm.tool("node")), str(PROGRAM), "acp"], stdin=subprocess.PIPE))

    def signing_in(self, start: Callable[..., subprocess.Popen[str]], *args: str) -> subprocess.Popen[str]:
        """A sign-in that has its code, and waits for `approve`."""
        state = self.emulator.state
        state.settings = replace(state.settings, approve="page")
        before = state.counts["device_codes"]
        child = start(*args)
        until(lambda _: state.counts["device_codes"] > before, "a code")
        return child

    def approve(self) -> None:
        self.emulator.state.decide(self.emulator.state.find_code().user_code, "approved")

    def start(self, command: list[str], *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            env=self.environ,
            cwd=self.home,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def done(child: subprocess.Popen[str], lasts_s: float = 0.0) -> subprocess.CompletedProcess[str]:
        out, err = heard(child, lasts_s=lasts_s)
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def stages(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stage]]:
    """`make(access_ttl_s=20)`: a stage whose emulator has that setting."""
    if lack := npm.KIMI_CODE.missing():
        unavailable(*lack)
    made: list[Stage] = []
    serve = app._serve

    async def watched(state: State, name: str, endpoint: Endpoint, call: Call) -> Response:
        platform, stage = call.headers.get("x-msh-platform", ""), made[-1]
        is_renewal = name == "token" and oauth.grant_name(call) == "refresh_token"
        if is_renewal:
            stage.renewed_s[platform] = math.inf
        response = await serve(state, name, _instead(stage, endpoint) if name == "chat" else endpoint, call)
        if is_renewal:
            stage.renewed_s[platform] = time.monotonic()
            stage.rotated[platform] += response.status_code == 200
            if stage.gate and stage.gate.platform == platform:
                stage.gate.reached.set()
                await asyncio.to_thread(stage.gate.open.wait)
        return response

    monkeypatch.setattr(app, "_serve", watched)

    def make(**settings: Any) -> Stage:
        emulator = Emulator(approve_after_s=0.0, interval_s=1.0, **settings).__enter__()
        made.append(Stage(home, emulator))
        return made[-1]

    yield make
    for stage in made:
        if stage.gate:
            stage.gate.open.set()
        stage.emulator.__exit__(None, None, None)


def _instead(stage: Stage, endpoint: Endpoint) -> Endpoint:
    def chat(state: State, call: Call) -> Answer:
        answer = endpoint(state, call)  # which has looked at the token
        return (stage.chat(call) or answer) if answer.status == 200 else answer

    return chat


def tool_call(name: str, arguments: Mapping[str, object]) -> Answer:
    """An answer of the model that asks for one tool."""
    call = {"index": 0, "id": f"call_{time.monotonic_ns()}", "type": "function"}
    call |= {"function": {"name": name, "arguments": json.dumps(arguments)}}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas: list[tuple[dict[str, object], str | None]] = [
        ({"role": "assistant", "content": "", "tool_calls": [call]}, None),
        ({}, "tool_calls"),
    ]
    events = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas]
    lines = [*map(json.dumps, events), "[DONE]"]
    return Answer(200, tuple(f"data: {line}\n\n".encode() for line in lines), "text/event-stream")
