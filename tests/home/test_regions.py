"""The global region in both homes: where the real kimi-code and ours look for its login, and which servers they ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from house import npm
from house.patience import heard, until
from servers.fixtures import unavailable

from home.stage import PROGRAM
from kimi_auth import Session
from kimi_auth.models import ModelEntry
from kimi_auth.session import components_of
from kimi_auth.token import Token

pytestmark = [pytest.mark.prove, pytest.mark.real_server, pytest.mark.timeout(600)]

HERE = "kimi-code-env-0e4f99c69cc27850.json"
"""The slot of the global region, as the contract has it."""


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy that leads nowhere: its URL, and each host that a program wanted to reach through it. One for each program: what a
    killed one wanted may be noted late."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            self.send_error(403)

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def asks(tmp_path: Path) -> Callable[..., list[str]]:
    """Runs a command until it wants to reach a host, `host` where one is named, or ends; the hosts that it asked for."""
    if lack := npm.KIMI_CODE.missing():
        unavailable(*lack)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COV", "KIMI_"))}
    environ = kept | {"HOME": str(tmp_path), "PATH": npm.SEARCH_PATH, "PYTHONPATH": os.pathsep.join(sys.path)}
    environ |= {"KIMI_DISABLE_TELEMETRY": "1", "NO_PROXY": "", "no_proxy": ""}
    programs = {"kimi": [str(npm.tool("node")), str(PROGRAM)], "kimi-auth": [sys.executable, "-m", "kimi_auth"]}

    def run(program: str, *args: str, host: str = "") -> list[str]:
        with proxy() as (url, asked):
            child = subprocess.Popen(
                [*programs[program], *args],
                env=environ | dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), url),
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            until(
                lambda _: (
                    bool(time.sleep(0.05)) or (host in asked if host else bool(asked)) or child.poll() is not None
                ),
                "a request",
            )
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # children of its own hold its pipes
            heard(child)
            return sorted(set(asked))

    return run


def test_who_is_asked_for_a_login(asks: Callable[..., list[str]]) -> None:
    """Both programs, and ours in either home, ask the same OAuth host for a login of the global region."""
    theirs = asks("kimi", "login", "--region", "global")
    assert theirs == ["auth.kimi.ai:443"]
    for home in ("kimi-code", "kimi-cli"):
        assert asks("kimi-auth", "login", "--plain", "--home", home, "--region", "global") == theirs, home


def test_where_its_login_lies(asks: Callable[..., list[str]], tmp_path: Path) -> None:
    """A login of ours in the slot of the global region, with the config that we write, is the login that kimi-code uses: it
    takes the token to the API of that region; with the record elsewhere it asks no API."""
    home = tmp_path / ".kimi-code"
    (home / "oauth").mkdir(mode=0o700, parents=True)
    parts = components_of(Session(home="kimi-code", platform="kimi-code-global", environ={"KIMI_CODE_HOME": str(home)}))
    parts.configured_by(request=True).install((ModelEntry(id="k3", context_length=100_000, display_name="K3"),))
    with parts.store.locked(0.0) as held:
        assert held
        parts.store.put(Token("access-1", "refresh-1", time.time() + 900, 900.0, "kimi-code"))
    record = home / "credentials" / HERE
    assert record.is_file()
    api = "api.kimi.ai:443"
    assert api in asks("kimi", "-p", "hello", host=api)
    record.rename(record.with_name("kimi-code.json"))
    assert api not in asks("kimi", "-p", "hello", host=api)
