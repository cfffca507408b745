"""Who is signed in: `me`, `usage`, the end of a login, and the status."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.models.kept_account import KeptAccount, SignIn, subject_of
from kimi_auth.platforms import registry
from kimi_auth.store import FileStore
from kimi_auth.testing.emulator import Emulator
from kimi_auth.testing.emulator.faults import Fault
from kimi_auth.token import Token

Run = Callable[..., Any]

ME = {"id": "user-1000001", "nickname": "Emulated user", "region": "REGION_CN", "level": "Allegretto"}


def test_me(kimi: Run, emulator: Emulator) -> None:
    """As lines and as JSON, with every key in it; without a login: exit 3."""
    assert kimi("me").status == kimi("usage").status == 3
    kimi("login")
    assert "nickname: Emulated user\n" in kimi("me").out
    told = kimi("me", "--json").json
    assert told == {
        "platform": "kimi-code",
        "api_base": emulator.api_base,
        **ME,
        "email": "user@example.com",
        "phone": None,
    }


def test_usage(kimi: Run, emulator: Emulator) -> None:
    """The remaining part of each limit."""
    kimi("login")
    assert "5 h: 100% left, 200 of 200\n" in kimi("usage").out
    told = kimi("usage", "--json").json
    assert told.keys() == {"platform", "api_base", "level", "parallel", "limits"}
    assert told["limits"][1] == {
        "name": "5 h",
        "window_s": 18_000,
        "limit": 200,
        "used": 0,
        "remaining": 200,
        "left_share": 1,
        "resets_at": None,
    }


FAULTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no membership": ({"status": 402, "body": {"error": {"message": "pay"}}}, 1, "pay"),
    "a server error": ({"status": 503}, 5, "HTTP 503"),
    "a page": ({"status": 200, "body": "<html>WiFi</html>", "headers": {"Content-Type": "text/html"}}, 5, "WiFi"),
    "another object": ({"status": 200, "body": {"x": 1}}, 5, "does not say"),
    "an error in a 200": ({"status": 200, "body": {"error": "no"}}, 5, "says nothing of the account"),
    "terminal codes": ({"status": 500, "body": "\x1b[2J\u202e"}, 5, "HTTP 500"),
}


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.parametrize("command", ["me", "usage"])
def test_what_a_server_may_answer(kimi: Run, emulator: Emulator, command: str, case: str) -> None:
    """One line that says what came, with an exit status of its kind; the login is untouched."""
    fault, status, words = FAULTS[case]
    kimi("login")
    token = kimi("token").out
    emulator.state.inject(Fault("usages" if command == "usage" else "me", **fault))
    said = kimi(command)
    assert (said.status, said.out) == (status, "")
    assert words in said.err
    assert "\x1b" not in said.err
    assert kimi("token").out == token


def test_a_rejected_token_is_replaced_once(kimi: Run, emulator: Emulator) -> None:
    """A 401 renews, and the answer comes; one that goes on ends after that one try."""
    kimi("login")
    emulator.state.inject(Fault("me", status=401))
    assert kimi("me").status == 0
    emulator.state.inject(Fault("usages", status=401, times=None))
    assert kimi("usage").status == 1
    assert emulator.state.counts["rotations"] <= 2


def test_a_member_that_repeats_the_token_is_left_out(kimi: Run, emulator: Emulator) -> None:
    """A member that repeats the bearer is printed nowhere; the others are."""
    kimi("login")
    token = kimi("token").out.strip()
    emulator.state.inject(Fault("me", status=200, body={"nickname": f"x {token}", "user_id": "u"}))
    said = kimi("me", "--json")
    assert (said.json["id"], said.json["nickname"]) == ("u", None)
    assert token not in said.out + said.err


def test_a_platform_that_does_not_say(kimi: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moonshot's platform has neither: nothing is asked."""
    monkeypatch.setenv("KIMI_API_KEY", "sk-1")
    for command in ("me", "usage"):
        said = kimi(command, "--platform", "moonshot-ai")
        assert (said.status, said.out) == (9, "")
        assert "does not say" in said.err


def test_a_key_that_is_refused(kimi: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable, not a login."""
    monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-1")
    said = kimi("usage")
    assert said.status == 4
    assert "unset KIMI_API_KEY" in said.err


# --- at sign-in ------------------------------------------------------------------------------------------------------


def asked(emulator: Emulator) -> list[str]:
    return [str(entry["endpoint"]) for entry in emulator.state.log]


def test_a_login_says_who_it_is(kimi: Run, emulator: Emulator) -> None:
    """The last line and the last event name the account; the status too, without a request, through a renewal; a logout
    forgets it."""
    assert "Signed in to Kimi Code as Emulated user." in kimi("login").out
    before = len(emulator.state.log)
    assert "who: Emulated user" in kimi("status").out
    assert kimi("status", "--json").json["account"] == "Emulated user"
    assert len(emulator.state.log) == before
    kimi("token", "--refresh")
    assert kimi("status", "--json").json["account"] == "Emulated user"
    assert kimi("login", "--json").events[-1]["data"]["account"] == "Emulated user"
    assert kimi("login", "--json", "--force").events[-1]["data"]["account"] == "Emulated user"
    kimi("logout")
    assert kimi("status", "--json").json["account"] is None


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 401}, {"drop": "after"}, {"status": 200, "body": "x"}], ids=str
)
def test_an_unknown_name_fails_no_login(kimi: Run, emulator: Emulator, fault: dict[str, Any]) -> None:
    """Whatever `/me` answers, the login ends well; the name of the login before is not shown for the new one."""
    kimi("login")
    emulator.state.inject(Fault("me", **fault))
    said = kimi("login", "--force")
    assert said.status == 0
    assert " as " not in said.out
    assert kimi("status", "--json").json["account"] is None


def test_a_hostile_name(kimi: Run, emulator: Emulator) -> None:
    """A name draws nothing on the terminal and is not longer than a line."""
    emulator.state.inject(Fault("me", status=200, body={"nickname": "\x1b[2J\u202e" + "x" * 5000, "user_id": "u"}))
    said = kimi("login")
    assert said.status == 0
    shown = said.out + kimi("status").out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "x" * 101 not in shown


# --- where it is kept ------------------------------------------------------------------------------------------------

KIMI = registry.get("kimi-code")


def jwt(**claims: object) -> Token:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return Token(f"eyJ.{body}.sig", "r", 0.0, 0.0)


def test_the_login_of_another_account(tmp_path: Path) -> None:
    """A login that another program made has no name here where its token names another account."""
    kept = KeptAccount(tmp_path, KIMI)
    kept.keep(jwt(sub="u1"), "Li", 5.0)
    assert kept.recall(jwt(sub="u1", exp=1)) == SignIn("Li", 5.0)
    assert kept.recall(jwt(sub="u2")) == SignIn()
    assert kept.recall(Token("opaque", "", 0.0, 0.0)) == SignIn()
    (file,) = (tmp_path / "kimi-auth" / "accounts").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"\xff", b"[" * 4000, b'{"v": 1, "issuer": "x", "name": 1}', b" " * 5000, b'{"v": 2}'],
    ids=repr,
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    """It counts as absent."""
    kept = KeptAccount(tmp_path, KIMI)
    kept.keep(Token("opaque", "", 0.0, 0.0), "Li", 5.0)
    (file,) = (tmp_path / "kimi-auth" / "accounts").iterdir()
    file.write_bytes(content)
    assert kept.recall(Token("opaque", "", 0.0, 0.0)) == SignIn()


@pytest.mark.parametrize(
    ("token", "subject"),
    [
        ("a.b.c", ""),
        ("a.e30.c", ""),
        ("a.bnVsbA.c", ""),
        ("a.é.c", ""),
        ("a..c", ""),
        (f"a.{'x' * 20_000}.c", ""),
        ("opaque", ""),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_token_without_a_subject(token: str, subject: str) -> None:
    """A token that is no JWT claims nothing."""
    assert subject_of(Token(token, "", 0.0, 0.0)) == subject


def test_nothing_is_kept_for_another_store(tmp_path: Path, store: FileStore) -> None:
    """A login that is not in files leaves no name in a share directory."""
    from kimi_auth import Session
    from kimi_auth.clock import SystemClock
    from kimi_auth.session import components_of
    from kimi_auth.store import MemoryStore

    session = Session(tmp_path, store=MemoryStore(SystemClock()), environ={})
    assert components_of(session).kept_account is None
    assert session.status().account == ""
