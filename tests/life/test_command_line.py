"""The command line's life at servers: a person signs in, programs ask for tokens, and no secret is where it should not be."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from servers.bare_client import Client, brief
from servers.real_server import RealServer

from kimi_auth.testing.emulator import Emulator, Fault
from life.world import Home

pytestmark = pytest.mark.timeout(60)  # each command starts an interpreter, which takes its time where others work

PROGRAM: Final = (sys.executable, "-m", "kimi_auth")


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run([*PROGRAM, *args], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def ok(*args: str) -> str:
    """What a command that works prints."""
    done = run(*args)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_a_life_at_a_server_of_others(life: Home, oidc_server: RealServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`login --json`, `token`, `token --refresh`, `status --json` and `logout`, as an editor would use them."""
    for name, value in oidc_server.env.items():
        monkeypatch.setenv(name, value)
    command = [*PROGRAM, "login", "--json", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as login:
        assert login.stdout is not None
        events: list[dict[str, Any]] = []
        for line in login.stdout:
            events.append(json.loads(line))
            if events[-1]["type"] == "verification_url":
                assert events[-1]["data"]["verification_url"].startswith(oidc_server.oauth_host)
                oidc_server.approve(events[-1]["data"]["user_code"])
    assert login.returncode == 0
    assert {event["type"] for event in events} <= {"info", "verification_url", "waiting", "success"}
    assert (events[-1]["type"], events[-1]["data"]["models"]) == ("success", 2)

    first = ok("token")
    assert first == f"{life.record['access_token']}\n"
    second = ok("token", "--refresh")
    assert second == f"{life.record['access_token']}\n" != first
    with Client(oidc_server) as client:
        assert client.models(f"Bearer {second.strip()}").status_code == 200
    status = json.loads(ok("status", "--json"))
    assert (status["state"], status["issuer"], status["models"]) == ("fresh", oidc_server.oauth_host, 2)
    assert "kimi-for-coding" in ok("models", "list")

    refresh_token = life.record["refresh_token"]
    signed_out = json.loads(ok("logout", "--json"))["signed_out"]
    assert signed_out == [
        {"platform": "kimi-code", "label": "default", "revocation": "revoked", "config": "restored", "left": []}
    ]
    with Client(oidc_server) as client:
        assert brief(client.refresh(refresh_token)) == (400, "invalid_grant")
    after = run("token")
    assert (after.returncode, after.stdout, after.stderr.count("\n")) == (3, "", 1)


def test_no_command_shows_a_secret(life: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With and without errors, with --verbose and --trace: only `token` prints a token, and nothing prints the
    others."""
    with Emulator(approve="auto", approve_after_s=0, interval_s=1) as emulator:
        for name, value in emulator.env.items():
            monkeypatch.setenv(name, value)
        walk = tmp_path / "walk.ndjson"
        said: list[str] = []

        def hear(*args: str, status: int = 0) -> None:
            done = run(*args)
            assert done.returncode == status, (args, done.stderr)
            assert "Traceback" not in done.stderr
            said.append(done.stderr if args[0] == "token" else done.stdout + done.stderr)

        def age() -> None:
            life.store({**life.record, "expires_at": 1.0})

        hear("login", "--verbose", "--trace", str(walk))
        said.append(walk.read_text())
        for args in (("status",), ("status", "--verify", "--json"), ("models", "sync"), ("models", "list", "--json")):
            hear(*args, "--verbose")
        hear("doctor", "--json")
        hear("token", "--refresh")
        echo = json.dumps([*emulator.state._tokens, *emulator.state._codes])
        emulator.state.inject(Fault("token", status=403, body=echo))
        age()
        hear("token", "--verbose")  # waits the page out, and has told of it
        hear("login", "--json", "--force")
        emulator.state.revoke_family()
        age()
        hear("token", "--verbose", status=4)
        hear("status", status=4)
        life.credential.write_text(life.credential.read_text()[:-9])
        hear("status", "--json", status=8)
        hear("token", "--verbose", status=8)
        hear("logout")
        secrets = [*emulator.state._tokens, *emulator.state._codes]
    assert len(secrets) >= 8
    for secret in secrets:
        assert not [text for text in said if secret[-12:] in text or secret[-24:-12] in text]
    assert re.search(r"\bsigned in\b", "\n".join(said), re.IGNORECASE)
    assert os.environ["KIMI_SHARE_DIR"] == str(life.share_dir)
