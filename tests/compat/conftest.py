"""A host as the stand-ins see one, a server for it, and the real Kimi CLI in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from house.patience import heard
from pydantic import BaseModel, Field, SecretStr
from starlette.responses import Response

from kimi_auth.compat.oauth import KIMI_CODE_OAUTH_KEY, OAuthRef, OAuthToken, save_tokens
from kimi_auth.session import Session
from kimi_auth.testing.emulator import Emulator, app
from kimi_auth.testing.emulator.authorization_server import State
from kimi_auth.testing.emulator.call import Call, Endpoint
from kimi_auth.token import Token

CHECKOUT = Path(__file__).parents[2]

# --- a host ----------------------------------------------------------------------------------------------------------


class Ref(BaseModel):
    storage: str = "file"
    key: str


class Entry(BaseModel):
    base_url: str
    api_key: SecretStr
    oauth: Ref | None = None


class Provider(Entry):
    type: str


class Model(BaseModel):
    provider: str
    model: str
    max_context_size: int
    capabilities: set[str] | None = None
    display_name: str | None = None


class Services(BaseModel):
    moonshot_search: Entry | None = None
    moonshot_fetch: Entry | None = None


class HostConfig(BaseModel):
    """The shape of the Kimi CLI's configuration."""

    is_from_default_location: bool = True
    default_model: str = ""
    default_thinking: bool = False
    models: dict[str, Model] = Field(default_factory=dict)
    providers: dict[str, Provider] = Field(default_factory=dict)
    services: Services = Field(default_factory=Services)


class World:
    """An emulator, a share dir, and a host that is configured for them; another Session is another process."""

    def __init__(self, emulator: Emulator, share_dir: Path) -> None:
        self.emulator = emulator
        self.state = emulator.state
        self.share_dir = share_dir
        self.ref = OAuthRef("file", KIMI_CODE_OAUTH_KEY)

    @property
    def config_file(self) -> Path:
        return self.share_dir / "config.toml"

    def another(self, **options: Any) -> Session:
        return Session(self.share_dir, **options)

    def grant(self, *, left_s: float = 900.0) -> OAuthToken:
        """A pair that the server knows; the record may say that it ends sooner."""
        given = self.state.poll(self.state.issue_code().device_code)
        now_s = time.time()
        return OAuthToken(given.access_token, given.refresh_token, now_s + left_s, given.scope, "Bearer", 900.0)

    def sign_in(self, *, left_s: float = 900.0) -> str:
        """Stores a pair as another program would; returns its access token."""
        token = self.grant(left_s=left_s)
        save_tokens(self.ref, token)
        return token.access_token

    def stored(self) -> Token:
        token = self.another()._components.store.read().token
        assert token is not None
        return token

    def host(self, *, static: str = "", **changes: Any) -> HostConfig:
        """A configuration with the managed provider, in memory and in config.toml."""
        data: dict[str, Any] = {
            "default_model": "kimi-code/old",
            "models": {
                "kimi-code/old": {"provider": "managed:kimi-code", "model": "old", "max_context_size": 1},
                "mine/own": {"provider": "mine", "model": "own", "max_context_size": 2},
            },
            "providers": {
                "managed:kimi-code": {
                    "type": "kimi",
                    "base_url": self.emulator.api_base,
                    "api_key": static,
                    "oauth": {"storage": "file", "key": KIMI_CODE_OAUTH_KEY},
                },
                "mine": {"type": "openai_legacy", "base_url": "https://example.com/v1", "api_key": "own-key"},
            },
            **changes,
        }
        self.share_dir.mkdir(exist_ok=True)
        self.config_file.write_text(toml(data))
        return HostConfig.model_validate(data)

    def runtime(self, config: HostConfig, model: str = "kimi-code/old", api_key: str = "") -> Any:
        """What the Kimi CLI hands in with each turn."""
        client = SimpleNamespace(api_key=api_key)
        llm = SimpleNamespace(model_config=config.models[model], chat_provider=SimpleNamespace(client=client))
        return SimpleNamespace(llm=llm, config=config)


def toml(data: dict[str, Any]) -> str:
    """Tables of strings and numbers as TOML; JSON's strings and inline tables are near enough."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in data.items() if not isinstance(value, dict)]
    for section, entries in data.items():
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            lines.append(f"\n[{section}.{json.dumps(name)}]")
            for key, value in entry.items():
                inline = (
                    ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) if isinstance(value, dict) else None
                )
                lines.append(f"{key} = {json.dumps(value) if inline is None else '{ ' + inline + ' }'}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An emulator that approves at once, and this test's own share dir."""
    with Emulator(approve_after_s=0, interval_s=1) as emulator:
        for name, value in emulator.env.items():
            monkeypatch.setenv(name, value)
        yield World(emulator, home / ".kimi")


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], bool]], None]:
    """`hold("token", is_open)`: what that endpoint of the emulator answers goes out once `is_open()` is true."""
    serve, gates = app._serve, dict[str, Callable[[], bool]]()

    async def held(state: State, name: str, endpoint: Endpoint, call: Call) -> Response:
        answer = await serve(state, name, endpoint, call)
        while name in gates and not gates[name]():
            await asyncio.sleep(0.01)
        return answer

    monkeypatch.setattr(app, "_serve", held)
    return gates.__setitem__


# --- the real one ----------------------------------------------------------------------------------------------------


@pytest.fixture
def kimi_cli_environ(world: World) -> dict[str, str]:
    """An environment for the real Kimi CLI: the emulator, this test's home; no telemetry, no keyring, no browser."""
    return {
        **os.environ,
        **world.emulator.env,
        "BROWSER": "true",
        "COLUMNS": "200",
        "KIMI_DISABLE_TELEMETRY": "1",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }


class Worker:
    """A program that answers each line of JSON with one: `ask` waits for the answer, `send` and `answer` do not."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def send(self, **order: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.end()[-2000:]}"
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, **order: object) -> dict[str, Any]:
        self.send(**order)
        return self.answer()

    def end(self) -> str:
        """Closes its input and gives what it said on standard error."""
        return heard(self.process)[1]


@pytest.fixture
def start() -> Iterator[Callable[[list[str], dict[str, str]], Worker]]:
    """Starts a program that is asked questions; it ends with the test."""
    workers: list[Worker] = []

    def started(command: list[str], environ: dict[str, str]) -> Worker:
        workers.append(Worker(command, environ))
        return workers[-1]

    yield started
    for worker in workers:
        worker.process.kill()
        worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout, worker.process.stderr):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
