"""The real kimi-code, headless on loopback: a login of ours is its login, and it asks for no code of its own."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable

import pytest

from home.stage import Stage

pytestmark = [pytest.mark.prove, pytest.mark.real_server, pytest.mark.timeout(900)]


def test_signed_in_by_us(stage_with: Callable[..., Stage]) -> None:
    """Our login, its provisioning, three turns and our logout: kimi-code asks for no code of its own, and goes on with the
    pair that we have renewed; signed out here, it is signed out there."""
    stage = stage_with()
    assert stage.ours("login", "--plain").returncode == 0
    provisioned = stage.theirs("login")
    assert (provisioned.returncode, stage.emulator.state.counts["device_codes"]) == (0, 1), provisioned.stderr
    config = (stage.home / ".kimi-code/config.toml").read_bytes()
    for turn in range(3):
        said = stage.theirs("-p", f"turn {turn}")
        assert (said.returncode, said.stdout.strip() != "") == (0, True), said.stderr
        if turn == 0:
            assert stage.ours("token", "--refresh").returncode == 0
    status = json.loads(stage.ours("status", "--json").stdout)
    assert (status["state"], status["home"], status["models"] > 0) == ("fresh", "kimi-code", True)
    assert stage.ours("logout").returncode == 0
    assert stage.theirs("-p", "still there?").returncode == 1
    assert stage.record["access_token"] == ""
    assert (stage.home / ".kimi-code/config.toml").read_bytes() == config
    counts = stage.emulator.state.counts
    assert (counts["device_codes"], counts["reuse_seen"]) == (1, 0)
    assert stage.theirs("login").returncode == 0  # over our tombstone, as over its own
    assert counts["device_codes"] == 2
    assert stage.ours("token").returncode == 0


def test_configured_by_us(stage_with: Callable[..., Stage]) -> None:
    """Asked to, a login of ours writes config.toml so that kimi-code needs no login of its own: its own check passes, what
    the user wrote stays, and its login then changes nothing that it reads."""
    stage = stage_with()
    config = stage.home / ".kimi-code/config.toml"
    config.parent.mkdir(mode=0o700)
    config.write_text('# mine\ntheme = "dark" # too\n\n[providers.other]\ntype = "openai"\napi_key = "k"\n')
    assert stage.ours("login", "--plain", "--configure").returncode == 0
    written = config.read_text()
    assert written.startswith('# mine\ntheme = "dark" # too\n')
    checked = stage.theirs("doctor", "config")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    said = stage.theirs("-p", "hello")
    assert said.returncode == 0, said.stderr
    by_us = tomllib.loads(written)
    assert stage.theirs("login").returncode == 0
    by_them = tomllib.loads(config.read_text())
    for part in ("providers", "models", "services", "default_model", "thinking"):
        assert by_us[part] == by_them[part], part
    assert stage.emulator.state.counts["device_codes"] == 1
