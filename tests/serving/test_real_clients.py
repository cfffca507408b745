"""The real kimi-code and the openai SDK in sandboxes that have only a grant's socket: no network but loopback, and of the host's files
only the directories that the recipes mount. Both live through ten rotations and a sign-out and sign-in of the host, and at each of
their requests, while the client waits for its answer, all that its processes could read is searched for a refresh token of the host."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from home.spy import Spy
from home.stage import PROGRAM, Stage, stages, tool_call
from house import npm
from house.patience import until

from kimi_auth.testing import Emulator
from kimi_auth.testing.emulator.call import Answer, Call
from serving.boxes import BOX, OBEY, Box, unshared
from serving.conftest import Serving, gone, there

pytestmark = [pytest.mark.prove, pytest.mark.containers, pytest.mark.timeout(900)]

ROTATIONS = 10


class Host:
    """A host that serves its login, and one sandbox on it. `home`: what the sandbox's home is on the host."""

    def __init__(self, serving: Serving, basetemp: Path, environ: dict[str, str], obey: str) -> None:
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
        homes = dict.fromkeys(("KIMI_SHARE_DIR", "KIMI_CODE_HOME"), f"{BOX}/home")
        hidden = (basetemp, serving.share_dir, Path(tempfile.gettempdir()))
        places = (Path(self.grant["socket"]).parent, self.home)
        kept = {name: value for name, value in serving.env.items() if not name.startswith(("KIMI_", "COV"))}
        self.box = Box(unshared(), *places, {**kept, **environ, **inside, **homes}, *hidden, obey=obey)
        self.spy = Spy(self.box.mark, f"{BOX}/home", f"{BOX}/run", *map(str, hidden))

    @property
    def real(self) -> str:
        """The login's refresh token."""
        record = (self.serving.share_dir / "credentials/kimi-code.json").read_text()
        return str(json.loads(record)["refresh_token"])

    def renew(self) -> str:
        """Rotates the login on the host; the new access token."""
        return self.serving.session.access_token_sync(refresh=True)

    def end(self) -> None:
        """Ends both, which were well until then; all that the server may have to say is that its user had signed out."""
        inside, (status, said) = self.box.end(), self.serving.end()
        assert (inside, status) == (0, 0), said
        assert [line for line in said.splitlines() if "not signed in" not in line] == []

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
    """The real kimi-code makes its config, and one turn across ten rotations, each of which it renews its handle for; signed out, the
    host leaves it without a token, signed in again it goes on with the handle it has; revoked, it gets nothing, and the host stays."""
    serving = Serving(stage.emulator, tmp_path / "host", short / "s")
    kept = ("PATH", "KIMI_DISABLE_TELEMETRY", "NO_COLOR", "PYTHONPATH")
    environ = {name: stage.environ[name] for name in kept}
    # Without it kimi-code asks ten times before it gives up a turn, and renews three times for each.
    host = Host(serving, basetemp, environ | {"KIMI_LOOP_MAX_ATTEMPTS_PER_STEP": "1"}, OBEY)
    gate = host.home / "gate"
    os.mkfifo(gate)
    asked = 0

    def chat(call: Call) -> Answer | None:
        nonlocal asked
        asked += 1
        host.spy.look()
        command = f"cat {BOX}/home/gate"  # ends when the host has rotated
        return tool_call("Bash", {"command": command, "description": "wait"}) if asked <= ROTATIONS else None

    stage.chat = chat
    kimi = (str(npm.tool("node")), str(PROGRAM))
    try:
        made = host.box.ask(*kimi, "login")
        assert made.status == 0, made.err
        (record,) = (host.home / "credentials").glob("kimi-code-*.json")
        reals = {host.real}
        host.box.start(*kimi, "-p", "wait ten times")
        for _ in range(ROTATIONS):
            with gate.open("w"):  # its reader is there
                newest = host.renew()
                reals.add(host.real)
            until(
                lambda tick_s, newest=newest: has_token(record, newest) or time.sleep(min(tick_s, 0.02)), "its renewal"
            )
        said = host.box.hear()
        assert (said.status, said.out.strip() != "", asked) == (0, True, ROTATIONS + 1), said.err
        assert (len(reals), json.loads(record.read_text())["refresh_token"][:4]) == (ROTATIONS + 1, "kah.")
        host.searched(ROTATIONS + 1)
        serving.session.logout_sync()
        assert host.box.ask(*kimi, "-p", "still there?").status != 0
        serving.emulator.sign_in(serving.share_dir)
        again = host.box.ask(*kimi, "-p", "there again?")
        assert (again.status, again.out.strip() != "", asked) == (0, True, ROTATIONS + 2), again.err
        host.searched(ROTATIONS + 2)
        serving.revoke("agent")
        gone(host.grant["socket"])
        assert host.box.ask(*kimi, "-p", "revoked?").status != 0
        assert serving.session.access_token_sync()
    finally:
        host.end()
    counts = stage.emulator.state.counts
    assert (counts["device_codes"], counts["reuse_seen"]) == (0, 0)


def has_token(record: Path, access_token: str) -> bool:
    """Whether kimi-code's record, which it replaces whole, has this token."""
    return bool(json.loads(record.read_text())["access_token"] == access_token)


OPENAI = """
import json, openai, os, sys
with open(os.environ["BOX"] + "/home/secret") as file:
    secret = file.read().strip()
client = openai.OpenAI(base_url=os.environ["KIMI_CODE_BASE_URL"] + "/v1", api_key=secret, max_retries=0)
for line in sys.stdin:
    asked = {"model": "kimi-for-coding", "messages": [{"role": "user", "content": json.loads(line)[0]}]}
    try:
        whole = client.chat.completions.create(**asked).choices[0].message.content
        parts = client.chat.completions.create(**asked, stream=True)
        said = [0, whole, "".join(part.choices[0].delta.content or "" for part in parts if part.choices)]
    except openai.APIStatusError as error:
        said = [error.status_code, "", str(error.code)]
    print(json.dumps(said), flush=True)
"""


def test_openai_lives_on_a_secret(emulator: Emulator, basetemp: Path, tmp_path: Path, short: Path) -> None:
    """One client of openai, whole and streamed, through ten rotations and refused tokens; while the host is signed out it is told so, and
    goes on after the next sign-in. It has no token of any kind: neither the refresh token nor the access token is in its memory."""
    serving = Serving(emulator, tmp_path / "host", short / "s")
    host = Host(serving, basetemp, {}, OPENAI)
    shutil.rmtree(host.home / "credentials")  # it needs none
    host.spy.control = host.grant["secret"].encode()
    tokens = set()
    try:
        for turn in range(ROTATIONS):
            if turn != 5:
                tokens.add(host.renew())
            else:
                emulator.state.expire_access()  # the proxy meets the 401, and rotates
            assert host.box.ask(f"turn {turn}") == (0, f"turn {turn}", f"turn {turn}")
        host.spy.look()
        assert len(tokens) == ROTATIONS - 1
        assert emulator.state.counts["refreshes"] >= ROTATIONS
        serving.session.logout_sync()
        assert host.box.ask("still there?").status in {401, 503}
        emulator.sign_in(serving.share_dir)
        assert host.box.ask("there again?") == (0, "there again?", "there again?")
        host.spy.look()
        host.searched(2)
        serving.revoke("agent")
        assert serving.session.access_token_sync()
    finally:
        host.end()
    assert emulator.state.counts["reuse_seen"] == 0
