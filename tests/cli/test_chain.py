"""The credential chain: an argument, the user's KIMI_API_KEY, the login, a token that `kimi-auth run` lent."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimi_auth import ConfigError, InvalidKey, Session
from kimi_auth.__main__ import FallThrough, answer
from kimi_auth.selection import LENT, PASSED_ON, lent_mark, lent_token
from kimi_auth.testing.emulator import Emulator
from kimi_auth.testing.emulator.faults import Fault
from kimi_auth.token import Token, key_fingerprint

Run = Callable[..., Any]

KIMI, CN, AI = "https://api.kimi.com/coding/v1", "https://api.moonshot.cn/v1", "https://api.moonshot.ai/v1"
GATEWAY = "https://gateway.example/v1"
JWT = "eyJ.lent.token"
MARK = f"kimi-code {key_fingerprint(JWT)} END 900 {KIMI}"
RUN = {"KIMI_API_KEY": JWT, "KIMI_BASE_URL": KIMI, LENT: MARK}
KEY_RUN = {
    "KIMI_API_KEY": "sk-kimi-1",
    "KIMI_BASE_URL": GATEWAY,
    LENT: lent_mark(PASSED_ON, key_fingerprint("sk-kimi-1"), 0.0, 0.0, GATEWAY),
}
CONFIG = """
default_model = "moonshot-ai/m"
[providers."managed:moonshot-ai"]
type = "kimi"
base_url = "https://api.moonshot.ai/v1"
api_key = "sk-in-the-file"
[models."moonshot-ai/m"]
provider = "managed:moonshot-ai"
model = "m"
max_context_size = 1000
"""
LOGIN_TOKEN = "access-of-the-login"

E, A, L = "KIMI_API_KEY", "argument", "file"
PRECEDENCE: dict[str, tuple[dict[str, str], dict[str, Any], set[str], tuple[str, str, str]]] = {
    # environment, arguments, files: source of the credential, the API that it goes to, the credential
    "the login": ({}, {}, {"login"}, (L, KIMI, LOGIN_TOKEN)),
    "a key before the login": ({"KIMI_API_KEY": "sk-kimi-1"}, {}, {"login"}, (E, KIMI, "sk-kimi-1")),
    "a key alone": ({"KIMI_API_KEY": "sk-kimi-1\n"}, {}, set(), (E, KIMI, "sk-kimi-1")),
    "a blank key": ({"KIMI_API_KEY": " "}, {}, {"login"}, (L, KIMI, LOGIN_TOKEN)),
    "an argument before the variable": (
        {"KIMI_API_KEY": "sk-kimi-1", "KIMI_BASE_URL": GATEWAY},
        {"api_key": "sk-kimi-2"},
        {"login"},
        (A, KIMI, "sk-kimi-2"),
    ),
    "an argument with its address": ({}, {"api_key": "k", "base_url": GATEWAY}, set(), (A, GATEWAY, "k")),
    "an argument with its platform": ({}, {"api_key": "sk-1", "platform": "moonshot-cn"}, set(), (A, CN, "sk-1")),
    "a key with its address": ({"KIMI_API_KEY": "sk-1", "KIMI_BASE_URL": f"{CN}/"}, {}, {"login"}, (E, CN, "sk-1")),
    "a key of a gateway": ({"KIMI_API_KEY": "sk-1", "KIMI_BASE_URL": GATEWAY}, {}, {"login"}, (E, GATEWAY, "sk-1")),
    "a key of the configured platform": ({"KIMI_API_KEY": "sk-1"}, {}, {"config"}, (E, AI, "sk-1")),
    "a Kimi Code key beside another default": ({"KIMI_API_KEY": "sk-kimi-1"}, {}, {"config"}, (E, KIMI, "sk-kimi-1")),
    "a key that no platform knows": ({"KIMI_API_KEY": "abc"}, {}, set(), (E, KIMI, "abc")),
    "a named platform's key": ({"KIMI_API_KEY": "sk-1"}, {"platform": "moonshot-cn"}, set(), (E, CN, "sk-1")),
    "a named platform before another's key": (
        {"KIMI_API_KEY": "sk-1"},
        {"platform": "kimi-code"},
        {"login"},
        (L, KIMI, LOGIN_TOKEN),
    ),
    "a named platform before another address": (
        {"KIMI_API_KEY": "sk-kimi-1", "KIMI_BASE_URL": GATEWAY},
        {"platform": "kimi-code"},
        {"login"},
        (L, KIMI, LOGIN_TOKEN),
    ),
    "an address alone": ({"KIMI_BASE_URL": GATEWAY}, {}, {"login"}, (L, KIMI, LOGIN_TOKEN)),
    "the login before a lent token": (RUN, {}, {"login"}, (L, KIMI, LOGIN_TOKEN)),
    "the lender's login before the default": (RUN, {}, {"login", "config"}, (L, KIMI, LOGIN_TOKEN)),
    "a lent token without a login": (RUN, {}, set(), (LENT, KIMI, JWT)),
    "a lent token after a sign-out": (RUN, {}, {"signed out"}, (LENT, KIMI, JWT)),
    "a lent key": (
        {"KIMI_API_KEY": "sk-3", LENT: lent_mark("moonshot-cn", key_fingerprint("sk-3"), 0.0, 0.0, CN)},
        {},
        {"login"},
        (LENT, CN, "sk-3"),
    ),
    "the user's key in a program that run started": (
        {**RUN, "KIMI_API_KEY": "sk-1"},
        {},
        {"login", "config"},
        (E, AI, "sk-1"),
    ),
    "the user's key and address there": (
        {**RUN, "KIMI_API_KEY": "sk-1", "KIMI_BASE_URL": CN},
        {},
        {"login"},
        (E, CN, "sk-1"),
    ),
    "the user's key that run passed on": (KEY_RUN, {}, {"login"}, (E, GATEWAY, "sk-kimi-1")),
    "another key than run's": (
        {**KEY_RUN, "KIMI_API_KEY": "sk-kimi-2"},
        {},
        {"login"},
        (E, KIMI, "sk-kimi-2"),
    ),
    "another key with an address of its own": (
        {**KEY_RUN, "KIMI_API_KEY": "sk-1", "KIMI_BASE_URL": CN},
        {},
        {"login"},
        (E, CN, "sk-1"),
    ),
    "a mark that is none": ({**RUN, LENT: "kimi-code x"}, {}, {"login"}, (E, KIMI, JWT)),
    "a mark with a wrong number": ({**RUN, LENT: MARK.replace("900", "900٣")}, {}, {"login"}, (E, KIMI, JWT)),
    "a key in config.toml": ({}, {}, {"config"}, ("config.toml", AI, "sk-in-the-file")),
}


FAST = {"the login", "a blank key", "an address alone", "the login before a lent token"}
"""Where the fast lane of `token` must answer."""


def on_disk(share_dir: Path, what: set[str]) -> None:
    (share_dir / "credentials").mkdir(parents=True, mode=0o700)
    record = {"access_token": LOGIN_TOKEN, "refresh_token": "r", "expires_at": time.time() + 900, "expires_in": 900}
    if "signed out" in what:
        record |= {"access_token": "", "refresh_token": ""}
    if what & {"login", "signed out"}:
        path = share_dir / "credentials" / "kimi-code.json"
        path.write_text(json.dumps(record))
        path.chmod(0o600)
    if "config" in what:
        (share_dir / "config.toml").write_text(CONFIG)


@pytest.mark.parametrize("case", PRECEDENCE)
def test_precedence(tmp_path: Path, case: str) -> None:
    """The first credential of the chain wins, is named in the status, and is for one API; the fast lane says the same, or
    steps aside."""
    environ, arguments, disk, expected = PRECEDENCE[case]
    on_disk(tmp_path, disk)
    end = str(int(time.time()) + 800)
    environ = {name: value.replace("END", end) for name, value in environ.items()} | {"KIMI_SHARE_DIR": str(tmp_path)}
    session = Session.default(environ=environ, **arguments)
    status = session.status()
    assert (status.sources["credential"], session.api_origin, session.access_token_sync()) == expected
    assert status.error is None
    if expected[0] in {E, A, LENT}:
        assert session.__static_key__() == ""
    if "api_key" not in arguments:
        try:
            named = ["--platform", arguments["platform"]] if "platform" in arguments else []
            token, _ = answer(["token", *named], environ, time.time())
        except FallThrough:
            assert case not in FAST
        else:
            assert (token, expected[0]) == (expected[2], L)


REFUSALS: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "a key of two platforms": ({"KIMI_API_KEY": "sk-1"}, {}, "moonshot-cn, moonshot-ai"),
    "an argument of two platforms": ({}, {"api_key": "sk-1"}, "moonshot-cn, moonshot-ai"),
    "an argument for another platform": ({}, {"api_key": "sk-1", "platform": "kimi-code"}, "not for Kimi Code"),
    "an address that is none": ({"KIMI_API_KEY": "sk-1", "KIMI_BASE_URL": "x"}, {}, "KIMI_BASE_URL"),
    "an address without TLS": ({"KIMI_API_KEY": "sk-1", "KIMI_BASE_URL": "http://x.example"}, {}, "KIMI_BASE_URL"),
    "a key with a line break": ({"KIMI_API_KEY": "sk-kimi-1\nsk-kimi-2"}, {}, "KIMI_API_KEY is not an API key"),
    "a key that is too long": ({"KIMI_API_KEY": "x" * 5000}, {}, "KIMI_API_KEY is not an API key"),
    "an inherited address of run": ({**RUN, "KIMI_API_KEY": "sk-1"}, {}, "moonshot-cn, moonshot-ai"),
    "an inherited address of another key": ({**KEY_RUN, "KIMI_API_KEY": "sk-1"}, {}, "moonshot-cn, moonshot-ai"),
    "the same with a slash": (
        {**KEY_RUN, "KIMI_API_KEY": "sk-1", "KIMI_BASE_URL": f" {GATEWAY}/"},
        {},
        "moonshot-cn, moonshot-ai",
    ),
    "run's address of an unknown platform": (
        {"KIMI_API_KEY": "sk-1", "KIMI_BASE_URL": GATEWAY, LENT: f"mine {key_fingerprint(JWT)} 0 0 {GATEWAY}"},
        {},
        "moonshot-cn, moonshot-ai",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_key_without_one_api_is_refused(tmp_path: Path, case: str) -> None:
    """A key whose API is not certain is sent nowhere; the error names variable and next step, and quotes no key."""
    environ, arguments, words = REFUSALS[case]
    with pytest.raises(ConfigError, match=words) as raised:
        Session.default(environ={**environ, "KIMI_SHARE_DIR": str(tmp_path)}, **arguments)
    assert raised.value.hint
    assert "sk-" not in raised.value.line


def test_a_mark_of_an_unknown_platform(tmp_path: Path) -> None:
    """The error names the variable that names the platform, and the way to the login."""
    environ = {**RUN, LENT: lent_mark("mine", key_fingerprint(JWT), 0.0, 0.0, KIMI), "KIMI_SHARE_DIR": str(tmp_path)}
    with pytest.raises(ConfigError, match=f"{LENT}: no platform is called 'mine'") as raised:
        Session.default(environ=environ)
    assert raised.value.hint == "use the login: unset KIMI_API_KEY"


def test_what_only_a_login_can_do(tmp_path: Path) -> None:
    """A key's session signs nothing in or out and writes no config.toml: nothing of the share directory changes."""
    session = Session.default(tmp_path, api_key="sk-kimi-1", environ={})
    for refused in (
        session.login(),
        session.login(api_key="sk-kimi-2"),
        session.logout(),
        session.models.sync(),
        session.models.sync_all(),
        session.access_token(refresh=True),
    ):
        with pytest.raises(ConfigError):
            asyncio.run(refused)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        session.logout_sync()
    assert list(tmp_path.iterdir()) == []


def test_a_key_alone(kimi: Run, emulator: Emulator, share_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CI job without a login: token, status, run, and the models where the API takes the key; nothing is stored."""
    monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-1")
    assert kimi("token").out == "sk-kimi-1\n"
    assert kimi("token", "--json").json["expires_at"] is None
    shown = kimi("status")
    assert "credential: the variable KIMI_API_KEY\n" in shown.out
    assert kimi("status", "--json").json["sources"]["credential"] == "KIMI_API_KEY"
    said = kimi("models")
    assert said.status == InvalidKey.exit_status
    assert "KIMI_API_KEY" in said.err
    found = child(kimi)
    assert (found["KIMI_API_KEY"], found["KIMI_BASE_URL"]) == ("sk-kimi-1", emulator.api_base)
    assert found[LENT].startswith(f"{PASSED_ON} ")
    assert "sk-kimi-1" not in found[LENT]
    assert not (share_dir / "credentials").exists()


def test_a_user_without_a_home(kimi: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user may have neither HOME nor an entry in the list of users: a key works, a login does not."""

    def no_home(path: object) -> Path:
        if str(path).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return Path(str(path))

    monkeypatch.delenv("KIMI_SHARE_DIR")
    monkeypatch.setattr("kimi_auth.files.expanded", no_home)
    assert kimi("token").status == 9
    monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-1")
    assert kimi("token").out == "sk-kimi-1\n"
    assert kimi("status", "--json").json["sources"]["credential"] == "KIMI_API_KEY"
    assert child(kimi)["KIMI_BASE_URL"] == emulator.api_base
    assert kimi("usage").status == InvalidKey.exit_status  # it was asked, with the key


def test_signing_in_is_the_logins(kimi: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key in the environment, login and logout still work on the login, and doctor says what comes first."""
    monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-1")
    assert kimi("login").status == 0
    assert kimi("token").out == "sk-kimi-1\n"
    said = kimi("doctor", "--json")
    (told,) = [each["evidence"] for each in said.json["checks"] if each["check"] == "credential chain"]
    assert told == "KIMI_API_KEY is set: token, run, status, models, me and usage use it instead of this login"
    monkeypatch.delenv("KIMI_API_KEY")
    assert kimi("token").out != "sk-kimi-1\n"
    monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-1")
    assert kimi("logout").status == 0


def child(kimi: Run, *options: str) -> dict[str, str]:
    """The environment of a program that `run` starts."""
    return dict(line.split("=", 1) for line in kimi("run", *options, "--", "env").out.splitlines() if "=" in line)


def test_a_child_of_run_uses_the_login(kimi: Run, age: Callable[[float], Token], share_dir: Path) -> None:
    """A program that outlives the token it was started with gets the renewed one, by the library and by `token`; one that
    cannot reach the login has the lent token, with its end."""
    kimi("login")
    age(100)
    environ = child(kimi)
    lent = environ["KIMI_API_KEY"]
    renewed = kimi("token", "--refresh").out.strip()
    assert renewed != lent
    within = os.environ | environ
    command = [sys.executable, "-m", "kimi_auth", "token"]
    assert subprocess.run(command, env=within, capture_output=True, text=True, check=True).stdout.strip() == renewed
    assert Session.default(environ=within).access_token_sync() == renewed
    alone = Session.default(share_dir / "elsewhere", environ=within)
    assert alone.access_token_sync() == lent
    assert 0 < alone.status().left_s <= 100
    again = {**within, "KIMI_SHARE_DIR": str(share_dir / "elsewhere")}
    command = [sys.executable, "-m", "kimi_auth", "run", "--", "env"]
    passed_on = subprocess.run(command, env=again, capture_output=True, text=True, check=True).stdout
    assert f"{LENT}={environ[LENT]}" in passed_on.splitlines()


def test_a_child_of_run_finds_a_home_that_an_option_named(kimi: Run, share_dir: Path) -> None:
    """`--home` leads the child there too: it uses the login, not the token that it was started with."""
    kimi("login")
    environ = child(kimi, "--home", str(share_dir))
    assert environ["KIMI_SHARE_DIR"] == str(share_dir)
    assert "KIMI_CODE_HOME" not in environ
    renewed = kimi("token", "--refresh").out.strip()
    assert Session.default(environ=os.environ | environ).access_token_sync() == renewed != environ["KIMI_API_KEY"]


@pytest.mark.parametrize(("end", "life"), [(float("inf"), 900.0), (float("nan"), -1.0), (1e300, 1e300), (-5.0, 0.0)])
def test_a_mark_with_an_end_that_is_none(end: float, life: float) -> None:
    """A record of another program may have any number: the mark stays readable, and the child's token has no end."""
    mark = lent_mark("kimi-code", key_fingerprint(JWT), end, life, KIMI)
    environ = {"KIMI_API_KEY": JWT, LENT: mark}
    lent = lent_token(environ, key_fingerprint)
    assert lent is not None
    assert (lent[0], lent[1], lent[2]) == (JWT, "kimi-code", 0.0)


def test_run_lends_a_login_only(kimi: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark holds no secret; an inherited one does not survive a key of the user's, which stays before the login."""
    kimi("login")
    environ = child(kimi)
    name, fp, _, _, base = environ[LENT].split(" ")
    assert (name, fp, base) == ("kimi-code", key_fingerprint(environ["KIMI_API_KEY"]), emulator.api_base)
    assert environ["KIMI_API_KEY"] not in environ[LENT]
    monkeypatch.setenv(LENT, environ[LENT])
    monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-1")
    environ = child(kimi)
    assert environ[LENT] == lent_mark(PASSED_ON, key_fingerprint("sk-kimi-1"), 0.0, 0.0, emulator.api_base)
    assert Session.default(environ=os.environ | environ).access_token_sync() == "sk-kimi-1"


@pytest.mark.parametrize("base", [None, GATEWAY], ids=["the platform's", "a gateway's"])
def test_an_address_of_run_is_for_its_key_only(
    kimi: Run, share_dir: Path, monkeypatch: pytest.MonkeyPatch, base: str | None
) -> None:
    """A child that sets another key never sends it to the address that `run` set, whatever platforms it knows."""
    monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-1")
    if base:
        monkeypatch.setenv("KIMI_BASE_URL", base)
    environ = child(kimi)
    same = Session.default(environ=os.environ | environ)
    assert (same.api_origin, same.access_token_sync()) == (environ["KIMI_BASE_URL"], "sk-kimi-1")
    for place in (share_dir, share_dir / "elsewhere"):
        other = {"KIMI_SHARE_DIR": str(place), "KIMI_API_KEY": "sk-moonshot-secret"}
        with pytest.raises(ConfigError, match="moonshot-cn, moonshot-ai"):
            Session.default(environ=os.environ | environ | other)


def lent(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    """A token that `run` lent to this process, which has no login."""
    monkeypatch.setenv("KIMI_API_KEY", JWT)
    mark = lent_mark("kimi-code", key_fingerprint(JWT), time.time() + 800, 900.0, base)
    monkeypatch.setenv(LENT, mark)


@pytest.mark.parametrize("is_lent", [False, True], ids=["key", "lent"])
def test_a_given_credential_has_no_home(
    kimi: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, *, is_lent: bool
) -> None:
    """The status names the variable, and no program's home."""
    monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-1")
    if is_lent:
        lent(monkeypatch, emulator.api_base)
    assert "home:" not in kimi("status").out
    told = kimi("status", "--json").json
    assert (told["home"], told["home_why"], told["other_home"]) == (None, None, None)


@pytest.mark.parametrize("is_lent", [False, True], ids=["key", "lent"])
def test_a_given_credential_that_is_refused(
    kimi: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, *, is_lent: bool
) -> None:
    """`status --verify` names the variable and the way back to the login; nothing offers a renewal, which is refused."""
    monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-1")
    if is_lent:
        lent(monkeypatch, emulator.api_base)
    emulator.state.inject(Fault("models", status=401, body="", times=None))
    said = kimi("status", "--verify")
    assert said.status == 1
    assert "rejected the variable KIMI_API_KEY" in said.err
    assert "unset KIMI_API_KEY" in said.err
    assert "--refresh" not in said.err + said.out
    said = kimi("token", "--refresh")
    assert (said.status, said.out) == (9, "")
    assert "is not renewed" in said.err
    assert "unset KIMI_API_KEY" in said.err
