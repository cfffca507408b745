"""Every command: what it does, what it says, and how it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth import errors
from kimi_auth.cli.status_words import duration
from kimi_auth.clock import SystemClock
from kimi_auth.machine import Library
from kimi_auth.store import Backoff, FileStore, RevokedMark
from kimi_auth.testing.emulator import Emulator, Fault

Run = Callable[..., Any]


def test_a_whole_life(kimi: Run, share_dir: Path, emulator: Emulator) -> None:
    """login, status, token, models, run, doctor, logout: each does its part and ends with 0."""
    assert kimi("status").status == 3
    login = kimi("login")
    assert (login.status, login.err) == (0, "")
    assert "Approve only if you started this sign-in" in login.out
    assert "3 models found." in login.out
    assert kimi("login").out.startswith("Signed in to Kimi Code as Emulated user already; nothing was changed.")
    status = kimi("status", "--verify")
    assert status.status == 0
    assert "state: fresh  signed in\n" in status.out
    assert "API says: valid\n" in status.out
    token = kimi("token")
    assert token.status == 0
    assert token.out.endswith("\n")
    assert emulator.state.judge(token.out.strip())
    assert kimi("token", "--json").json["access_token"] == token.out.strip()
    assert kimi("models").out.startswith("kimi-for-coding\t262144\tthinking,image_in,video_in\tkimi-code\n")
    assert kimi("models", "sync").out == "platform: kimi-code\nmodels: config.toml is up to date\n"
    assert kimi("doctor").status == 0
    assert (share_dir / "config.toml").exists()
    logout = kimi("logout")
    assert (logout.status, logout.err) == (0, "")
    assert not (share_dir / "config.toml").exists()
    assert kimi("token").status == 3
    assert kimi("logout").status == 0


def test_events_of_a_login(kimi: Run) -> None:
    """login --json: the Kimi CLI's NDJSON events, the link and code among them, success at the end."""
    events = kimi("login", "--json").events
    assert {tuple(event) for event in events} <= {("type", "message"), ("type", "message", "data")}
    assert [event["type"] for event in events] == ["info", "verification_url", *["info"] * 5, "success"]
    shown = events[1]["data"]
    assert shown["user_code"] in shown["verification_url"]
    again = kimi("login", "--json").events
    assert [(event["type"], event["data"]) for event in again] == [
        ("success", {"already": True, "account": "Emulated user"})
    ]


def test_events_of_a_login_that_fails(kimi: Run, emulator: Emulator) -> None:
    """Denied on the page: waiting, then one error event with code, hint and exit status."""
    emulator.state.inject(
        Fault("token", "device_code", status=400, body='{"error":"authorization_pending"}'),
        Fault("token", "device_code", status=400, body='{"error":"slow_down"}'),
    )
    emulator.state.inject(Fault("token", "device_code", status=400, body='{"error":"access_denied"}'))
    failed = kimi("login", "--json")
    assert failed.status == 6
    assert [event["type"] for event in failed.events][2:] == ["waiting", "waiting", "error"]
    assert failed.events[-1]["data"] == {"code": "access_denied", "hint": errors.AccessDenied.default_hint, "exit": 6}
    assert failed.err.count("\n") == 1


def device(body: str, status: int = 400) -> Fault:
    return Fault("token", "device_code", status=status, body=body, times=None)


ENDS: dict[str, tuple[Fault, int, str]] = {
    "denied": (device('{"error":"access_denied"}'), 6, "start again"),
    "client refused": (
        Fault("device", status=401, body='{"error":"invalid_client"}', times=None),
        9,
        "update kimi-auth",
    ),
    "grant lost": (device('{"error":"invalid_grant"}'), 4, "start again"),
    "no models": (Fault("models", status=503, body="", times=None), 10, "kimi-auth models sync"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_login_that_does_not_end_well_says_why(kimi: Run, emulator: Emulator, name: str) -> None:
    """Its own exit status, one line on standard error with the next step."""
    fault, status, hint = ENDS[name]
    emulator.state.inject(fault)
    said = kimi("login")
    assert said.status == status
    assert said.err.startswith("kimi-auth: ")
    assert said.err.count("\n") == 1
    assert hint in said.err


def test_models_that_were_pending_are_synced_later(kimi: Run, emulator: Emulator, share_dir: Path) -> None:
    """Exit 10 keeps the login; doctor names the next step, and that step works."""
    emulator.state.inject(Fault("models", status=503, body="", times=1))
    assert kimi("login").status == 10
    doctor = kimi("doctor")
    assert doctor.status == 1
    assert "kimi-auth models sync" in doctor.out
    planned = kimi("models", "sync", "--dry-run")
    assert "+: kimi-code/kimi-for-coding\n" in planned.out
    assert not (share_dir / "config.toml").exists()
    assert kimi("models", "sync").out == planned.out.removesuffix("models: nothing was written\n")
    assert kimi("doctor").status == 0
    assert kimi("logout").status == 0
    assert not (share_dir / "config.toml").exists()


def test_a_login_that_was_cut_short_is_finished_by_the_next(kimi: Run, emulator: Emulator, share_dir: Path) -> None:
    """Signed in without models: the next `login` needs no second approval, and writes the missing models."""
    emulator.state.inject(Fault("models", status=503, body="", times=1))
    assert kimi("login").status == 10
    token = kimi("token").out
    again = kimi("login")
    assert (again.status, again.err) == (0, "")
    assert "Approve" not in again.out
    assert "3 models found." in again.out
    assert kimi("token").out == token
    assert kimi("doctor").status == 0


def test_force_signs_in_again(kimi: Run) -> None:
    """--force: another pair, although a login stands."""
    kimi("login")
    before = kimi("status", "--json").json["fp"]
    assert kimi("login", "--force", "--no-browser", "--no-qr").status == 0
    assert kimi("status", "--json").json["fp"] != before


def test_trace_records_the_walk(kimi: Run, tmp_path: Path) -> None:
    """--trace FILE: one JSON object a transition, from checking_store to signed_in, and no secret."""
    file = tmp_path / "walk.ndjson"
    assert kimi("login", "--trace", str(file)).status == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    walk = [line for line in lines if line["machine"] == "device_login"]
    assert (walk[0]["from"], walk[-1]["to"]) == ("checking_store", "signed_in")
    assert [line["step"] for line in walk] == list(range(1, len(walk) + 1))
    assert kimi("token").out.strip() not in file.read_text()
    assert kimi("login", "--trace", str(tmp_path / "no" / "such")).status == 8


def test_a_trace_that_cannot_be_written_is_said(kimi: Run) -> None:
    """The disk fills up on the way: the login stands, and a line says that the walk is not in the file."""
    said = kimi("login", "--trace", "/dev/full", "--json")
    assert (said.status, said.events[-1]["type"]) == (0, "success")
    assert said.err == (
        "kimi-auth: the walk could not be written to /dev/full: No space left on device"
        " (name a file that can be written: --trace FILE)\n"
    )


def test_machines_that_cannot_be_trusted_are_said(kimi: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout with a mistake in its machines every command that walks them says what it is, in one line."""
    for machine in (Path(__file__).parents[2] / "machines").glob("*.toml"):
        (tmp_path / machine.name).write_text(machine.read_text())
    (tmp_path / "copy.toml").write_text((tmp_path / "sign_out.toml").read_text())
    monkeypatch.setattr("kimi_auth.machine.library._own_machines", lambda: Library.load(tmp_path))
    said = kimi("logout")
    assert said.status == 1
    assert said.err.startswith("kimi-auth: the machines cannot run: copy.toml, top level: name is ")
    assert said.err.endswith(" (see it all: kimi-auth diagram)\n")
    assert "copy.toml, top level: " in kimi("diagram").out


UNWRITABLE = {
    "models is a number": "models = 5\n",
    "services is a list": "services = []\n",
    "default_thinking is a table": "[default_thinking]\na = 1\n",
    "no room for models": f"#{'x' * 1_048_000}\n",
}


@pytest.mark.parametrize("text", UNWRITABLE.values(), ids=UNWRITABLE)
def test_a_config_that_cannot_be_written_is_said_before_the_approval(kimi: Run, share_dir: Path, text: str) -> None:
    """login: exit 9 at once, no approval is requested, nothing is stored."""
    share_dir.mkdir()
    (share_dir / "config.toml").write_text(text)
    said = kimi("login")
    assert (said.status, said.err.count("\n")) == (9, 1)
    assert "Approve" not in said.out
    assert not (share_dir / "credentials" / "kimi-code.json").exists()
    assert (share_dir / "config.toml").read_text() == text


ACME = """
v = 1
[platforms.acme]
name = "Acme"
auth = "device"
api_base = "{api_base}"
[platforms.acme.oauth]
host = "{host}"
device_authorization_path = "/api/oauth/device_authorization"
token_path = "/api/oauth/token"
client_id = "17e5f671-d194-4dfb-9706-5516cb48c098"
"""
OWN_DEFAULT = """default_model = "m2"
default_thinking = false
[providers.mine]
type = "kimi"
base_url = "https://mine.example/v1"
api_key = "k"
""" + "".join(f'[models.m{n}]\nprovider = "mine"\nmodel = "m{n}"\nmax_context_size = 5\n' for n in (1, 2))


@pytest.mark.parametrize("outs", [("kimi-code", "acme"), ("acme", "kimi-code"), ("--all",)], ids=" ".join)
def test_two_platforms_come_and_go(kimi: Run, emulator: Emulator, share_dir: Path, outs: tuple[str, ...]) -> None:
    """Signed in to two, out in any order: the same bytes; each answer says which platform it is about."""
    share_dir.mkdir()
    (share_dir / "platforms.toml").write_text(ACME.format(api_base=emulator.api_base, host=emulator.oauth_host))
    (share_dir / "config.toml").write_text(OWN_DEFAULT)
    for platform in ("kimi-code", "acme"):
        assert kimi("login", "--platform", platform).status == 0
    said = [kimi("logout", *(["--platform", out] if out != "--all" else [out, "--yes"])) for out in outs]
    assert all("config: nothing of this platform is left in config.toml\n" in each.out for each in said)
    assert (share_dir / "config.toml").read_text() == OWN_DEFAULT
    lines = [line for each in said for line in each.out.splitlines() if line.startswith("platform: ")]
    assert lines == [f"platform: {name}" for name in (("kimi-code", "acme") if outs == ("--all",) else outs)]


REFUSED: dict[str, tuple[tuple[str, ...], int]] = {
    "no such command": (("nosuch",), 2),
    "no such option": (("token", "--nosuch"), 2),
    "an option without its value": (("token", "--min-ttl"), 2),
    "a number that is none": (("token", "--min-ttl", "soon"), 2),
    "an action that is none": (("models", "bogus"), 2),
    "a platform that is none": (("status", "--platform", "nosuch"), 2),
    "a key for a platform without keys": (("login", "--api-key-stdin"), 2),
    "run without a command": (("run",), 2),
    "a machine that is none": (("diagram", "nosuch"), 2),
    "a format that is none": (("diagram", "--format", "png"), 2),
    "no revision": (("diagram", "--diff", ""), 2),
    "a difference in Mermaid": (("diagram", "--diff", "HEAD", "--format", "mermaid"), 2),
    "a walk as a table": (("diagram", "--trace", "x", "--format", "table"), 2),
    "a proof as a picture": (("diagram", "--verify", "--format", "svg"), 2),
    "pages as a picture": (("diagram", "--check", "--format", "svg"), 2),
    "pages of one machine": (("diagram", "sign_out", "--check"), 2),
    "two questions at a time": (("diagram", "--diff", "HEAD", "--check"), 2),
    "a dry list": (("models", "--dry-run"), 2),
    "all and one": (("logout", "--all", "--platform", "kimi-code"), 2),
    "another config": (("login", "--config-file", "/elsewhere/config.toml"), 9),
    "another config at logout": (("logout", "--config-file", "/elsewhere/config.toml"), 9),
    "a command that is not there": (("run", "--", "no-such-command-anywhere"), 127),
    "a command that cannot run": (("run", "--", "/"), 126),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_one_line(kimi: Run, name: str) -> None:
    """Wrong input: the exit status that is promised, one line on standard error, nothing on standard output."""
    args, status = REFUSED[name]
    kimi("login")
    said = kimi(*args)
    assert (said.status, said.out) == (status, "")
    assert said.err.startswith("kimi-auth: ")
    assert said.err.count("\n") == 1
    assert said.err.rstrip().endswith(")")


@pytest.mark.parametrize("args", [("status",), ("login",), ("token",), ("doctor",), ("logout", "--all", "--yes")])
@pytest.mark.parametrize("place", ["KIMI_SHARE_DIR", "--config-file"])
def test_a_home_that_nobody_has(kimi: Run, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], place: str) -> None:
    """`~name` of an unknown user: one line that names it, with the next step, on every path to it."""
    if place == "KIMI_SHARE_DIR":
        monkeypatch.setenv("KIMI_SHARE_DIR", "~nosuch/x")
    elif args[0] in {"login", "logout"}:
        args = (*args, "--config-file", "~nosuch/x")
    else:
        return
    said = kimi(*args)
    assert said.status == (1 if args == ("doctor",) else 2 if place == "--config-file" else 9)
    assert said.err.count("\n") == 1
    assert "~nosuch" in said.out + said.err
    assert "unexpected" not in said.err


BROKEN_LOGINS = {
    "absent": (3, lambda file: file.unlink()),
    "corrupt": (8, lambda file: file.write_text("{")),
    "revoked": (4, None),
}


@pytest.mark.parametrize("state", BROKEN_LOGINS)
def test_status_tells_programs_as_much_as_people(
    kimi: Run, share_dir: Path, age: Run, store: FileStore, state: str
) -> None:
    """Without a token, the object holds the known facts all the same, beside the error."""
    kimi("login")
    usual = kimi("status", "--json").json
    status, spoil = BROKEN_LOGINS[state]
    if spoil is not None:
        spoil(store.path)
    else:
        age(-5.0)
        with store.locked(NO_LIMIT_S):
            fp = store.read().fp
            store.mark_revoked(fp, RevokedMark(SystemClock().wall_s(), "invalid_grant"))
            store.claim(fp)
        assert "claim" not in kimi("status").out
    said = kimi("status", "--json")
    assert said.status == status == said.json["error"]["exit"]
    assert set(said.json) == {*usual, "error"}
    assert (
        said.json["sources"]
        == usual["sources"]
        == {
            "account": "default",
            "api_base": "KIMI_CODE_BASE_URL",
            "credential": "file",
            "oauth_host": "KIMI_CODE_OAUTH_HOST",
            "platform": "config.toml",
            "share_dir": "KIMI_SHARE_DIR",
        }
    )
    assert (said.json["state"], said.json["platform"], said.json["models"]) == (state, "kimi-code", 3)
    assert said.json["claim"] is None
    assert said.err == f"kimi-auth: {said.json['error']['message']} ({said.json['error']['hint']})\n"


EVERY_ERROR = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.KimiAuthError)
]


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_every_error_has_its_exit_status(
    kimi: Run, monkeypatch: pytest.MonkeyPatch, kind: type[errors.KimiAuthError]
) -> None:
    """An error of any kind: its number, its sentence and its hint; the same as data with --json."""

    def fail(*_: object, **__: object) -> None:
        raise kind("something\x1b[31m happened\nhere")

    monkeypatch.setattr("kimi_auth.session.Session.status", fail)
    said = kimi("status")
    assert said.status == kind.exit_status
    assert said.err == f"kimi-auth: something[31m happened here ({kind.default_hint})\n"
    as_data = kimi("status", "--json")
    assert as_data.json["error"] == {
        "code": kind.code,
        "message": "something[31m happened here",
        "hint": kind.default_hint,
        "exit": kind.exit_status,
    }


@pytest.mark.parametrize("flags", [(), ("--verbose",)])
def test_a_bug_is_one_line_and_no_data(kimi: Run, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]) -> None:
    """An unexpected exception: where it was raised, never its message."""

    def fail(*_: object) -> None:
        raise RuntimeError("token=secret")

    monkeypatch.setattr("kimi_auth.session.Session.status", fail)
    said = kimi("status", *flags)
    assert said.status == 1
    assert "RuntimeError at test_commands.py" in said.err
    assert "secret" not in said.err
    assert (said.err.count("\n") > 1) == bool(flags)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, BrokenPipeError])
def test_interruptions_are_no_bugs(kimi: Run, monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]) -> None:
    """A Ctrl-C ends with 130, a reader that has gone with 1, both without a word."""

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr("kimi_auth.session.Session.status", fail)
    monkeypatch.setattr("kimi_auth.cli.terminal.Terminal.let_go", lambda _: None)
    said = kimi("status")
    assert (said.status, said.err) == (130 if raised is KeyboardInterrupt else 1, "")


@pytest.mark.parametrize("args", [("--version",), ("token", "--version"), ("--verbose", "login", "--version")])
def test_version_works_everywhere(kimi: Run, args: tuple[str, ...]) -> None:
    """--version with any command prints the version and does nothing else."""
    said = kimi(*args)
    assert (said.status, said.out.split()[0]) == (0, "kimi-auth")


def test_help_is_whole(kimi: Run) -> None:
    """Without arguments and with --help: every command, each with a sentence that is not cut."""
    nothing, asked = kimi(), kimi("--help")
    assert (nothing.status, asked.status) == (2, 0)
    for name in (
        "login",
        "logout",
        "status",
        "token",
        "adopt",
        "models",
        "doctor",
        "run",
        "diagram",
        "emulator",
        "demo",
    ):
        assert f"\n  {name} " in asked.out
        assert f"Usage: kimi-auth {name}" in kimi(name, "--help").out or name == "emulator"
    assert "..." not in asked.out.replace("[ARGS]...", "")


def test_token_renews_what_has_expired(kimi: Run, age: Run) -> None:
    """Expired: one exchange, then the new token; refused for good: exit 4 and the way out."""
    kimi("login")
    old = age(-5.0)
    renewed = kimi("token")
    assert renewed.status == 0
    assert renewed.out.strip() != old.access_token


def test_a_login_that_the_server_ended_is_renewed_by_login(kimi: Run, age: Run, emulator: Emulator) -> None:
    """The next step that every message names works, though the old token has life left; until then nothing looks
    due."""
    kimi("login")
    old = age(600.0)
    emulator.state.inject(Fault("token", "refresh_token", status=400, body={"error": "invalid_grant"}))
    ended = kimi("token", "--refresh")
    assert (ended.status, "sign in again: kimi-auth login" in ended.err) == (4, True)
    assert "renewal: never: sign in again" in kimi("status").out
    assert "already" not in kimi("login").out
    assert kimi("token").out.strip() != old.access_token


def test_a_logout_names_what_it_leaves(kimi: Run, store: FileStore) -> None:
    """An unreadable file may hold a token that works: it is kept aside and named, and not said to have been revoked. So
    is a file that a Kimi CLI left half-written; our own leftovers are removed."""
    kimi("login")
    broken = store.path.read_bytes()[:-3]
    store.path.write_bytes(broken)
    theirs, ours = "tmpab12_xyz.tmp", "kimi-code.json.0123456789ab.tmp"
    for name in (theirs, ours):
        store.path.with_name(name).write_bytes(broken)
    said = kimi("logout")
    assert (said.status, "could not be read, so they were not revoked" in said.out) == (0, True)
    holding = sorted(path for path in store.path.parent.iterdir() if b"emulated-refresh" in path.read_bytes())
    aside, temporary = holding
    assert aside.name.startswith("kimi-code.json.corrupt-")
    assert (temporary.name, aside.read_bytes()) == (theirs, broken)
    for path in holding:
        assert f"left: {path}: may hold a token; check it, then delete it" in said.out
    assert kimi("logout", "--json").json["signed_out"][0]["left"] == [str(path) for path in holding]


def test_logout_of_the_default_platform_with_a_key(kimi: Run, share_dir: Path, emulator: Emulator) -> None:
    """Without --platform it is the default model's, whatever it takes."""
    kimi("login")
    kimi("logout")
    (share_dir / "platforms.toml").write_text(
        f'v = 1\n[platforms.keyed]\nname = "Keyed"\nauth = "api_key"\napi_base = "{emulator.api_base}"\n'
    )
    (share_dir / "config.toml").write_text(
        'default_model = "keyed/m"\n[providers."managed:keyed"]\ntype = "kimi"\nbase_url = "x"\napi_key = "sk-1"\n'
        '[models."keyed/m"]\nprovider = "managed:keyed"\nmodel = "m"\nmax_context_size = 1\n'
    )
    assert kimi("logout").status == 0
    assert "sk-1" not in (share_dir / "config.toml").read_text()


def test_the_api_refuses_a_stored_key(kimi: Run, share_dir: Path, emulator: Emulator) -> None:
    """A key in config.toml is not renewed: the next step of `status --verify` replaces it."""
    share_dir.mkdir(parents=True, exist_ok=True)
    (share_dir / "platforms.toml").write_text(
        f'v = 1\n[platforms.keyed]\nname = "Keyed"\nauth = "api_key"\napi_base = "{emulator.api_base}"\n'
    )
    (share_dir / "config.toml").write_text(
        f'[providers."managed:keyed"]\ntype = "kimi"\nbase_url = "{emulator.api_base}"\napi_key = "sk-1"\n'
    )
    said = kimi("status", "--platform", "keyed", "--verify")
    assert said.status == 1
    assert "kimi-auth login --platform keyed --api-key-stdin --force" in said.err
    assert "--refresh" not in said.err


def test_the_api_refuses_the_token(kimi: Run, emulator: Emulator) -> None:
    """status --verify: a finding with its next step; a page of a proxy says nothing of the token, and is told."""
    kimi("login")
    emulator.state.inject(Fault("models", status=401, body="", times=2))
    said = kimi("status", "--verify")
    assert (said.status, "kimi-auth token --refresh" in said.err) == (1, True)
    assert kimi("status", "--verify", "--json").status == 1
    emulator.state.inject(
        Fault("models", status=403, body="<h1>blocked by a proxy</h1>", headers={"Content-Type": "text/html"})
    )
    said = kimi("status", "--verify")
    assert (said.status, "API says: unknown: " in said.out, "blocked by a proxy" in said.out) == (0, True, True)


@pytest.mark.parametrize("value", ["x", "-5", "inf", "nan"])
def test_a_wrong_value_is_said_with_its_option(kimi: Run, value: str) -> None:
    """The message names the file in which the mistake was typed."""
    said = kimi("token", "--min-ttl", value)
    assert (said.status, "--min-ttl" in said.err.partition("(")[0]) == (2, True)


def test_a_short_life_is_said(kimi: Run, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """--min-ttl above what the server gives: one rotation for all commands, the token, and one line of warning for each."""
    kimi("login")
    printed = set()
    for _ in range(3):
        monkeypatch.setattr("kimi_auth.supply._SAID", set())  # each command is a process of its own
        said = kimi("token", "--min-ttl", "5000")
        assert said.status == 0
        assert "the server's tokens live" in said.err
        assert "with less left than the 5000 s asked for" in said.err
        assert said.err.count("\n") == 1
        printed.add(said.out)
    assert (len(printed), emulator.state.counts["rotations"]) == (1, 1)


def test_as_much_life_as_the_server_gives(kimi: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token has lost a moment of its life when it is printed: no number is called less than itself."""
    kimi("login")
    monkeypatch.setattr("kimi_auth.supply._SAID", set())
    said = kimi("token", "--min-ttl", "900")
    assert said.status == 0
    assert (
        "the server's tokens live 900 s: the freshest one is used, with less left than the 900 s asked for" in said.err
    )


def test_a_short_life_that_could_not_be_mended_is_said(kimi: Run, emulator: Emulator, age: Any) -> None:
    """--min-ttl while the server is away: the token that still works, and why it is no better one."""
    kimi("login")
    headers = {"Retry-After": "600"}  # beyond the patience of any caller
    emulator.state.inject(Fault("token", "refresh_token", status=503, headers=headers, body="", times=None))
    age(200.0)
    said = kimi("token", "--min-ttl", "600")
    assert (said.status, len(said.out.split())) == (0, 1)
    assert "less than --min-ttl: it could not be renewed now" in said.err


def test_refresh_gives_another_pair(kimi: Run) -> None:
    """token --refresh: another token than the stored one."""
    kimi("login")
    first = kimi("token").out
    assert kimi("token", "--refresh").out != first


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault("token", "refresh_token", status=400, body='{"error":"invalid_grant"}'), 4),
        (Fault("token", "refresh_token", status=429, headers={"Retry-After": "600"}, body=""), 5),
        (Fault("token", "refresh_token", status=401, body='{"error":"invalid_client"}'), 9),
    ],
)
def test_a_token_that_cannot_be_had(kimi: Run, age: Run, emulator: Emulator, fault: Fault, status: int) -> None:
    """Ended, refused, unreachable: each with its own exit status, and nothing on standard output."""
    kimi("login")
    age(-5.0)
    emulator.state.inject(fault)
    said = kimi("token")
    assert (said.status, said.out) == (status, "")


def test_run_hands_over_the_token_and_the_status(kimi: Run) -> None:
    """run -- CMD: KIMI_API_KEY in its environment, its options untouched, its exit status ours."""
    kimi("login")
    token = kimi("token").out.strip()
    said = kimi("run", "--", "sh", "-c", 'printf %s "$KIMI_API_KEY"; exit 7', "--verbose")
    assert (said.status, said.out) == (7, token)
    assert kimi("run", "sh", "-c", "kill -TERM $$").status == 128 + 15
    assert kimi("run", "--verbose", "printf", "%s", "--version", "-v", "--json").out == "--version-v--json"


def test_a_corrupt_credential_is_said_and_kept(kimi: Run, share_dir: Path) -> None:
    """Exit 8, the file named, the way out; a login sets it aside."""
    kimi("login")
    path = share_dir / "credentials" / "kimi-code.json"
    path.write_bytes(b"\xff\x00{")
    for command in ("status", "token"):
        said = kimi(command)
        assert said.status == 8
        assert "kimi-auth login" in said.err
    assert path.read_bytes() == b"\xff\x00{"
    assert kimi("login").status == 0
    assert [file.name for file in path.parent.glob("*.corrupt-*")]


def test_another_issuer_is_refused(kimi: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is pointed at another OAuth host sends it nothing: exit 9."""
    kimi("login")
    monkeypatch.setenv("KIMI_CODE_OAUTH_HOST", "http://127.0.0.1:9")
    for args in (("token",), ("status",), ("logout",), ("login",)):
        assert kimi(*args).status == 9


def test_status_shows_what_is_in_the_way(kimi: Run, age: Run, store: FileStore) -> None:
    """A claim, a backoff and a refusal are named in status and doctor, each with a next step where there is one."""
    kimi("login")
    token = age(-5.0)
    fp = store.read().fp
    with store.locked(NO_LIMIT_S):
        store.claim(fp)
        held = kimi("status")
        assert f"lock: held by pid {os.getpid()}" in held.out
    assert "claim: interrupted" in kimi("status").out
    assert "kimi-auth token --refresh" in kimi("doctor").out
    with store.locked(NO_LIMIT_S):
        store.mark_revoked(fp, RevokedMark(SystemClock().wall_s(), "invalid_grant"))
    assert token.access_token not in kimi("doctor").out
    said = kimi("doctor", "--json")
    assert said.status == 1
    assert kimi("status").status == 4


def test_status_tells_of_a_rejected_token(kimi: Run, store: FileStore) -> None:
    """A 401 that a program reported, and until when it leads to no rotation; the token goes on being handed out."""
    kimi("login")
    token = kimi("token").out
    now_s, fp = SystemClock().wall_s(), store.read().fp
    with store.locked(NO_LIMIT_S):
        store.set_backoff(Backoff(rejected_fp=fp, rejected_at_s=now_s - 90, forced=2, forced_retry_at_s=now_s + 600))
    said = kimi("status")
    assert said.status == 0
    assert "state: fresh" in said.out
    words = " ".join(said.out.split())
    assert "rejected: the API rejected this token 1 min 30 s ago, at one URL at least; no rotation for that" in words
    facts = json.loads(kimi("status", "--json").out)
    assert (facts["rejected_at"], facts["forced_retry_at"]) == (now_s - 90, now_s + 600)
    assert kimi("token").out == token
    kimi("token", "--refresh")
    facts = json.loads(kimi("status", "--json").out)
    assert (facts["rejected_at"], facts["forced_retry_at"]) == (None, now_s + 600)


def test_doctor_on_a_broken_house(kimi: Run, share_dir: Path) -> None:
    """Signed out; others may read the file; a default that is gone; a config that is none: each is named."""
    assert "kimi-auth login" in kimi("doctor").out
    kimi("login")
    (share_dir / "credentials" / "kimi-code.json").chmod(0o644)
    config = share_dir / "config.toml"
    text = config.read_text()
    config.write_text(text.replace('default_model = "', 'default_model = "gone-'))
    findings = kimi("doctor")
    assert "chmod 600" in findings.out
    assert "gone-" in findings.out
    assert findings.err.startswith("kimi-auth: 2 findings")
    config.write_text("= no")
    assert "line 1" in kimi("doctor").out
    assert kimi("status").status == 0


def test_diagrams(kimi: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A readable machine by default, Mermaid, SVG and tables on demand; --check compares ./diagrams."""
    kimi("login")
    shown = kimi("diagram", "token_lifecycle").out
    assert "refreshing" in shown
    assert "…" not in shown
    assert kimi("diagram", "--format", "mermaid").out.count("stateDiagram-v2") == len(Library.load())
    assert kimi("diagram", "sign_out", "--format", "table").out.startswith("| state |")
    assert kimi("diagram", "sign_out", "--format", "svg").out.count("<svg ") == 1
    monkeypatch.chdir(tmp_path)
    assert kimi("diagram", "--check").status == 2
    (tmp_path / "diagrams").mkdir()
    assert kimi("diagram", "--check").status == 1


def test_a_recorded_walk_is_laid_over_its_machine(kimi: Run, tmp_path: Path) -> None:
    """login --trace, then diagram --trace: in the terminal and as SVG; a file without a walk is said."""
    file = tmp_path / "walk.ndjson"
    kimi("login", "--trace", str(file))
    assert "signed_in" in kimi("diagram", "--trace", str(file)).out
    assert kimi("diagram", "--trace", str(file), "--format", "svg").out.count("<svg ") == 1
    assert kimi("diagram", "--trace", str(tmp_path / "none")).status == 2
    assert kimi("diagram", "device_login", "--trace", str(file)).out == kimi("diagram", "--trace", str(file)).out
    another = kimi("diagram", "sign_out", "--trace", str(file))
    assert (another.status, "holds no walk of sign_out" in another.err) == (2, True)
    file.write_text("")
    assert kimi("diagram", "--trace", str(file)).status == 2


def test_a_change_of_a_machine_is_told(kimi: Run, tmp_path: Path) -> None:
    """diagram --diff: another folder's machines against these; the same ones are no finding, nonsense is said."""
    folder = tmp_path / "machines"
    folder.mkdir()
    for machine in (Path(__file__).parents[2] / "machines").glob("*.toml"):
        (folder / machine.name).write_text(machine.read_text())
    assert kimi("diagram", "--diff", str(folder)).status == 0
    lifecycle = folder / "token_lifecycle.toml"
    lifecycle.write_text(lifecycle.read_text().replace('on.gone = "injecting"', 'on.gone = "inspecting"'))
    for form in ((), ("--format", "svg"), ("--format", "table")):
        found = kimi("diagram", "--diff", str(folder), *form)
        assert found.status == 1
        assert "gone" in found.out
        assert found.err.splitlines()[-1].startswith("kimi-auth: one change (")
        assert kimi("diagram", "sign_out", "--diff", str(folder), *form).status == 0
    assert kimi("diagram", "--diff", str(tmp_path / "nowhere")).status == 2


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3600, "1 h 00 min"), (-5, "0 s")]
)
def test_durations_are_for_people(seconds: float, words: str) -> None:
    """Lengths of time as a person would say them."""
    assert duration(seconds) == words
