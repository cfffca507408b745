"""The real kimi-code and the openai SDK in sandboxes that have only a grant's socket: no network but loopback, and of the host's files
only the directories that the recipes mount. Both live through ten rotations and a sign-out and sign-in of the host, and at each of
their requests, while the client waits for its answer, all that its processes could read is searched for a refresh token of the host."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from home.spy import Spy
from home.stage import PROGRAM, Stage, stages
from house import npm
from house.installed import installed
from sdks.recipes import REQUIREMENTS

from kimi_auth.serving.relay import PORT
from kimi_auth.testing import Emulator
from kimi_auth.testing.emulator.call import Answer, Call
from serving.boxes import BOX, Box, unshared
from serving.conftest import Serving, there

pytestmark = [pytest.mark.prove, pytest.mark.containers, pytest.mark.timeout(900)]

ROTATIONS = 10


class Host:
    """A host that serves its login, and one sandbox on it. `home`: what the sandbox's home is on the host."""

    def __init__(self, serving: Serving, basetemp: Path, environ: dict[str, str]) -> None:
        self.serving = serving
        self.home = serving.sockets.parent / "home"
        serving.start()
        told = serving.run(
            *("serve", "--json", "--sockets", str(serving.sockets), "grant", "agent"),
            *("--proxied", "--write", str(self.home)),
        )
        assert told.returncode == 0, told.stderr
        self.grant: dict[str, Any] = json.loads(told.stdout)
        there(self.grant["socket"])
        inside = self.grant["environment"]
        homes = {name: f"{BOX}/home" for name in ("KIMI_SHARE_DIR", "KIMI_CODE_HOME")}
        hidden = (basetemp, serving.share_dir, Path(tempfile.gettempdir()))
        places = (Path(self.grant["socket"]).parent, self.home)
        kept = {name: value for name, value in serving.env.items() if not name.startswith(("KIMI_", "COV"))}
        self.box = Box(unshared(), *places, {**kept, **environ, **inside, **homes}, *hidden, port=PORT)
        self.spy = Spy(serving.emulator, BOX, f"{BOX}/home", f"{BOX}/run", *map(str, hidden))

    @property
    def real(self) -> str:
        """The login's refresh token."""
        record = (self.serving.share_dir / "credentials/kimi-code.json").read_text()
        return str(json.loads(record)["refresh_token"])

    def renew(self) -> str:
        """Rotates the login on the host; the new access token."""
        return self.serving.session.access_token_sync(refresh=True)

    def searched(self, least: int) -> None:
        """What the sandbox could read was read `least` times and had an access token in it, and no refresh token."""
        assert (self.spy.found, self.spy.saw >= least) == (set(), True), (self.spy.looks, self.spy.saw)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A home and an emulator for the real kimi-code."""
    for make in stages(tmp_path, monkeypatch):
        yield make()


@pytest.fixture
def basetemp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


def test_kimi_code_lives_on_handles(stage: Stage, basetemp: Path, tmp_path: Path, short: Path) -> None:
    """The real kimi-code makes its config, and a turn after each of ten rotations, with a handle that it renews itself; signed out, the
    host leaves it without a token, signed in again it goes on with the handle it has; revoked, it is signed out, and the host is not."""
    serving = Serving(stage.emulator, tmp_path / "host", short / "s")
    host = Host(serving, basetemp, {name: stage.environ[name] for name in ("PATH", "KIMI_DISABLE_TELEMETRY", "NO_COLOR", "PYTHONPATH")})

    def chat(call: Call) -> Answer | None:
        host.spy.look()
        return None

    stage.chat = chat
    kimi = (str(npm.tool("node")), str(PROGRAM))
    try:
        made = host.box.ask(*kimi, "login")
        assert made.status == 0, made.err
        (record,) = (host.home / "credentials").glob("kimi-code-*.json")
        seen, reals = set(), {host.real}
        for turn in range(ROTATIONS):
            newest = host.renew()
            said = host.box.ask(*kimi, "-p", f"turn {turn}")
            assert (said.status, said.out.strip() != "") == (0, True), said.err
            has = json.loads(record.read_text())
            assert (has["access_token"], has["refresh_token"][:4]) == (newest, "kah.")
            seen.add(newest)
            reals.add(host.real)
        assert (len(seen), len(reals)) == (ROTATIONS, ROTATIONS + 1)
        serving.session.logout_sync()
        assert host.box.ask(*kimi, "-p", "still there?").status != 0
        serving.emulator.sign_in(serving.share_dir)
        again = host.box.ask(*kimi, "-p", "there again?")
        assert (again.status, again.out.strip() != "") == (0, True), again.err
        host.searched(ROTATIONS + 1)
        serving.revoke("agent")
        assert host.box.ask(*kimi, "-p", "revoked?").status != 0
        assert serving.session.status().state == "fresh"
    finally:
        host.box.end()
        serving.end()
    counts = stage.emulator.state.counts
    assert (counts["device_codes"], counts["reuse_seen"]) == (0, 0)
