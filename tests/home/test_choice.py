"""Which home is worked on: the rule as a table, and what every command and session makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kimi_auth import AmbiguousHome, ConfigError, Session
from kimi_auth.__main__ import FallThrough, answer
from kimi_auth.home import choose, holds_login, other_login
from kimi_auth.selection import LENT, lent_mark
from kimi_auth.session import components_of
from kimi_auth.token import key_fingerprint

HOMES = ("kimi", "kimi-code")


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without any login; no variable names a home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KIMI_SHARE_DIR", "KIMI_CODE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def sign_in(person: Path, record: Callable[..., str]) -> Callable[[str], None]:
    """Puts a record into one of the two usual homes."""

    def put(home: str) -> None:
        folder = person / f".{home}" / "credentials"
        folder.mkdir(mode=0o700, parents=True)
        (folder / "kimi-code.json").write_text(record())
        (folder / "kimi-code.json").chmod(0o600)

    return put


BY_ITSELF = [
    # who holds a login, does the caller only use it: the kind, its source, the other home is named
    ((), True, ("kimi-cli", "default", False)),
    (("kimi",), True, ("kimi-cli", "default", False)),
    (("kimi-code",), True, ("kimi-code", "login", False)),
    (("kimi-code",), False, ("kimi-cli", "default", True)),
    (("kimi", "kimi-code"), True, ("kimi-cli", "default", True)),
    (("kimi", "kimi-code"), False, ("kimi-cli", "default", True)),
]


@pytest.mark.parametrize(("holders", "reads", "expected"), BY_ITSELF)
def test_without_a_word(
    person: Path,
    sign_in: Callable[[str], None],
    holders: tuple[str, ...],
    reads: bool,
    expected: tuple[str, str, bool],
) -> None:
    """Who only uses a login takes the only home that holds one; who signs in or out never takes kimi-code's by itself."""
    for home in holders:
        sign_in(home)
    found = choose({}, reads=reads)
    assert (found.kind.name, found.source, other_login(found, {}) is not None) == expected


NAMED = [
    ({}, "kimi-cli", ("kimi-cli", "~/.kimi", "argument")),
    ({}, "kimi-code", ("kimi-code", "~/.kimi-code", "argument")),
    ({"KIMI_CODE_HOME": "/c"}, "kimi-code", ("kimi-code", "/c", "argument")),
    ({"KIMI_CODE_HOME": "/c", "KIMI_SHARE_DIR": "/s"}, "kimi-cli", ("kimi-cli", "/s", "argument")),
    ({"KIMI_CODE_HOME": "/c", "KIMI_SHARE_DIR": "/s"}, "/d", ("kimi-cli", "/d", "argument")),
    ({"KIMI_SHARE_DIR": "/s"}, None, ("kimi-cli", "/s", "KIMI_SHARE_DIR")),
    ({"KIMI_CODE_HOME": "/c"}, None, ("kimi-code", "/c", "KIMI_CODE_HOME")),
    ({"KIMI_CODE_HOME": "/c", "KIMI_SHARE_DIR": ""}, None, ("kimi-code", "/c", "KIMI_CODE_HOME")),
    ({"KIMI_CODE_HOME": "/c", "KIMI_SHARE_DIR": "/c/"}, None, ("kimi-code", "/c", "KIMI_CODE_HOME")),
]


@pytest.mark.parametrize(("environ", "given", "expected"), NAMED)
def test_with_a_word(person: Path, environ: dict[str, str], given: str | None, expected: tuple[str, str, str]) -> None:
    """Option before variable; both variables may name one directory, which then has two locks."""
    found = choose(environ, given)
    assert (found.kind.name, str(found.path), found.source) == (
        expected[0],
        expected[1].replace("~", str(person)),
        expected[2],
    )


def test_two_homes(person: Path) -> None:
    """Two variables that name two homes: nothing is guessed, and the exit status is 2."""
    with pytest.raises(AmbiguousHome) as told:
        choose({"KIMI_SHARE_DIR": "/s", "KIMI_CODE_HOME": "/c"})
    assert told.value.exit_status == 2
    assert "--home" in told.value.hint


MARKS = [
    (("oauth/", "updates/"), "", "kimi-code"),
    (("tui.toml", "region"), "", "kimi-code"),
    (("session_index.jsonl",), "", "kimi-cli"),
    (("tui.toml",), '[providers.x.oauth]\noauth_host = "https://h"\n', "kimi-code"),
    (("tui.toml",), '[models.x]\nsupport_efforts = ["low"]\n', "kimi-code"),
    ((), '[models.x]\nsupport_efforts = ["low"]\n', "kimi-cli"),
    (("tui.toml",), "not toml", "kimi-cli"),
    (("kimi.json", "sessions/"), "", "kimi-cli"),
]


@pytest.mark.parametrize(("names", "config", "kind"), MARKS)
def test_how_a_home_looks(person: Path, names: tuple[str, ...], config: str, kind: str) -> None:
    """Two marks of kimi-code's home are enough, however it was named: a variable of ours leads to both locks."""
    home = person / "somewhere"
    home.mkdir()
    for name in names:
        (home / name).mkdir() if name.endswith("/") else (home / name).touch()
    (home / "config.toml").write_text(config)
    for found in (choose({"KIMI_SHARE_DIR": str(home)}), choose({}, home)):
        assert found.kind.name == kind
        assert bool(found.why) == (kind == "kimi-code")
    locks = components_of(Session(home, environ={})).store._layout.peer_lock  # type: ignore[attr-defined]
    assert (locks is not None) == (kind == "kimi-code")


def test_who_holds_a_login(person: Path, record: Callable[..., str]) -> None:
    """A tombstone is no login; an unreadable record counts as one, and so does a key in a config.toml of ours."""
    ours, theirs = choose({}, "kimi-cli"), choose({}, "kimi-code")
    for home in (ours, theirs):
        (home.path / "credentials").mkdir(mode=0o700, parents=True)
        place = home.path / "credentials" / "kimi-code.json"
        for text, is_login in ((record(), True), ('{"access_token": "", "refresh_token": ""}', False), ("{", True)):
            place.write_text(text)
            assert holds_login(home) == is_login
        place.write_text('{"access_token": "", "refresh_token": ""}')
        (home.path / "config.toml").write_text('[providers."managed:moonshot-ai"]\napi_key = "k"\n')
    assert (holds_login(ours), holds_login(theirs)) == (True, False)


@pytest.mark.parametrize("call", ["login_sync", "logout_sync"])
def test_a_found_login_is_only_used(sign_in: Callable[[str], None], call: str) -> None:
    """A session that found kimi-code's login hands out its token; to sign in or out there, it must be named."""
    sign_in("kimi-code")
    session = Session(environ={})
    assert session.access_token_sync() == Session.default(environ={}).access_token_sync() == "access-1"
    assert session.status().sources["share_dir"] == "login"
    with pytest.raises(ConfigError, match="kimi-code"):
        getattr(session, call)()
    assert Session(environ={}).access_token_sync() == "access-1"


def test_a_platform_that_a_found_home_cannot_hold(sign_in: Callable[[str], None]) -> None:
    """An API key of another platform is looked for in our own home, by a session and by a child of run."""
    sign_in("kimi-code")
    assert Session(platform="moonshot-cn", environ={}).status().home == "kimi-cli"
    mark = lent_mark("moonshot-cn", key_fingerprint("sk-lent"), 0.0, 0.0, "https://api.moonshot.cn/v1")
    child = {"KIMI_API_KEY": "sk-lent", "KIMI_BASE_URL": "https://api.moonshot.cn/v1", LENT: mark}
    session = Session.default(environ=child)
    assert (session.access_token_sync(), session.platform.id) == ("sk-lent", "moonshot-cn")


def test_one_name() -> None:
    """A session takes the directory by one of its two names."""
    with pytest.raises(ValueError, match="one of them"):
        Session("/a", home="/b")


@pytest.mark.parametrize("name", ["oauth", "tui.toml", "session_index.jsonl", "region", "updates"])
def test_the_fast_lane_steps_aside(tmp_path: Path, record: Callable[..., str], name: str) -> None:
    """For a home that may be kimi-code's, whose login may have another name, and for a variable that names one."""
    (tmp_path / "credentials").mkdir(mode=0o700)
    place = tmp_path / "credentials" / "kimi-code.json"
    place.write_text(record(expires_at=1_000_900))
    place.chmod(0o600)
    environ = {"KIMI_SHARE_DIR": str(tmp_path)}
    assert answer(["token"], environ, 1_000_000.0) == ("access-1", False)
    with pytest.raises(FallThrough):
        answer(["token"], environ | {"KIMI_CODE_HOME": "/c"}, 1_000_000.0)
    (tmp_path / name).touch()
    with pytest.raises(FallThrough):
        answer(["token"], environ, 1_000_000.0)


def test_a_session_says_it(code_home: Path, record: Callable[..., str]) -> None:
    """Status names the home, the reason, and the other one that holds a login too, however the first one was named."""
    (code_home / "credentials/kimi-code.json").write_text(record())
    status = Session(home=code_home, environ={}).status()
    assert (status.home, status.state, status.other_home) == ("kimi-code", "expiring", "")
    named = {"KIMI_SHARE_DIR": str(code_home.parent / "cli")}
    assert Session(home=code_home, environ=named).status().other_home == ""
    copy = code_home.parent / "cli/credentials/kimi-code.json"
    copy.parent.mkdir(parents=True)
    copy.write_text(record())
    assert Session(home=code_home, environ=named).status().other_home == named["KIMI_SHARE_DIR"]
    assert "tui.toml" in status.home_why
    assert json.loads((code_home / "credentials/kimi-code.json").read_text())["expires_in"] == 900


def test_in_the_kimi_cli(code_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Kimi CLI's host never follows kimi-code's variable; where its own leads to such a home, both locks are taken."""
    from kimi_auth.compat import host
    from kimi_auth.compat.credentials import OAuthRef, _store

    monkeypatch.setenv("KIMI_CODE_HOME", str(code_home))
    monkeypatch.setenv("KIMI_SHARE_DIR", str(tmp_path / "cli"))
    assert host.share_dir() == tmp_path / "cli"
    assert _store(OAuthRef("file", "oauth/kimi-code"))._layout.peer_lock is None
    monkeypatch.setenv("KIMI_SHARE_DIR", str(code_home))
    assert _store(OAuthRef("file", "oauth/kimi-code"))._layout.peer_lock is not None
