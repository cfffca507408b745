"""`kimi-auth platforms`, and what other commands say about a platform of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.cli.hints import for_login, named_in
from kimi_auth.platforms import registry
from kimi_auth.testing.emulator import Emulator

OWN = """
v = 1
[platforms.mine]
name = "Mine"
auth = "device"
api_base = "{base}"
[platforms.mine.oauth]
host = "{host}"
device_authorization_path = "/api/oauth/device_authorization"
token_path = "/api/oauth/token"
revocation_path = "/api/oauth/revoke"
client_id = "17e5f671-d194-4dfb-9706-5516cb48c098"
scope = "kimi-code"
"""
WITH_SECRET = OWN + 'client_secret = "hunter2"\n'


@pytest.fixture
def own(share_dir: Path, emulator: Emulator) -> Callable[..., Path]:
    """Writes platforms.toml, with something more in the platform's own table."""

    def write(more: str = "", text: str = OWN) -> Path:
        share_dir.mkdir(exist_ok=True)
        file = share_dir / "platforms.toml"
        text = text.format(base=emulator.env["KIMI_CODE_BASE_URL"], host=emulator.env["KIMI_CODE_OAUTH_HOST"])
        file.write_text(text.replace("[platforms.mine.oauth]", f"{more}\n[platforms.mine.oauth]"))
        file.chmod(0o600)
        return file

    return write


def test_list(kimi: Any, own: Any, emulator: Emulator) -> None:
    """Each platform on a line: id, kind of sign-in, API, OAuth host as the environment has it, and where it is from."""
    file = own()
    lines = [line.split("\t") for line in kimi("platforms").out.splitlines()]
    assert [line[0] for line in lines] == [*(one.id for one in registry.all()), "mine"]
    host, base = emulator.env["KIMI_CODE_OAUTH_HOST"], emulator.env["KIMI_CODE_BASE_URL"]
    assert lines[0] == ["kimi-code", "device", base, host, "built in"]
    assert lines[-1] == ["mine", "device", base, host, str(file)]
    listed = kimi("platforms", "--json").json
    assert [one["id"] for one in listed["platforms"]] == [line[0] for line in lines]
    assert listed["problems"] == []
    assert listed["platforms"][-1]["revocation_url"] == f"{host}/api/oauth/revoke"


def test_list_with_a_mistake(kimi: Any, own: Any) -> None:
    """A table with a mistake is said on standard error, the others are listed, and the exit status tells."""
    own("colour = 1")
    said = kimi("platforms")
    assert said.status == 9
    assert "platforms.mine.colour: is an unknown key (correct it: " in said.err
    assert said.out.startswith("kimi-code\t")


def test_check(kimi: Any, own: Any, emulator: Emulator) -> None:
    """`check` says of each platform where requests will go and as whom, in facts that a person can compare."""
    file = own()
    said = kimi("platforms", "check")
    host = emulator.env["KIMI_CODE_OAUTH_HOST"]
    assert said.status == 0
    assert f"tokens: {host}/api/oauth/token\n" in said.out
    assert f"revocation: {host}/api/oauth/revoke\n" in said.out
    assert "scope: kimi-code\n" in said.out
    assert ", without a secret\n" in said.out
    assert kimi("platforms", "check", str(file)).out == said.out


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_check_finds(kimi: Any, own: Any, tmp_path: Path, form: list[str]) -> None:
    """Mistakes, ids that are taken and a file that is not there end with an exit status that a script can read."""
    file = own("colour = 1")
    said = kimi("platforms", "check", str(file), *form)
    assert said.status == 1
    assert "platforms.mine.colour" in said.out
    assert "one problem in" in said.err
    other = tmp_path / "other.toml"
    other.write_text('v = 1\n[platforms.kimi-code]\nname = "X"\nauth = "api_key"\napi_base = "https://x.example"\n')
    said = kimi("platforms", "check", str(other), *form)
    assert said.status == 1
    assert "that id is taken" in said.out
    assert kimi("platforms", "check", str(tmp_path / "none.toml"), *form).status == 9


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_secret_is_not_printed(kimi: Any, own: Any, form: list[str]) -> None:
    """No command prints a client secret, whether its file is private or not."""
    file = own(text=WITH_SECRET)
    for mode in (0o600, 0o644):
        file.chmod(mode)
        for command in (["platforms"], ["platforms", "check"], ["doctor"], ["status", "--platform", "mine"]):
            said = kimi(*command, *form)
            assert "hunter2" not in said.out + said.err
    assert f"chmod 600 {file}" in kimi("platforms", "check").out
    assert kimi("login", "--platform", "mine").status == 9


def test_hints_name_the_platform(kimi: Any, own: Any) -> None:
    """Every command repeats `--platform` in the next step that it names; so does doctor."""
    own()
    for command in ("token", "status", "models"):
        assert kimi(command, "--platform", "mine").err.rstrip().endswith("kimi-auth login --platform mine)"), command
    assert (
        kimi("token", "--platform=mine", "--json").json["error"]["hint"] == "sign in: kimi-auth login --platform mine"
    )
    said = kimi("doctor", "--platform", "mine")
    assert "kimi-auth login --platform mine" in said.out
    assert kimi("doctor", "--platform", "none").status == 2


@pytest.mark.parametrize(
    ("models", "names"),
    [("[]", []), ('[{ id = "m", context_length = 1000, supports_reasoning = true }]', ["mine/m"])],
)
def test_a_platform_without_a_catalogue(kimi: Any, own: Any, models: str, names: list[str]) -> None:
    """Where the table names the models, or says that there are none, login ends well, and no command asks for `/models`."""
    own(text=OWN.replace("{base}", "{base}/v2"))
    assert kimi("login", "--platform", "mine").status == 10
    assert kimi("logout", "--platform", "mine").status == 0
    own(f"models = {models}", OWN.replace("{base}", "{base}/v2"))
    assert kimi("login", "--platform", "mine").status == 0
    assert kimi("models", "sync", "--platform", "mine").status == 0
    assert kimi("models", "--platform", "mine").status == 0
    assert kimi("doctor", "--platform", "mine").status == 0
    said = kimi("status", "--platform", "mine", "--verify", "--json")
    assert said.json["verify"] == "unknown"
    assert said.json["models"] == len(names)
    assert said.json["default_model"] == (names[0] if names else None)
    assert kimi("token", "--platform", "mine").status == 0
    assert kimi("logout", "--platform", "mine").status == 0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sign in: kimi-auth login", "sign in: kimi-auth login --platform x"),
        (
            "kimi-auth token --refresh; else: kimi-auth login",
            "kimi-auth token --platform x --refresh; else: kimi-auth login --platform x",
        ),
        ("kimi-auth models sync, then", "kimi-auth models sync --platform x, then"),
        (
            "kimi-auth token --refresh: kimi-auth login --platform y",
            "kimi-auth token --platform x --refresh: kimi-auth login --platform y",
        ),
        ("see: kimi-auth token --help", "see: kimi-auth token --help"),
        ("see: kimi-auth --help, kimi-auth platforms list", "see: kimi-auth --help, kimi-auth platforms list"),
    ],
)
def test_a_hint_for_a_platform(text: str, named: str) -> None:
    """Each command that takes a platform gets the one that was named, once."""
    assert for_login(text, "x") == named
    assert for_login(named, "x") == named
    assert for_login(text, "") == text


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ("token --platform x", "x"),
        ("token --platform=x --json", "x"),
        ("--platform x token --platform y", "y"),
        ("run --platform x -- agent --platform y", "x"),
        ("token --platform", ""),
        ("token --platform X;rm", ""),
        ("token", ""),
        ("", ""),
    ],
)
def test_the_platform_of_a_command_line(args: str, named: str) -> None:
    """The last one counts, as for the command itself; a value that cannot be an id goes into no command to be copied."""
    assert named_in(args.split()).platform == named
