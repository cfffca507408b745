"""Several accounts of one platform on the command line: `accounts`, `--account`, `status --all`, `logout --all`."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from crash.at_every_call import killed_before
from house.patience import NO_LIMIT_S

from kimi_auth.accounts import rename_account, use_account
from kimi_auth.cli.completion import complete_accounts
from kimi_auth.clock import SystemClock
from kimi_auth.errors import NoSuchAccount
from kimi_auth.session import Session, components_of
from kimi_auth.store import FileStore
from kimi_auth.testing.emulator import Emulator
from kimi_auth.token import Token

Run = Callable[..., Any]


def store_of(share_dir: Path, label: str) -> FileStore:
    return FileStore(share_dir, f"oauth/kimi-code@{label}" if label else "oauth/kimi-code", clock=SystemClock())


def config(share_dir: Path) -> dict[str, Any]:
    return tomllib.loads((share_dir / "config.toml").read_text())


def keys_in_config(share_dir: Path) -> set[str]:
    """The credentials that config.toml refers to."""
    found = config(share_dir)
    entries = [*found.get("providers", {}).values(), *found.get("services", {}).values()]
    return {entry["oauth"]["key"] for entry in entries if "oauth" in entry}


@pytest.fixture
def two(kimi: Run, emulator: Emulator, share_dir: Path) -> Run:
    """Signed in without a label, which is in use and has the provider, and as `work`."""
    assert kimi("login").status == 0
    said = kimi("login", "--account", "work")
    assert said.status == 0
    assert "This is the account work; it is not the one in use. Use it: kimi-auth accounts use work" in said.out
    assert "kimi-auth logout --account work" in said.out
    return kimi


def test_a_second_login_adds(two: Run, share_dir: Path) -> None:
    """Both are signed in, and config.toml is that of the one in use."""
    assert keys_in_config(share_dir) == {"oauth/kimi-code"}
    found = two("accounts", "--json").json["accounts"]
    assert [(one["label"], one["in_use"], one["state"]) for one in found] == [
        ("default", True, "fresh"),
        ("work", False, "fresh"),
    ]
    assert len({one["fp"] for one in found}) == 2
    assert all(one["account"] == "Emulated user" and one["signed_in_at"] > time.time() - 600 for one in found)
    assert two("token").out != two("token", "--account", "work").out


def test_use(two: Run, share_dir: Path) -> None:
    """The account in use has provider and services, and every command takes it; what config.toml said besides is kept."""
    before = config(share_dir)
    work = two("token", "--account", "work").out
    said = two("accounts", "use", "work")
    assert (said.status, said.err) == (0, "")
    assert "work is in use" in said.out
    assert keys_in_config(share_dir) == {"oauth/kimi-code@work"}
    assert json.loads(json.dumps(config(share_dir)).replace("kimi-code@work", "kimi-code")) == before
    assert '[use]\nkimi-code = "work"' in (share_dir / "kimi-auth" / "accounts.toml").read_text()
    assert two("token").out == work
    assert two("status", "--json").json["label"] == "work"
    assert "account: work  (accounts.toml)  (in use)" in two("status").out
    again = two("accounts", "use", "work", "--json").json
    assert again == {"platform": "kimi-code", "in_use": "work", "config_written": False, "configured": True}
    assert two("accounts", "use", "default").status == 0
    assert keys_in_config(share_dir) == {"oauth/kimi-code"}
    assert config(share_dir) == before


def test_logout_of_each(two: Run, share_dir: Path) -> None:
    """The one that is not in use goes without a word in config.toml; the one in use takes its provider along."""
    text = (share_dir / "config.toml").read_bytes()
    assert two("logout", "--account", "work").status == 0
    assert (share_dir / "config.toml").read_bytes() == text
    assert two("token").status == 0
    assert two("token", "--account", "work").status == 3
    assert two("login", "--account", "work").status == 0
    assert two("accounts", "use", "work").status == 0
    assert two("logout", "--account", "default").status == 0
    assert keys_in_config(share_dir) == {"oauth/kimi-code@work"}
    assert two("logout").status == 0
    left = config(share_dir) if (share_dir / "config.toml").exists() else {}
    assert not left.get("providers")


def test_the_undo_belongs_to_the_provider(kimi: Run, share_dir: Path) -> None:
    """One account signs in, another comes into use, that one signs out: config.toml is the user's again, byte by byte."""
    share_dir.mkdir(mode=0o700)
    own = b'# mine\n[providers.mine]\ntype = "openai_legacy"\nbase_url = "https://x.example"\napi_key = "k"\n'
    (share_dir / "config.toml").write_bytes(own)
    assert kimi("login").status == kimi("login", "--account", "work").status == 0
    assert kimi("accounts", "use", "work").status == kimi("logout", "--account", "work").status == 0
    assert (share_dir / "config.toml").read_bytes() == own


def test_a_provider_that_another_program_gave_back(two: Run, share_dir: Path) -> None:
    """The Kimi CLI's own /login names the unlabelled login: status and doctor say so, and `use` puts it right."""
    assert two("accounts", "use", "work").status == 0
    text = (share_dir / "config.toml").read_text()
    (share_dir / "config.toml").write_text(text.replace("kimi-code@work", "kimi-code"))
    doctor = two("doctor")
    assert "config.toml names the account default, and work is in use" in doctor.out
    assert "next    account: kimi-auth accounts use work" in doctor.out
    assert two("logout", "--account", "work").status == 0, "it takes out what is its own"
    assert keys_in_config(share_dir) == {"oauth/kimi-code"}


def test_rename(two: Run, share_dir: Path) -> None:
    """The pair, its name and what refers to it get the new name; the old one is free again."""
    assert two("accounts", "use", "work").status == 0
    fp = two("status", "--json").json["fp"]
    said = two("accounts", "rename", "work", "office", "--json").json
    assert said == {"platform": "kimi-code", "from": "work", "to": "office", "fp": fp, "in_use": True}
    assert keys_in_config(share_dir) == {"oauth/kimi-code@office"}
    found = {one["label"]: one for one in two("accounts", "--json").json["accounts"]}
    assert set(found) == {"default", "office"}
    assert (found["office"]["in_use"], found["office"]["account"]) == (True, "Emulated user")
    assert two("accounts", "rename", "default", "home").status == 0
    assert two("token", "--account", "home").status == 0
    assert two("accounts", "rename", "office", "home").status == 9
    assert two("accounts", "rename", "home", "default").status == 0
    assert two("token", "--refresh").status == 0
    walks = share_dir / "kimi-auth" / "walks" / "kimi-code@office"
    assert list(walks.glob("*.ndjson"))
    assert "last walks" in two("doctor").out


WRONG = {
    "no such account": (("accounts", "use", "nope"), 2, "kimi-auth login --account nope"),
    "rename of none": (("accounts", "rename", "nope", "x"), 2, "there is no account nope"),
    "rename to itself": (("accounts", "rename", "work", "work"), 2, "its name already"),
    "no name": (("accounts", "use"), 2, "kimi-auth accounts use NAME"),
    "one name": (("accounts", "rename", "work"), 2, "kimi-auth accounts rename OLD NEW"),
    "a list of one": (("accounts", "list", "work"), 2, "list takes no name"),
    "no such action": (("accounts", "remove", "work"), 2, "see: kimi-auth accounts --help"),
    "capitals": (("accounts", "use", "Work"), 2, "a-z, 0-9 and -"),
    "empty": (("token", "--account", ""), 2, "cannot be the name of an account"),
    "a path": (("login", "--account", "../x"), 2, "cannot be the name of an account"),
    "a key's": (("token", "--platform", "moonshot-ai", "--account", "work"), 2, "leave out --account"),
    "kimi-code's": (("token", "--home", "kimi-code", "--account", "work"), 2, "two accounts are two homes"),
    "use in kimi-code's": (("accounts", "use", "work", "--home", "kimi-code"), 2, "two accounts are two homes"),
    "all and one": (("status", "--all", "--account", "work"), 2, "--all and --account"),
    "all and verify": (("status", "--all", "--verify"), 2, "--all and --verify"),
    "end all and one": (("logout", "--all", "--account", "work"), 2, "--all and --account"),
    "yes alone": (("logout", "--yes"), 2, "--yes goes with --all"),
    "no terminal": (("logout", "--all"), 2, "kimi-auth logout --all --yes"),
    "not in use": (("models", "sync", "--account", "work"), 9, "kimi-auth accounts use work"),
    "not signed in": (("token", "--account", "nope"), 3, "kimi-auth login --account nope"),
    "unknown platform": (("accounts", "list", "--platform", "nope"), 2, "nope"),
}


@pytest.mark.parametrize(("args", "status", "told"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong(
    kimi: Run, emulator: Emulator, share_dir: Path, args: tuple[str, ...], status: int, told: str
) -> None:
    """One line with the next step, the right exit status, and nothing has changed."""
    emulator.sign_in(share_dir)
    emulator.sign_in(share_dir, account="work")
    before = {path: path.read_bytes() for path in share_dir.rglob("*") if path.is_file()}
    said = kimi(*args)
    assert (said.status, said.err.count("\n")) == (status, 1), said
    assert told in said.err
    after = {path: path.read_bytes() for path in share_dir.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert {path: before[path] for path in after if path.parent.name == "credentials"} == {
        path: data for path, data in after.items() if path.parent.name == "credentials"
    }
    assert not (share_dir / "kimi-auth" / "accounts.toml").exists()


def test_whose_token_it_is(two: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, unless an option has named the account: from the full program and from the fast lane alike."""
    from kimi_auth.__main__ import main as fast

    assert two("token").err == ""
    assert two("token", "--account", "work").err == ""
    monkeypatch.setenv("KIMI_AUTH_ACCOUNT", "work")
    said = two("token", "--json")
    assert said.err == "kimi-auth: this token is of the account work (KIMI_AUTH_ACCOUNT)\n"
    monkeypatch.delenv("KIMI_AUTH_ACCOUNT")
    assert two("accounts", "use", "work").status == 0
    assert two("token").err == "kimi-auth: this token is of the account work (accounts.toml)\n"
    read, write = os.pipe()
    saved = os.dup(2), os.dup(1)
    os.dup2(write, 2), os.dup2(write, 1)
    try:
        assert fast(["token", "--platform", "kimi-code"]) == 0
    finally:
        os.dup2(saved[0], 2), os.dup2(saved[1], 1)
        for number in (*saved, write):
            os.close(number)
    told = os.read(read, 1 << 16).decode()
    os.close(read)
    assert told.endswith("kimi-auth: this token is of the account work (accounts.toml)\n")


def test_a_variable_that_comes_first(two: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch that this shell would not notice says so; status names both."""
    monkeypatch.setenv("KIMI_AUTH_ACCOUNT", "default")
    assert "KIMI_AUTH_ACCOUNT=default is set here, and comes first" in two("accounts", "use", "work").err
    assert "account: default  (KIMI_AUTH_ACCOUNT)  (in use is work)" in two("status").out


def test_run_passes_it_on(two: Run) -> None:
    """A child finds the login that its token is from, also after another account has come into use."""
    child = [
        sys.executable,
        "-c",
        "import os; print(os.environ.get('KIMI_AUTH_ACCOUNT'), os.environ['KIMI_API_KEY_LENT'])",
    ]
    assert two("run", "--", *child).out.split()[:2] == ["None", "kimi-code"]
    assert two("run", "--account", "work", "--", *child).out.split()[:2] == ["work", "kimi-code@work"]
    assert two("accounts", "use", "work").status == 0
    assert two("run", "--", *child).out.split()[:2] == ["work", "kimi-code@work"]
    assert two("run", "--account", "default", "--", *child).out.split()[:2] == ["default", "kimi-code"]


def test_a_lent_token_is_of_its_account(two: Run, share_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a child whose login has gone it serves as the account that it is from, and never as another one."""
    token = two("token", "--account", "work").out.strip()
    from kimi_auth.selection import lent_mark
    from kimi_auth.token import key_fingerprint

    mark = lent_mark("kimi-code@work", key_fingerprint(token), time.time() + 900, 900, "https://x.example")
    assert two("logout", "--all", "--yes").status == 0
    environ = {**os.environ, "KIMI_API_KEY": token, "KIMI_API_KEY_LENT": mark}
    assert Session.default(environ=environ).access_token_sync() == token
    assert Session.default(account="work", environ=environ).access_token_sync() == token
    assert Session.default(account="default", environ=environ).status().state == "absent"
    assert Session.default(environ={**environ, "KIMI_AUTH_ACCOUNT": "home"}).status().state == "absent"


def test_every_login(two: Run, emulator: Emulator, share_dir: Path) -> None:
    """status --all: each platform, region and account, whose it is and since when; one column each for a program."""
    emulator.sign_in(share_dir, account="home")
    lines = [line.split("\t") for line in two("status", "--all").out.splitlines()]
    assert [line[:5] for line in lines] == [
        ["*", "kimi-code", "mainland-cn", "default", "fresh"],
        ["-", "kimi-code", "mainland-cn", "home", "fresh"],
        ["-", "kimi-code", "mainland-cn", "work", "fresh"],
    ]
    assert lines[0][5] == "Emulated user"
    found = two("status", "--all", "--json").json["logins"]
    assert {one["label"]: one["signed_in_at"] is None for one in found} == {
        "default": False,
        "home": True,
        "work": False,
    }
    assert two("logout", "--all", "--yes", "--json").json["signed_out"][0]["label"] == "default"
    said = two("status", "--all", "--json")
    assert (said.status, said.json["logins"], said.json["error"]["code"]) == (3, [], "not_signed_in")


def in_a_terminal(argv: list[str], answer: str, environ: dict[str, str]) -> tuple[int, str]:
    """Runs `kimi-auth` on a terminal of 80 columns, answers its question, and gives status and screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "kimi_auth", *argv], environ)
    seen = b""
    try:
        while b"[y/N]" not in seen:
            seen += os.read(terminal, 4096)
        os.write(terminal, answer.encode() + b"\n")
        while True:
            seen += os.read(terminal, 4096)
    except OSError:  # it has ended
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()


@pytest.mark.parametrize(("answer", "state"), [("n", "fresh"), ("", "fresh"), ("y", "absent")])
def test_the_question(emulator: Emulator, environ: dict[str, str], share_dir: Path, answer: str, state: str) -> None:
    """logout --all lists the logins, then asks; only a yes ends them."""
    for label in ("default", "work"):
        emulator.sign_in(share_dir, account=label)
    status, screen = in_a_terminal(["logout", "--all"], answer, {**os.environ, **environ, "TERM": "xterm"})
    assert status == (0 if state == "absent" else 130)
    listed, _, _ = screen.partition("[y/N]")
    assert "work" in listed
    assert "default" in listed
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in listed.splitlines()) <= 80
    assert {Session(share_dir, account=label).status().state for label in ("default", "work")} == {state}


def test_completion(two: Run) -> None:
    """A shell completes the labels that there are."""
    assert complete_accounts("") == ["default", "work"]
    assert complete_accounts("w") == ["work"]


# --- side by side ----------------------------------------------------------------------------------------------------


def test_two_accounts_renewed_by_several_processes(
    emulator: Emulator, environ: dict[str, str], share_dir: Path
) -> None:
    """Three processes for each of two accounts, all with an expired token: one exchange each, and no token crosses over."""
    old = {}
    for label in ("default", "work"):
        emulator.sign_in(share_dir, account=label)
        store = store_of(share_dir, "" if label == "default" else label)
        token = store.read().token
        assert token is not None
        old[label] = token
        with store.locked(NO_LIMIT_S):
            store.put(token_that_ended(token))
    started = {
        label: [
            subprocess.Popen(
                [sys.executable, "-m", "kimi_auth", "token", "--account", label],
                env={**os.environ, **environ},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        for label in old
    }
    told = {label: {process.communicate()[0].strip() for process in those} for label, those in started.items()}
    assert [process.returncode for those in started.values() for process in those] == [0] * 6
    assert emulator.state.counts["rotations"] == 2
    for label in old:
        now = store_of(share_dir, "" if label == "default" else label).read().token
        assert now is not None
        assert told[label] == {now.access_token}
    assert told["default"] != told["work"]
    assert emulator.state.snapshot()["families_alive"] == 2


def token_that_ended(token: Token) -> Token:
    return Token(
        token.access_token, token.refresh_token, time.time() - 1, token.expires_in_s, token.scope, issuer=token.issuer
    )


def test_a_renewal_beside_a_command(
    two: Run, share_dir: Path, monkeypatch: pytest.MonkeyPatch, emulator: Emulator
) -> None:
    """The process that renews is given the account by name: what comes into use meanwhile does not matter to it."""
    from kimi_auth import renewal
    from kimi_auth.advisory import renew_detached
    from kimi_auth.credential import detached

    spawned: list[list[str]] = []
    monkeypatch.setattr(detached, "can_outlive_us", lambda: True)
    monkeypatch.setattr(detached, "spawn", lambda command, environ: spawned.append(command))
    for label in ("default", "work"):
        renew_detached(components_of(Session(share_dir, account=label)))
    assert [command[-1] for command in spawned] == ["kimi-code@default", "kimi-code@work"]
    assert two("accounts", "use", "work").status == 0
    store = store_of(share_dir, "")
    before = store.read().token
    assert before is not None
    with store.locked(NO_LIMIT_S):
        store.put(Token(before.access_token, before.refresh_token, time.time() + 200, 900.0, issuer=before.issuer))
    work = store_of(share_dir, "work").read().fp
    assert renewal.main("kimi-code@default") == 0
    now = store.read().token
    assert now is not None
    assert now.refresh_token != before.refresh_token
    assert store_of(share_dir, "work").read().fp == work


# --- killed at every step --------------------------------------------------------------------------------------------


def home_with(share: Path, in_use: str) -> None:
    """`default` and `work` have logins, and config.toml is that of the one in use."""
    key = "oauth/kimi-code" if in_use == "default" else f"oauth/kimi-code@{in_use}"
    for label in ("", "work"):
        store = store_of(share, label)
        with store.locked(NO_LIMIT_S):
            store.put(Token(f"access-{label}", f"refresh-{label}", time.time() + 900, 900.0))
    provider = 'type = "kimi"\nbase_url = "https://api.kimi.com/coding/v1"\napi_key = ""\n'
    text = f'# mine\n[providers."managed:kimi-code"]\n{provider}oauth = {{ storage = "file", key = "{key}" }}\n'
    (share / "config.toml").write_text(text)
    if in_use != "default":
        (share / "kimi-auth").mkdir(mode=0o700, exist_ok=True)
        (share / "kimi-auth" / "accounts.toml").write_text(f'[use]\nkimi-code = "{in_use}"\n')


def parts(share: Path, label: str) -> Any:
    return components_of(Session(share, account=label, environ={}))


def until_it_ends(tmp_path: Path, in_use: str, work: Callable[[Path], object], check: Callable[[Path], None]) -> int:
    """Kills `work` at each of its steps, checks the files, does it again to its end; the number of steps."""
    step = 0
    while True:
        step += 1
        share = tmp_path / str(step)
        share.mkdir(mode=0o700)
        home_with(share, in_use)
        was_killed = killed_before(step, lambda share=share: work(share))  # type: ignore[misc]
        check(share)
        if not was_killed:
            return step
        with suppress(NoSuchAccount):  # killed behind its last step: there is nothing left to do
            work(share)


def test_use_is_killed_at_every_step(tmp_path: Path) -> None:
    """Old or new account: accounts.toml and config.toml each name one that is signed in; the same command ends the work."""

    def check(share: Path) -> None:
        in_use = Session(share, environ={}).status()
        assert (in_use.label, in_use.state) in {("default", "fresh"), ("work", "fresh")}
        assert keys_in_config(share) <= {"oauth/kimi-code", "oauth/kimi-code@work"}
        assert (share / "config.toml").read_text().startswith("# mine\n")

    steps = until_it_ends(tmp_path, "default", lambda share: use_account(parts(share, "work")), check)
    assert steps > 6
    for share in tmp_path.iterdir():
        assert (Session(share, environ={}).status().label, keys_in_config(share)) == ("work", {"oauth/kimi-code@work"})


def test_rename_is_killed_at_every_step(tmp_path: Path) -> None:
    """Exactly one name has the pair at any time; the same command ends the work, of the record, accounts.toml and config.toml."""

    def check(share: Path) -> None:
        pairs = [path.stem for path in (share / "credentials").glob("*.json") if "refresh-work" in path.read_text()]
        assert len(pairs) == 1
        assert store_of(share, "").read().fp

    steps = until_it_ends(
        tmp_path, "work", lambda share: rename_account(parts(share, "work"), parts(share, "office")), check
    )
    assert steps > 8
    for share in tmp_path.iterdir():
        assert (Session(share, environ={}).status().label, keys_in_config(share)) == (
            "office",
            {"oauth/kimi-code@office"},
        )
        assert Session(share, environ={}).access_token_sync() == "access-work"


def test_it_is_done_again_to_its_end(tmp_path: Path) -> None:
    """A rename that was killed behind the record's: the next one finds that and repoints what names the old account."""
    home_with(tmp_path, "work")
    (tmp_path / "credentials" / "kimi-code@work.json").rename(tmp_path / "credentials" / "kimi-code@office.json")
    assert Session(tmp_path, environ={}).status().state == "absent"
    done = rename_account(parts(tmp_path, "work"), parts(tmp_path, "office"))
    assert done.in_use
    status = Session(tmp_path, environ={}).status()
    assert (status.label, status.state, status.fp) == ("office", "fresh", done.fp)
    assert keys_in_config(tmp_path) == {"oauth/kimi-code@office"}
