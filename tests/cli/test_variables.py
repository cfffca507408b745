"""Which platform's token it is, and which variables decide where it goes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.cli.run import with_pair
from kimi_auth.models.variables import overriding
from kimi_auth.platforms import registry
from kimi_auth.testing.emulator import Emulator

Run = Callable[..., Any]

ACME = """
default_model = "acme/m"
[providers."managed:acme"]
type = "kimi"
base_url = "https://api.acme.example/v1"
api_key = "acme-key"
[models."acme/m"]
provider = "managed:acme"
model = "m"
max_context_size = 1000
"""


@pytest.fixture
def acme(share_dir: Path, environ: dict[str, str]) -> None:
    """Another platform's key, and its model as the default."""
    share_dir.mkdir(exist_ok=True)
    (share_dir / "platforms.toml").write_text(
        'v = 1\n[platforms.acme]\nname = "Acme"\nauth = "api_key"\napi_base = "https://api.acme.example/v1"\n'
    )
    (share_dir / "config.toml").write_text(ACME)


def environment(out: str) -> dict[str, str]:
    """What a child printed of its environment with `env`."""
    return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)


@pytest.mark.usefixtures("acme")
def test_token_names_a_platform_that_was_not_chosen(kimi: Run) -> None:
    """The default model decides; where that is not kimi-code's, one line on standard error says whose token was printed."""
    said = kimi("token")
    assert (said.status, said.out) == (0, "acme-key\n")
    assert said.err == "kimi-auth: this is Acme's, for https://api.acme.example/v1 (choose: --platform acme)\n"
    assert kimi("token", "--platform", "acme").err == ""
    said = kimi("token", "--json")
    assert said.json["platform"] == "acme"
    assert "https://api.acme.example/v1" in said.err
    assert kimi("token", "--platform", "kimi-code").status == 3


def test_the_usual_platform_is_not_named(kimi: Run) -> None:
    """kimi-code's token is printed without a word."""
    kimi("login")
    assert kimi("token", "--json").err == ""
    assert kimi("token").err == ""


def test_run_sets_key_and_address_together(kimi: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inherited base URL of another host does not get the token; other inherited variables stay."""
    kimi("login")
    token = kimi("token").out.strip()
    for name in ("KIMI_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "https://elsewhere.example/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs")
    found = environment(kimi("run", "--", "env").out)
    assert (found["KIMI_API_KEY"], found["KIMI_BASE_URL"]) == (token, emulator.api_base)
    assert (found["OPENAI_API_KEY"], found["OPENAI_BASE_URL"]) == ("sk-theirs", "https://elsewhere.example/v1")
    found = environment(kimi("run", "--env", "OPENAI_API_KEY", "--env", "ACME_2_API_KEY", "--", "env").out)
    for client in ("KIMI", "OPENAI", "ACME_2"):
        assert (found[f"{client}_API_KEY"], found[f"{client}_BASE_URL"]) == (token, emulator.api_base)


@pytest.mark.usefixtures("acme")
def test_run_sends_a_key_to_its_own_platform(kimi: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another platform's key comes with that platform's address."""
    monkeypatch.setenv("KIMI_BASE_URL", "https://api.kimi.com/coding/v1")
    found = environment(kimi("run", "--", "env").out)
    assert (found["KIMI_API_KEY"], found["KIMI_BASE_URL"]) == ("acme-key", "https://api.acme.example/v1")


def test_an_anthropic_client() -> None:
    """It appends /v1 itself, and would send an inherited token of another party along."""
    theirs = {"ANTHROPIC_AUTH_TOKEN": "theirs", "ANTHROPIC_BASE_URL": "https://x.example", "HOME": "/h"}
    assert with_pair(theirs, "ANTHROPIC_API_KEY", "T", "https://api.kimi.com/coding/v1") == {
        "HOME": "/h",
        "ANTHROPIC_API_KEY": "T",
        "ANTHROPIC_BASE_URL": "https://api.kimi.com/coding",
    }


@pytest.mark.parametrize(
    "name",
    [
        "",
        "PATH",
        "LD_PRELOAD",
        "openai_api_key",
        "OPENAI_API_KEY=x",
        "_API_KEY",
        "OPENAI_BASE_URL",
        "A\nB_API_KEY",
        "OPENAI_API_KEY\n",
    ],
)
def test_run_takes_names_of_keys_only(kimi: Run, name: str) -> None:
    """Any other name is a mistake, or an attack on the child: exit 2, and nothing runs."""
    said = kimi("run", "--env", name, "--", "echo", "ran")
    assert (said.status, said.out) == (2, "")
    assert "OPENAI_API_KEY" in said.err


OVERRIDES: list[tuple[str, dict[str, str], list[str]]] = [
    ("kimi-code", {}, []),
    ("kimi-code", {"KIMI_API_KEY": "", "KIMI_BASE_URL": "", "KIMI_MODEL_NAME": ""}, []),
    ("kimi-code", {"KIMI_API_KEY": "sk-1"}, ["KIMI_API_KEY"]),
    ("kimi-code", {"KIMI_BASE_URL": "https://api.kimi.com:443/coding/v1/"}, []),
    ("kimi-code", {"KIMI_BASE_URL": "https://api.kimi.com/v2"}, ["KIMI_BASE_URL"]),
    ("kimi-code", {"KIMI_BASE_URL": "nonsense"}, ["KIMI_BASE_URL"]),
    ("moonshot-ai", {"KIMI_API_KEY": "sk-1", "KIMI_BASE_URL": "https://x.example"}, ["KIMI_API_KEY", "KIMI_BASE_URL"]),
    (
        "kimi-code",
        {"KIMI_MODEL_NAME": "m", "KIMI_MODEL_MAX_CONTEXT_SIZE": "1", "KIMI_MODEL_CAPABILITIES": "thinking"},
        ["KIMI_MODEL_NAME", "KIMI_MODEL_MAX_CONTEXT_SIZE", "KIMI_MODEL_CAPABILITIES"],
    ),
]


@pytest.mark.parametrize(("platform", "environ", "named"), OVERRIDES)
def test_what_the_kimi_cli_prefers(platform: str, environ: dict[str, str], named: list[str]) -> None:
    """Every variable that the Kimi CLI reads instead of what a login wrote, where it is set and says something else."""
    found = overriding(registry.get(platform), environ)
    assert list(found) == named
    assert not [
        words for words in found.values() if any(value in words for value in environ.values() if len(value) > 2)
    ]


def test_status_and_doctor_name_what_wins(kimi: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name and what follows from it, never the value; doctor has a next step where the token would go elsewhere."""
    kimi("login")
    assert kimi("status", "--json").json["overridden_by"] == []
    assert kimi("doctor").status == 0
    values = {
        "KIMI_API_KEY": "sk-of-another",
        "KIMI_BASE_URL": "https://elsewhere.example",
        "KIMI_MODEL_NAME": "other-model",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    status = ("status", "--platform", "kimi-code")  # by itself it would show the key, which has an API of its own
    shown, data, doctor = kimi(*status), kimi(*status, "--json"), kimi("doctor", "--json")
    assert (shown.status, data.status, doctor.status) == (0, 0, 1)
    assert [each["variable"] for each in data.json["overridden_by"]] == list(values)
    assert "variable: KIMI_BASE_URL is set and takes precedence in the Kimi CLI" in shown.out
    (finding,) = [check for check in doctor.json["checks"] if check["verdict"] == "finding"]
    assert (finding["check"], finding["step"]) == ("variable", "unset KIMI_BASE_URL")
    for said in (shown.out, data.out, doctor.out, kimi("doctor").out):
        assert all(name in said for name in values)
        assert not any(value in said for value in values.values())


@pytest.mark.usefixtures("acme")
def test_what_the_page_sends_goes_to_kimi(kimi: Run, share_dir: Path) -> None:
    """The line with curl names the platform whose API it asks."""
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("curl ")]
    command = line.partition("$(kimi-auth ")[2].partition(")")[0].split()
    assert command == ["token", "--platform", "kimi-code"]
    assert "https://api.kimi.com/" in line
    record = {"access_token": "kimis", "refresh_token": "r", "expires_at": time.time() + 900, "expires_in": 900}
    (share_dir / "credentials").mkdir()
    (share_dir / "credentials" / "kimi-code.json").write_text(
        json.dumps(record | {"issuer": os.environ["KIMI_CODE_OAUTH_HOST"]})
    )
    assert kimi(*command).out == "kimis\n"
