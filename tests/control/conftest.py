"""Platforms on loopback servers: what they offer, who may ask, and gates that hold their answers back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

Answer = tuple[int, dict[str, str], bytes]


def listing(*ids: str) -> bytes:
    """The body of a models answer."""
    return json.dumps({"data": [{"id": name, "context_length": 1000} for name in ids]}).encode()


@dataclass
class ModelsApi:
    """One models API: `bearers` may ask (None: any); `answer` is given instead of the models if it is set."""

    base: str = ""
    models: tuple[str, ...] = ("kimi-k-one", "kimi-k-two")
    bearers: set[str] | None = None
    answer: Answer | None = None
    etag: str = ""
    gate: Callable[[], object] = lambda: None
    asked: list[dict[str, str]] = field(default_factory=list)

    def respond(self, headers: dict[str, str]) -> Answer:
        self.asked.append(headers)
        self.gate()
        if self.answer is not None:
            return self.answer
        if self.bearers is not None and headers.get("authorization", "").removeprefix("Bearer ") not in self.bearers:
            return 401, {"Content-Type": "application/json"}, b'{"error": {"message": "Invalid Authentication"}}'
        if self.etag and headers.get("if-none-match") == self.etag:
            return 304, {"ETag": self.etag}, b""
        return (
            200,
            {"Content-Type": "application/json", **({"ETag": self.etag} if self.etag else {})},
            listing(*self.models),
        )


@pytest.fixture
def api_factory() -> Iterator[Callable[..., ModelsApi]]:
    """Starts models APIs; each ends with the test."""
    servers: list[ThreadingHTTPServer] = []

    def start(**options: object) -> ModelsApi:
        api = ModelsApi(**options)  # type: ignore[arg-type]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, extra, body = api.respond(headers) if self.path == "/v1/models" else (404, {}, b"")
                self.send_response(status)
                for name, value in {**extra, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # the client may have stopped waiting
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        api.base = f"http://127.0.0.1:{server.server_address[1]}/v1"
        return api

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A share directory of its own."""
    path = tmp_path / "share"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def api(api_factory: Callable[..., ModelsApi]) -> ModelsApi:
    """One models API."""
    return api_factory()


def entry(platform_id: str, api_base: str, **more: str) -> str:
    """A platform with an API key, as `platforms.toml` has it."""
    lines = [
        f"[platforms.{platform_id}]",
        f'name = "{platform_id.title()}"',
        'auth = "api_key"',
        f'api_base = "{api_base}"',
    ]
    return "\n".join([*lines, *(f"{key} = {value}" for key, value in more.items())]) + "\n"


@pytest.fixture
def known(share: Path) -> Callable[..., None]:
    """Writes `platforms.toml`: platforms with an API key, by id, at these APIs."""

    def write(**apis: ModelsApi) -> None:
        text = "v = 1\n" + "".join(entry(name, api.base) for name, api in apis.items())
        (share / "platforms.toml").write_text(text)

    return write
