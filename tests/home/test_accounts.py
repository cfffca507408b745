"""accounts.toml: which account is in use, in a file that may hold anything; and the two programs that read it agree."""

from __future__ import annotations

import json
import os
import pickle
import time
import tomllib
from pathlib import Path

import pytest

from kimi_auth import ConfigError, NoSuchAccount, Session
from kimi_auth.__main__ import FallThrough, answer
from kimi_auth.home import Accounts
from kimi_auth.home.accounts import accounts_text
from kimi_auth.selection import LABEL_MAX, accounts_written, is_label, login_name
from kimi_auth.session import components_of


@pytest.fixture
def share_dir(tmp_path: Path) -> Path:
    """A home with the logins of `default` (token "default"), `work` and `home`."""
    credentials = tmp_path / "share" / "credentials"
    credentials.mkdir(mode=0o700, parents=True)
    for label in ("default", "work", "home"):
        record = {"access_token": label, "refresh_token": "r", "expires_at": time.time() + 900, "expires_in": 900}
        (credentials / f"{login_name('kimi-code', label)}.json").write_text(json.dumps(record))
    return tmp_path / "share"


def write(share_dir: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = share_dir / "kimi-auth" / "accounts.toml"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


IN_USE = accounts_text({"kimi-code": "work"})
PRECEDENCE = [
    ("home", {"KIMI_AUTH_ACCOUNT": "work"}, IN_USE, ("home", "argument")),
    ("default", {"KIMI_AUTH_ACCOUNT": "work"}, IN_USE, ("default", "argument")),
    (None, {"KIMI_AUTH_ACCOUNT": "home"}, IN_USE, ("home", "KIMI_AUTH_ACCOUNT")),
    (None, {"KIMI_AUTH_ACCOUNT": " home "}, IN_USE, ("home", "KIMI_AUTH_ACCOUNT")),
    (None, {"KIMI_AUTH_ACCOUNT": "default"}, IN_USE, ("default", "KIMI_AUTH_ACCOUNT")),
    (None, {"KIMI_AUTH_ACCOUNT": " "}, IN_USE, ("work", "accounts.toml")),
    ("", {}, IN_USE, ("work", "accounts.toml")),
    (None, {}, "use = {kimi-code = 'home'} # by hand", ("home", "accounts.toml")),
    (None, {}, accounts_text({"kimi-code-global": "work"}), ("default", "default")),
    (None, {}, "", ("default", "default")),
    (None, {}, None, ("default", "default")),
]


@pytest.mark.parametrize(("argument", "environ", "text", "expected"), PRECEDENCE)
def test_precedence(
    share_dir: Path, argument: str | None, environ: dict[str, str], text: str | None, expected: tuple[str, str]
) -> None:
    """Option, variable, file, default: session, its copy by pickle, and the fast lane take the same account."""
    if text is not None:
        write(share_dir, text)
    environ = {"KIMI_SHARE_DIR": str(share_dir), **environ}
    session = Session(account=argument, environ=environ)
    status = session.status()
    assert (status.label, status.sources["account"]) == expected
    assert session.access_token_sync() == expected[0]
    write(share_dir, accounts_text({"kimi-code": "default" if expected[0] != "default" else "work"}))
    copy = pickle.loads(pickle.dumps(session))
    assert copy.access_token_sync() == expected[0], "the copy opens the same login, whatever is in use by then"
    if text is None:
        (share_dir / "kimi-auth" / "accounts.toml").unlink()
    else:
        write(share_dir, text)
    args = ["token", *(["--account", argument] if argument else [])]
    try:
        assert answer(args, environ, time.time())[0] == expected[0]
    except FallThrough:
        assert text is not None
        assert accounts_written(text) is None, "the fast lane reads every file that we write"


HOSTILE = {
    "a bad label": '[use]\nkimi-code = "../x"\n',
    "a label in capitals": '[use]\nkimi-code = "Work"\n',
    "an endless label": f'[use]\nkimi-code = "{"a" * (LABEL_MAX + 1)}"\n',
    "an empty label": '[use]\nkimi-code = ""\n',
    "a number": "[use]\nkimi-code = 1\n",
    "no table": "use = 1\n",
    "no TOML": "[use\n",
    "no UTF-8": b"\xff",
    "nested": b"use = " + b"[" * 5000,
    "huge": b"#" * (1 << 17),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_file_that_says_nothing_certain(share_dir: Path, text: str | bytes) -> None:
    """It is an error with a next step, and never the token of another account; an account that is named needs no file."""
    write(share_dir, text)
    environ = {"KIMI_SHARE_DIR": str(share_dir)}
    with pytest.raises(ConfigError, match=r"accounts\.toml") as raised:
        Session(environ=environ)
    assert "accounts use NAME" in raised.value.hint
    with pytest.raises(FallThrough):
        answer(["token"], environ, time.time())
    assert Session(account="work", environ=environ).access_token_sync() == "work"
    assert answer(["token", "--account", "work"], environ, time.time())[0] == "work"


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "fifo", "others write", "group writes", "loop"])
def test_a_file_that_is_none_of_ours(share_dir: Path, kind: str) -> None:
    """A link, another kind of file, or one that others may write to is refused, and nothing waits for it."""
    path = write(share_dir, IN_USE)
    if kind in {"others write", "group writes"}:
        path.chmod(0o602 if kind == "others write" else 0o620)
    else:
        path.rename(path.with_name("real.toml"))
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif "link" in kind or kind == "loop":
        path.symlink_to({"link": "real.toml", "dangling link": "nothing", "loop": "accounts.toml"}[kind])
    environ = {"KIMI_SHARE_DIR": str(share_dir)}
    with pytest.raises(ConfigError, match=r"accounts\.toml"):
        Session(environ=environ)
    with pytest.raises(FallThrough):
        answer(["token"], environ, time.time())


def test_what_is_written_is_toml() -> None:
    """Our own form is read without a TOML parser, and a TOML parser reads the same in it."""
    for in_use in ({}, {"kimi-code": "work"}, {"kimi-code": "a-1", "kimi-code-global": "0", "1": "b"}):
        text = accounts_text(in_use)
        assert accounts_written(text) == in_use
        assert tomllib.loads(text)["use"] == in_use
    for text in (
        "x = 1",
        "[use]\n[use]",
        '[use]\na = "b"\na = "c"',
        '[use]\na="b"',
        '[use]\na = "b" # c',
        "[use]\na = b",
    ):
        assert accounts_written(text) is None


@pytest.mark.parametrize("label", ["", "A", "a b", "a/b", "..", "a.b", "a@b", "ä", "a\n", "x" * (LABEL_MAX + 1)])
def test_no_possible_name(share_dir: Path, label: str) -> None:
    """Every name becomes part of a file's name, so few characters are taken; a variable is checked as an argument is."""
    assert not is_label(label)
    if label:
        with pytest.raises(NoSuchAccount, match="cannot be the name of an account"):
            Session(share_dir, account=label, environ={})
    if label.strip() and not is_label(label.strip()):
        with pytest.raises(NoSuchAccount):
            Session(share_dir, environ={"KIMI_AUTH_ACCOUNT": label})
        with pytest.raises(FallThrough):
            answer(["token"], {"KIMI_SHARE_DIR": str(share_dir), "KIMI_AUTH_ACCOUNT": label}, time.time())
    assert is_label("x" * LABEL_MAX)


def test_the_accounts_that_are_there(share_dir: Path) -> None:
    """The unlabelled one first; files of other platforms, sidecars and names that no account can have are not listed."""
    for name in ("kimi-code@.json", "kimi-code@A.json", "kimi-code@b.lock", "kimi-code-global@c.json", "x@y.json"):
        (share_dir / "credentials" / name).write_text("{}")
    accounts = Accounts(share_dir)
    assert accounts.labels("kimi-code") == ["default", "home", "work"]
    assert accounts.labels("kimi-code-global") == ["c"]
    assert Accounts(share_dir / "nowhere").labels("kimi-code") == []


def test_a_home_of_kimi_code_holds_one(tmp_path: Path) -> None:
    """There an account that is named is refused, by argument and by variable; a home that was only found gives way to ours."""
    with pytest.raises(NoSuchAccount, match="two accounts are two homes") as raised:
        Session(home="kimi-code", account="work", environ={"HOME": str(tmp_path)})
    assert raised.value.exit_status == 2
    with pytest.raises(NoSuchAccount) as raised:
        Session(home="kimi-code", environ={"KIMI_AUTH_ACCOUNT": "work"})
    assert raised.value.hint == "run: unset KIMI_AUTH_ACCOUNT"
    home = Session(home="kimi-code", environ={})
    assert (home.status().label, components_of(home).account) == ("", "")


def test_an_api_key_has_no_accounts(tmp_path: Path) -> None:
    """An account that is named by an argument is refused; a variable, which is for logins, says nothing of it."""
    with pytest.raises(NoSuchAccount, match="takes an API key"):
        Session(tmp_path, platform="moonshot-ai", account="work", environ={})
    assert Session(tmp_path, platform="moonshot-ai", environ={"KIMI_AUTH_ACCOUNT": "work"}).status().label == ""


def test_a_named_account_comes_before_a_key(share_dir: Path) -> None:
    """Session.default: an account that is named is the login's, whatever key a variable has; with a key of an argument it is
    a contradiction."""
    environ = {"KIMI_API_KEY": "sk-kimi-abc", "KIMI_SHARE_DIR": str(share_dir)}
    assert Session.default(account="work", environ=environ).access_token_sync() == "work"
    assert Session.default(environ=environ).access_token_sync() == "sk-kimi-abc"
    with pytest.raises(ValueError, match="account="):
        Session.default(account="work", api_key="sk-kimi-abc", environ=environ)
