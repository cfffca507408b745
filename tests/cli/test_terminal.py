"""The output of commands: tables in 80 columns on a terminal, lines and JSON elsewhere, and never a traceback."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from house.patience import joined
from rich.text import Text

from kimi_auth.cli import demo
from kimi_auth.cli.errors import status_error
from kimi_auth.cli.terminal import Terminal, one_line
from kimi_auth.credential.status import LoginReport, Status
from kimi_auth.errors import AccessDenied, KimiAuthError, ModelsPending, NotSignedIn, Revoked, Unreachable
from kimi_auth.login.outcome import login_error
from kimi_auth.machine import Library
from kimi_auth.support import browser
from kimi_auth.testing.emulator import Emulator

Run = Callable[..., Any]

# --- on a terminal -----------------------------------------------------------------------------------------------------


@pytest.fixture
def lively(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands draw as on a terminal of 80 columns, without colours."""
    monkeypatch.setattr(Terminal, "is_lively", True)


TABLES = [("status",), ("status", "--verify"), ("models",), ("models", "sync"), ("doctor",), ("logout",), ("login",)]


def test_tables_fit_and_nothing_is_cut(kimi: Run, lively: None, environ: dict[str, str], monkeypatch: Any) -> None:
    """Every table of every command: no line beyond the edge, no "…", values whole, also with a long path."""
    monkeypatch.setenv("KIMI_SHARE_DIR", f"{environ['KIMI_SHARE_DIR']}/{'a-long-name-' * 8}")
    assert kimi("login").status == 0
    for args in TABLES:
        lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", kimi(*args).out).splitlines()
        assert lines
        assert not [line for line in lines if len(line) > 80 or "…" in line]
        if args[0] in {"status", "doctor"}:
            path = "".join(line.strip() for line in lines)
            assert "a-long-name-" * 8 in path.replace(" ", "")


STATUS = """
  Kimi Code

  platform    kimi-code  (config.toml)
  state       fresh  signed in
  who         Emulated user  (at sign-in)
  since       {since}
  credential  the file {share}/credentials/kimi-code.json  (KIMI_SHARE_DIR)
  token       {token} left
  renewal     due in {renewal}
  pair        {fp}
  issuer      {issuer}  (KIMI_CODE_OAUTH_HOST)
  API         {base}  (KIMI_CODE_BASE_URL)
  models      3 in config.toml
  default     kimi-code/kimi-for-coding

"""


def test_status_on_a_terminal(kimi: Run, lively: None, emulator: Emulator, monkeypatch: Any, tmp_path: Path) -> None:
    """Labels in one column, values in the other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KIMI_SHARE_DIR", "s")
    kimi("login")
    out = kimi("status").out
    rows = {
        line[2:12].strip(): line[14:].rstrip() for line in out.splitlines() if line.startswith("  ") and len(line) > 14
    }
    assert out.replace(" \n", "\n") != ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", rows["since"])
    words = {
        "since": rows["since"],
        "token": rows["token"].removesuffix(" left"),
        "renewal": rows["renewal"].removeprefix("due in "),
    }
    expected = STATUS.format(share="s", fp=rows["pair"], issuer=emulator.oauth_host, base=emulator.api_base, **words)
    assert [line.rstrip() for line in out.splitlines()] == expected.splitlines()


def test_models_in_every_form(kimi: Run, monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    """list and sync as a table, as lines and as data; --dry-run writes nothing; a vanished default is said."""
    kimi("login")
    listed = kimi("models", "--json").json
    assert listed["models"][0]["id"] == "kimi-for-coding"
    assert set(listed["models"][0]) == {"id", "display_name", "context_length", "capabilities"}
    emulator.state.models = emulator.state.models[1:]
    dry = kimi("models", "sync", "--dry-run")
    assert "-: kimi-code/kimi-for-coding\n" in dry.out
    assert "default: kimi-code/kimi-for-coding becomes kimi-code/" in dry.out
    assert dry.out.endswith("models: nothing was written\n")
    (planned,) = kimi("models", "sync", "--dry-run", "--json").json["platforms"]
    assert planned["written"] is False
    change = kimi("models", "sync", "--platform", "kimi-code", "--json").json
    assert (change["removed"], change["written"]) == (["kimi-code/kimi-for-coding"], True)
    assert change["default_before"] != change["default_after"]
    (unchanged,) = kimi("models", "sync", "--json").json["platforms"]
    assert (unchanged["removed"], unchanged["written"]) == ([], False)
    monkeypatch.setattr(Terminal, "is_lively", True)
    table = kimi("models").out
    assert table.split()[:3] == ["model", "context", "can"]
    assert "262,144" in table


def test_the_demos_steps_on_a_terminal(lively: None, capsys: pytest.CaptureFixture[str]) -> None:
    """A number, a sentence, and facts beneath it."""
    play = demo._Demo(Terminal(), SimpleNamespace(), {})  # type: ignore[arg-type]
    play._say("This happens.", [("where", "here")])
    play._say("And this.")
    shown = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in shown if line] == ["1 This happens.", "  where  here", "2 And this."]


def test_a_demo_that_goes_wrong_is_no_success(kimi: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were no renewal seen, the demo would say so and fail."""
    monkeypatch.setattr(demo, "REQUESTS", 1)
    monkeypatch.setattr(demo, "SETTINGS", ("--approve", "auto", "--approve-after", "0", "--interval", "0"))
    said = kimi("demo")
    assert (said.status, said.err.startswith("kimi-auth: no renewal was seen (")) == (1, True)


# --- what a terminal is ------------------------------------------------------------------------------------------------


class Stream:
    def __init__(self, *, tty: bool | None, encoding: str | None) -> None:
        self._tty = tty
        self.encoding = encoding

    def isatty(self) -> bool:
        if self._tty is None:
            raise ValueError("closed")
        return self._tty


@pytest.mark.parametrize(
    ("tty", "encoding", "term", "lively"),
    [
        (True, "utf-8", "xterm", True),
        (True, "UTF8", "screen-256color", True),
        (True, "utf-8", "dumb", False),
        (True, "utf-8", None, False),
        (True, "ascii", "xterm", False),
        (True, None, "xterm", False),
        (False, "utf-8", "xterm", False),
        (None, "utf-8", "xterm", False),
    ],
)
def test_what_can_redraw_itself(
    monkeypatch: pytest.MonkeyPatch, tty: bool | None, encoding: str | None, term: str | None, lively: bool
) -> None:
    """A terminal that is not dumb and knows more than ASCII."""
    monkeypatch.setattr(sys, "stdout", Stream(tty=tty, encoding=encoding))
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    assert Terminal().is_lively == lively


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "1", "COLORTERM": "truecolor"}, False)],
)
def test_no_color(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool) -> None:
    """NO_COLOR is honoured: no colour codes, whatever the terminal can do."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", **variables}.items():
        monkeypatch.setenv(name, value)
    if "NO_COLOR" not in variables:
        monkeypatch.delenv("NO_COLOR", raising=False)
    console = Terminal().console
    with console.capture() as shown:
        console.print(Text("x", style="green"))
    assert ("\x1b[32m" in shown.get()) == coloured


def test_characters_that_the_terminal_does_not_know(tmp_path: Path) -> None:
    """A path with letters of another alphabet on an ASCII terminal: question marks, no error."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "KIMI_SHARE_DIR": str(tmp_path / "días-日本")}
    done = subprocess.run([sys.executable, "-m", "kimi_auth", "status"], env=env, capture_output=True, check=False)
    assert done.returncode == 3
    assert b"d?as-??/credentials" in done.stdout
    assert done.stderr.count(b"\n") == 1


def test_data_in_any_encoding(tmp_path: Path) -> None:
    """The same path as data: ASCII, from which a program gets every letter back."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "KIMI_SHARE_DIR": str(tmp_path / "días-日本")}
    command = [sys.executable, "-m", "kimi_auth", "status", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    assert f"{tmp_path}/días-日本/credentials" in json.loads(done.stdout)["location"]


# --- output that cannot be written -------------------------------------------------------------------------------------


def diagram(**streams: Any) -> subprocess.CompletedProcess[bytes]:
    """A command with much to say, into the streams that are given."""
    return subprocess.run(
        [sys.executable, "-m", "kimi_auth", "diagram"], stderr=subprocess.PIPE, check=False, **streams
    )


def test_nobody_reads() -> None:
    """A reader that has gone: status 1 and not a word."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = diagram(stdout=write_end)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk() -> None:
    """Output that has no room: one line, status 1."""
    with Path("/dev/full").open("wb") as full:
        done = diagram(stdout=full)
    assert done.returncode == 1
    assert (
        done.stderr
        == b"kimi-auth: cannot write to standard output: No space left on device (send the output somewhere else)\n"
    )


def gone() -> int:
    """The writing end of a pipe without a reader."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    return write_end


NOWHERE: dict[str, Callable[[], int]] = {
    "closed": lambda: os.open(os.devnull, os.O_RDONLY),  # to be closed by the shell
    "full": lambda: os.open("/dev/full", os.O_WRONLY),
    "nobody reads": gone,
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("where", NOWHERE)
@pytest.mark.parametrize(
    ("args", "statuses"),
    [
        (["status", "--json"], {3}),
        (["login", "--platform", "nosuch", "--json"], {2}),
        (["--help"], {0, 1}),  # Typer says nothing to a closed standard output
        ([], {1, 2}),
    ],
)
def test_what_can_be_said_to_nobody(where: str, args: list[str], statuses: set[int]) -> None:
    """An answer, an error or the help that cannot be written: at most one line, and the status that was meant."""
    script = 'exec "$@" >&-' if where == "closed" else 'exec "$@"'
    stdout = NOWHERE[where]()
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "kimi_auth", *args]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    os.close(stdout)
    assert done.returncode in statuses
    assert done.stderr.count("\n") <= 1
    assert done.stderr == "" or done.stderr.startswith("kimi-auth: ")
    assert "unexpected" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_diagnostics_that_have_no_room() -> None:
    """The exit status still says what happened."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kimi_auth", "status"], stdout=subprocess.DEVNULL, stderr=full, check=False
        )
    assert done.returncode == 3


def test_a_completion_that_cannot_be_installed(tmp_path: Path) -> None:
    """Typer writes into the home directory: what the disk refuses there is one line that names the file."""
    (tmp_path / ".bash_completions").write_text("")
    command = [
        "bash",
        "-c",
        '"$0" -m kimi_auth --install-completion; exit $?',
        sys.executable,
    ]  # the shell that asks is found
    env = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"kimi-auth: {tmp_path}/.bash_completions")
    assert "unexpected" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_shells_completion() -> None:
    """Typer's completion answers with our commands and options, and ends with 0."""
    words = {"COMP_WORDS": "kimi-auth status --ver", "COMP_CWORD": "2", "_KIMI_AUTH_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "kimi_auth"], env={**os.environ, **words}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["--verify", "--verbose", "--version"]


def test_no_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed standard output is said; a closed standard error cannot be, and does not matter."""
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(KimiAuthError, match="standard output is closed"):
        out.line("x")
    monkeypatch.setattr(sys, "stderr", None)
    out.say("into the void")
    out.let_go()


# --- standard error ----------------------------------------------------------------------------------------------------


def test_one_line_is_one_line() -> None:
    """Line breaks, tabs and escapes of others do not reach the terminal."""
    assert one_line(" a\n\tb\x1b[2J\u202ec\u2028d ") == "a b[2Jc d"


def test_what_modules_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings are said as diagnostics, everything only with --verbose; afterwards nothing is left."""
    logger = logging.getLogger("kimi_auth.credential")
    with Terminal() as out:
        logger.info("quiet")
        logger.warning("careful: %s", "here")
        out.say_more()
        logger.debug("aloud")
    logger.info("gone")
    assert capsys.readouterr().err == "kimi-auth: careful: here\nkimi-auth: aloud\n"


def test_events_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The same error as a line, as an object and as an event."""
    error = NotSignedIn("not\nsigned in")
    assert [Terminal(json=form).report(error) for form in ("", "object", "events")] == [3, 3, 3]  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.err == 3 * "kimi-auth: not signed in (sign in: kimi-auth login)\n"
    about = '"code": "not_signed_in", "hint": "sign in: kimi-auth login", "exit": 3'
    first, second = said.out.splitlines()
    assert first == f'{{"error": {{"code": "not_signed_in", "message": "not signed in", {about.partition(", ")[2]}}}}}'
    assert second == f'{{"type": "error", "message": "not signed in", "data": {{{about}}}}}'


def test_events_of_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    """A program is told that a signal ended the command, in its form; a person knows, and no diagnostics say so."""
    assert [Terminal(json=form).interrupted(143) for form in ("", "object", "events")] == [143] * 3  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.err == ""
    about = {"code": "interrupted", "hint": "", "exit": 143}
    words = "a signal ended the command"
    assert [json.loads(line) for line in said.out.splitlines()] == [
        {"error": {"message": words, **about}},
        {"type": "error", "message": words, "data": about},
    ]


# --- ends --------------------------------------------------------------------------------------------------------------

OFFLINE = Unreachable("no network")
ENDS = {
    "signed_in": [(None, None)],
    "denied": [(None, 6), (AccessDenied("no"), 6)],
    "expired": [(None, 7), (OFFLINE, 7)],
    "cancelled": [(None, 130)],
    "models_pending": [(None, 10), (OFFLINE, 10), (ModelsPending("later"), 10)],
    "failed": [(None, 1), (OFFLINE, 5)],
}


@pytest.mark.parametrize("state", Library.load()["device_login"].rest)
def test_every_end_of_a_login_has_its_status(state: str) -> None:
    """Each rest state of device_login: the exit status that is promised, with the error's message where there is
    one."""
    for reason, status in ENDS[state]:
        error = login_error(LoginReport(state, error=reason))
        assert (error.exit_status if error else None) == status
        if error is not None and reason is not None:
            assert reason.message in error.message


STATES = {"absent": 3, "revoked": 4, "blocked": 4, "corrupt": 8}


@pytest.mark.parametrize("state", Library.load()["token_lifecycle"].rest)
def test_every_state_has_its_status(state: str) -> None:
    """Where no token can be had, status ends with the reason's number; with 0 in every other state."""
    error = status_error(Status("kimi-code", "Kimi Code", state, "the file x"))
    assert (error.exit_status if error else 0) == STATES.get(state, 0)
    assert (
        status_error(Status("k", "K", "revoked", "x", error=Revoked("ended: by the person"))).message
        == "ended: by the person"
    )  # type: ignore[union-attr]


# --- the browser -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "system", "opens"),
    [
        ({}, "linux", False),
        ({"SSH_CONNECTION": "x"}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "w"}, "linux", True),
        ({"BROWSER": "firefox"}, "linux", True),
        ({}, "darwin", True),
    ],
)
def test_where_a_browser_can_appear(environ: dict[str, str], system: str, opens: bool) -> None:
    """With a screen, or where the person has named one."""
    assert browser.can_open(environ, system) == opens


@pytest.mark.parametrize("url", ["https://auth.example/device?user_code=A-B", "http://127.0.0.1:8/device"])
def test_the_persons_browser_opens_the_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    """$BROWSER gets the link, whatever it prints is not seen."""
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > "{tmp_path}/opened"\necho noise\necho noise >&2\n')
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{script} %s")
    thread = browser.open_browser(url)
    assert thread is not None
    joined(thread)
    assert (tmp_path / "opened").read_text() == url


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://auth.example/", "--version", "javascript:alert(1)", ""])
def test_no_other_links_are_opened(url: str) -> None:
    """Only https, or http on this machine."""
    assert browser.open_browser(url) is None


def test_without_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """That none can be started ends nothing: the link is on the screen."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    thread = browser.open_browser("https://auth.example/")
    assert thread is not None
    joined(thread)


def test_a_frozen_program_does_not_start_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """There `sys.executable` is the application: the browser is opened from this process."""
    opened: list[str] = []
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(browser.subprocess, "run", lambda *_, **__: pytest.fail("a child was started"))
    monkeypatch.setattr(browser.webbrowser, "open_new_tab", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    thread = browser.open_browser("https://auth.example/")
    assert thread is not None
    joined(thread)
    assert opened == ["https://auth.example/"]
