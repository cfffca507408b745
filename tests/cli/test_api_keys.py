"""Platforms that take an API key: the key comes in unseen, is verified, serves, and goes."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house.patience import ended

from kimi_auth.testing.emulator import Emulator

Run = Callable[..., Any]

PLATFORM = """
v = 1
[platforms.acme]
name = "Acme"
auth = "api_key"
api_base = "{api_base}"
"""


@pytest.fixture
def key(emulator: Emulator, environ: dict[str, str], share_dir: Path, kimi: Run) -> str:
    """A key that the platform `acme` takes: the emulator's API takes the tokens that it gave."""
    assert kimi("login").status == 0
    key: str = kimi("token").out.strip()
    (share_dir / "credentials" / "kimi-code.json").unlink()
    (share_dir / "config.toml").unlink()
    (share_dir / "platforms.toml").write_text(PLATFORM.format(api_base=emulator.api_base))
    return key


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts text on standard input."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_whole_life(kimi: Run, key: str, give: Callable[[str], None], share_dir: Path) -> None:
    """login, again, status, token, models, logout --all: as with any other platform, and no expiry anywhere."""
    give(f"{key}\nmore")
    said = kimi("login", "--platform", "acme", "--api-key-stdin")
    assert (said.status, said.out, said.err) == (0, "Signed in to Acme.\n", "")
    assert key in (share_dir / "config.toml").read_text()
    give("other")
    again = kimi("login", "--platform", "acme", "--api-key-stdin", "--json")
    assert [(event["type"], event["data"]) for event in again.events] == [
        ("success", {"already": True, "account": None})
    ]
    status = kimi("status", "--platform", "acme", "--verify")
    assert "key: an API key, which does not expire\n" in status.out
    assert "expired" not in status.out
    facts = kimi("status", "--platform", "acme", "--json").json
    assert (facts["expires_at"], facts["left_s"], facts["renews_in_s"]) == (None, None, None)
    assert kimi("token", "--platform", "acme").out == f"{key}\n"
    token = kimi("token", "--platform", "acme", "--json").json
    assert (token["access_token"], token["expires_at"], token["expires_in"]) == (key, None, None)
    assert kimi("models", "--platform", "acme").status == 0
    out = kimi("logout", "--all", "--yes")
    assert (out.status, out.err) == (0, "")
    assert out.out.count("config: nothing of this platform is left in config.toml") == 2
    assert not (share_dir / "config.toml").exists()
    gone = kimi("token", "--platform", "acme")
    assert (gone.status, kimi("status", "--platform", "acme").err) == (3, gone.err)
    assert "sign in: kimi-auth login --platform acme --api-key-stdin" in gone.err
    assert len(kimi("logout", "--all", "--yes", "--json").json["signed_out"]) == 1


@pytest.mark.parametrize(("text", "status"), [("", 9), ("no key\n", 9), ("x" * 9000, 9), ("of-somebody-else\n", 4)])
def test_keys_that_are_none(
    kimi: Run, key: str, give: Callable[[str], None], share_dir: Path, text: str, status: int
) -> None:
    """Nothing, something else, too much, another's: one line, and nothing is stored."""
    give(text)
    said = kimi("login", "--platform", "acme", "--api-key-stdin")
    assert (said.status, said.out, said.err.count("\n")) == (status, "", 1)
    assert not (share_dir / "config.toml").exists()


@pytest.mark.parametrize("stdin", [None, io.StringIO()])
def test_nobody_to_ask(kimi: Run, key: str, monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO | None) -> None:
    """Without a terminal and without --api-key-stdin: how to give the key, exit 2."""
    monkeypatch.setattr(sys, "stdin", stdin)
    said = kimi("login", "--platform", "acme")
    assert said.status == 2
    assert "kimi-auth login --platform acme --api-key-stdin" in said.err
    if stdin is None:
        assert kimi("login", "--platform", "acme", "--api-key-stdin").status == 2


def test_a_person_types_it_unseen(key: str, environ: dict[str, str], share_dir: Path) -> None:
    """On a terminal the key is asked for and not shown."""
    terminal, side = pty.openpty()
    command = [sys.executable, "-m", "kimi_auth", "login", "--platform", "acme"]
    env = {**os.environ, **environ}
    program = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=env, start_new_session=True)
    os.close(side)
    with os.fdopen(terminal, "r+b", buffering=0) as file, program:
        text = b""
        while b"API key for Acme: " not in text:
            text += file.read(1)
        file.write(f"{key}\n".encode())
        while b"Signed in to Acme." not in text:
            text += file.read(1)
        assert ended(program) == 0
    assert key.encode() not in text
    assert key in (share_dir / "config.toml").read_text()


def test_a_platform_that_is_broken(kimi: Run, key: str, share_dir: Path) -> None:
    """A platforms.toml that cannot be read is named when one of its platforms is wanted, and only then."""
    (share_dir / "platforms.toml").write_text("v = 1\n[platforms.acme]\n")
    said = kimi("status", "--platform", "acme", "--json")
    assert said.status == 9
    assert "platforms.toml" in json.loads(said.out)["error"]["message"]
    assert kimi("status").status == 3


def test_the_default_model_s_platform_is_everybody_s(kimi: Run, key: str, give: Callable[[str], None]) -> None:
    """Commands that use a login follow the default model to a platform without a sign-in; those that sign in and out do
    not: a login asks only for a key that was named, and a logout takes none away."""
    give(key)
    assert kimi("login", "--platform", "acme", "--api-key-stdin").status == 0
    assert kimi("token").out == f"{key}\n"
    assert kimi("status", "--json").json["platform"] == "acme"
    assert kimi("models", "list").status == 0
    assert kimi("run", "--", "true").status == 0
    assert kimi("doctor").status == 0
    give(key)
    assert kimi("login", "--api-key-stdin", "--force").out == "Signed in to Acme.\n"
    assert "Signed in to Kimi Code" in kimi("login").out
    assert kimi("logout", "--json").json["signed_out"][0]["platform"] == "kimi-code"
    assert kimi("token").out == f"{key}\n"
