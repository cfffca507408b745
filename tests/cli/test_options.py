"""A command line that is wrong, asks for help, or is being completed: each answer names the next step."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house.patience import ended
from hypothesis import assume, given
from hypothesis import strategies as st

from kimi_auth.cli.declared import PASSES_ON, VALUED
from kimi_auth.cli.hints import named_in
from kimi_auth.cli.program import HOMES, UsageError, program
from kimi_auth.machine import Library
from kimi_auth.platforms import registry
from kimi_auth.support import extras
from kimi_auth.testing.emulator import Emulator, Fault

Run = Callable[..., Any]

PROGRAM = program()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("status --verfy", "No such option: --verfy. Did you mean --verify? (see: kimi-auth status --help)"),
        ("status --nothing-like-it", "No such option: --nothing-like-it (see: kimi-auth status --help)"),
        ("status --platform", "Option '--platform' requires an argument (see: kimi-auth status --help)"),
        ("--verbose login --platform", "Option '--platform' requires an argument (see: kimi-auth login --help)"),
        ("token --min-ttl abc", "--min-ttl: 'abc' is not a valid number (see: kimi-auth token --help)"),
        ("token --min-ttl -1", "--min-ttl: '-1' is not greater than or equal to 0 (see: kimi-auth token --help)"),
        ("--lang en token --min-ttl", "Option '--min-ttl' requires an argument (see: kimi-auth token --help)"),
        ("stauts", "No such command 'stauts'. Did you mean 'status'? (see: kimi-auth --help)"),
    ],
)
def test_a_wrong_option_is_helped(kimi: Run, line: str, said: str) -> None:
    """The mistake with its value, the option that was meant, and the help of that command."""
    found = kimi(*line.split())
    assert (found.status, found.err) == (2, f"kimi-auth: {said}\n")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("", ""),
        ("token get", "token"),
        ("-v token", "token"),
        ("--lang zh token", "token"),
        ("--lang=zh token", "token"),
        ("--verbose --lang zh store keep", "store"),
        ("status --lang run", "status"),
        ("--lang run", ""),
        ("--lang", ""),
        ("-- token", "token"),
        ("-- -v token", "-v"),
        ("--lang -- token", "token"),
    ],
)
def test_the_command_of_a_line(line: str, named: str) -> None:
    """Known before the line is understood: neither an option before it nor the value of one."""
    assert named_in(line.split()).command == named


@pytest.mark.parametrize(
    "line",
    [
        "status",
        "status --home a",
        "status --home a --home=b",
        "status --home=a --home b",
        "status --home= --json",
        "token get --home a",
        "token --home a -- get",
        "token --home a -- --home b",
        "run echo --home b",
        "run --home a echo --home b",
        "run --home a --env NAME echo --home=b",
        "run --env=NAME echo --home b",
        "run --lang en --home=a -v echo -- --home b",
        "run --home a -- echo --home b",
        "run --other --home a echo --home b",
        "run - --home b",
        "status --home --home=D",
        "token --home -- --home a",
        "login --trace --home=b",
        "run --account -- --home a echo",
        "run --platform --home=b --platform c -- echo",
        "lend dir --home b",
        "lend --for kimi-cli --home a dir -- tool --home b",
    ],
)
def test_the_home_of_a_line(line: str) -> None:
    """Known before the line is understood, as Typer will understand it: what another program gets is not ours."""
    command, *words = line.split()
    understood = PROGRAM.commands[command].make_context(command, words, resilient_parsing=True).params["home"]
    assert named_in(line.split()).options.get("--home", "") == (understood or "")
    assert named_in(["--", *line.split()]).options.get("--home", "") == (understood or "")


ARGUMENTS = [
    "a",
    "",
    "-",
    "--",
    "-v",
    "--home",
    "--home=b",
    "--json",
    "--lang",
    "--lang=en",
    "--platform",
    "--account=c",
    "=",
]


def _line_of(command: str) -> st.SearchStrategy[list[str]]:
    flags = [flag for param in PROGRAM.commands[command].params for flag in param.opts if flag.startswith("--")]
    before = st.lists(st.sampled_from(["--lang", "--lang=en", "-v", "--", "en", "--home=b"]), max_size=3)
    behind = st.lists(st.sampled_from([*ARGUMENTS, *flags]), max_size=6)
    return st.builds(lambda early, late: [*early, command, *late], before, behind)


# The emulator's options are unknown to Typer, too; it works in no home.
@given(st.sampled_from([name for name in HOMES if name != "emulator"]).flatmap(_line_of))
def test_any_line_is_read_as_typer_reads_it(line: list[str]) -> None:
    """Values that look like options or like `--`, options given twice, and what belongs to another program: whatever Typer
    takes for a line of a command."""
    try:
        first, rest = _parsed(PROGRAM, line)
        assume(rest and rest[0] in HOMES)
        said, _ = _parsed(PROGRAM.commands[rest[0]], rest[1:])
    except UsageError:
        assume(False)
    named = named_in(line)
    assert named.command == rest[0]
    for name in ("home", "platform", "account"):
        assert named.options.get(f"--{name}", "") == (said.get(name) or "")
    assert named.options.get("--lang", "") == (said.get("lang", first.get("lang")) or "")
    if named.command not in PASSES_ON:  # to them any option may be another program's
        assert ("--json" in named.options) == ("json" in said)


def _parsed(command: Any, args: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The options and the rest that Typer's parser finds; no command is run, and no value is checked."""
    context = command.make_context("", [], resilient_parsing=True)
    context.resilient_parsing = False
    options, rest, _ = command.make_parser(context).parse_args([*args])
    return options, rest


def test_options_with_a_value_are_known() -> None:
    """As Typer has them: what takes a value does so in every command that has it."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for name in HOMES:
        for param in PROGRAM.commands[name].params:
            if param.param_type_name == "option":
                found[param.is_flag].update((*param.opts, *param.secondary_opts))
    assert found[False] == VALUED
    assert not VALUED & found[True]


def test_the_command_s_options_are_its_own(kimi: Run) -> None:
    """A command that `run` or `lend` starts may know --json, --home and --lang: ours say their errors as ever."""
    assert kimi("login").status == 0
    plain = kimi("run", "no-such-program")
    assert plain.status == 127
    assert kimi("run", "no-such-program", "--json", "--lang", "zh", "--home", "nowhere") == plain
    refused = kimi("lend", "--for", "nobody", "dir", "--", "tool")
    assert refused.status == 2
    assert kimi("lend", "--for", "nobody", "dir", "--", "tool", "--json", "--lang", "zh") == refused


def test_a_language_before_the_command(kimi: Run, share_dir: Path) -> None:
    """The form of an error, and the care for the share directory, are those of the command behind the option."""
    before, after = kimi("--lang", "en", "token", "--format", "json"), kimi("token", "--lang", "en", "--format", "json")
    assert (before.status, before.out) == (after.status, after.out)
    assert "error" in json.loads(before.out)
    kimi("login")
    folder = share_dir / "credentials"
    folder.chmod(0o777)
    assert kimi("--lang", "en", "token", "--refresh").status == 0
    assert folder.stat().st_mode & 0o777 == 0o700


def test_of_two_homes_the_last(kimi: Run, share_dir: Path, tmp_path: Path) -> None:
    """The care for a home is for the one that the command works on."""
    kimi("login")
    other = tmp_path / "other" / "credentials"
    other.mkdir(parents=True)
    for folder in (share_dir / "credentials", other):
        folder.chmod(0o777)
    assert kimi("token", "--refresh", "--home", str(other.parent), f"--home={share_dir}").status == 0
    modes = [folder.stat().st_mode & 0o777 for folder in (share_dir / "credentials", other)]
    assert modes == [0o700, 0o777]


COMMANDS = ["login", "logout", "status", "token", "adopt", "run", "models", "doctor", "diagram", "emulator", "demo"]


@pytest.mark.parametrize("command", COMMANDS)
def test_short_options_are_everywhere(kimi: Run, capfd: pytest.CaptureFixture[str], command: str) -> None:
    """-h and -V work with every command, as --help and --version do."""
    assert kimi(command, "-V").out.startswith("kimi-auth ")
    asked = kimi(command, "-h")
    assert asked.status == 0
    assert asked.out.lower().startswith(f"usage: kimi-auth {command} ")


def test_short_options_without_a_command(kimi: Run) -> None:
    """So do they alone; what follows the command of `run` belongs to that command."""
    assert kimi("-V").out.startswith("kimi-auth ")
    assert kimi("-h").out == kimi("--help").out
    kimi("login")
    assert kimi("run", "echo", "-h", "-V").out == "-h -V\n"


# --- what a program reads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args", [("status",), ("models", "sync"), ("models", "sync", "--platform", "kimi-code"), ("logout",)]
)
def test_lines_name_their_platform(kimi: Run, args: tuple[str, ...]) -> None:
    """In a pipe, where no title is drawn, the platform is the first fact."""
    kimi("login")
    assert re.match(r"platform: kimi-code(  \(config\.toml\))?\n", kimi(*args).out)


def test_a_list_of_models_names_the_platform(kimi: Run) -> None:
    """Each line of a piped list: id, context, capabilities, platform."""
    kimi("login")
    lines = [line.split("\t") for line in kimi("models").out.splitlines()]
    assert {len(line) for line in lines} == {4}
    assert {line[3] for line in lines} == {"kimi-code"}


def test_a_second_login_names_the_option(kimi: Run) -> None:
    """A login that stands already says which option makes another one."""
    kimi("login")
    again = kimi("login")
    assert (again.status, again.out) == (
        0,
        "Signed in to Kimi Code as Emulated user already; nothing was changed. Option --force signs in again.\n",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_events_of_an_interrupted_login(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, or a service manager's SIGTERM, is an error event like every other end."""
    with Emulator(approve="page", interval_s=1) as server:
        env = {**os.environ, **server.env, "KIMI_SHARE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", IN_THE_FOREGROUND, "login", "--json"]
        program = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with program:
            assert program.stdout is not None
            assert program.stderr is not None
            while '"waiting"' not in program.stdout.readline():
                pass
            program.send_signal(number)
            *_, last = program.stdout.read().splitlines()
            assert ended(program) == 128 + number
            assert program.stderr.read() == ""
    about = {"code": "interrupted", "hint": "", "exit": 128 + number}
    assert json.loads(last) == {"type": "error", "message": "a signal ended the command", "data": about}


IN_THE_FOREGROUND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from kimi_auth.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""A test runner in the background of a shell hands down an ignored SIGINT."""


# --- extras ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "begins"),
    [
        ("uv-receipt.toml", "", "uv tool install 'kimi-auth["),
        ("pipx_metadata.json", "{}", "pipx install --force 'kimi-auth["),
        ("pyvenv.cfg", "home = /usr/bin\nuv = 0.9.1\n", "uv pip install 'kimi-auth[qr]'"),
        ("pyvenv.cfg", "home = /usr/bin\n", "pip install 'kimi-auth[qr]'"),
        ("other", "", "pip install 'kimi-auth[qr]'"),
    ],
)
def test_the_tool_that_installed_us_adds_an_extra(tmp_path: Path, file: str, text: str, begins: str) -> None:
    """uv tool, pipx, uv's and everyone's environments: each has its own command."""
    (tmp_path / file).write_text(text)
    assert extras.install("qr", str(tmp_path)).startswith(begins)


def test_extras_that_are_there_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uv tool and pipx install from scratch, so the command names every extra that works today."""
    (tmp_path / "uv-receipt.toml").write_text("")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in {"segno", "brotli"} else None)
    assert extras.install("emulator", str(tmp_path)) == "uv tool install 'kimi-auth[compression,emulator,qr]'"


def test_a_demo_without_its_extra_says_so_once(kimi: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason, and the command that adds the extra, once."""
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('not here', name='uvicorn')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    said = kimi("demo")
    assert (said.status, said.err) == (2, f"kimi-auth: the emulator needs uvicorn ({extras.install('emulator')})\n")


# --- completion ------------------------------------------------------------------------------------------------------


def completed(line: str, tmp_path: Path, *args: str) -> list[str]:
    """What bash is offered for the last word of this line; `args`: of a wrapper that it asks instead of the program."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_KIMI_AUTH_COMPLETE": "complete_bash"}
    env = {**os.environ, **words, "KIMI_SHARE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "kimi_auth", *args], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


OWN = """
v = 1

[platforms.acme]
name = "Acme"
auth = "api_key"
api_base = "https://api.acme.example/v1"
revocation = "none"
"""


def test_values_are_completed(tmp_path: Path) -> None:
    """Platform ids, those of one's own too, machine names and formats; beside broken files the values that are known without them."""
    (tmp_path / "platforms.toml").write_text(OWN)
    assert completed("kimi-auth status --platform ", tmp_path) == [*(one.id for one in registry.all()), "acme"]
    assert completed("kimi-auth status --platform ac", tmp_path) == ["acme"]
    assert completed("kimi-auth diagram token_", tmp_path) == ["token_lifecycle", "token_refresh"]
    assert completed("kimi-auth diagram ", tmp_path) == list(Library.load())
    assert completed("kimi-auth diagram --format m", tmp_path) == ["mermaid"]
    (tmp_path / "platforms.toml").write_text("[")
    assert completed("kimi-auth status --platform kimi", tmp_path) == ["kimi-code", "kimi-code-global"]


@pytest.mark.parametrize("args", [("token",), ("token", "--refresh"), ("status",), ("--version",)])
def test_a_completion_runs_no_command(kimi: Run, share_dir: Path, emulator: Emulator, args: tuple[str, ...]) -> None:
    """Where a wrapper of the user's adds a command line, a shell that asks for completions gets them, and no token."""
    kimi("login")
    rotations = emulator.state.counts["rotations"]
    assert completed("kimi-auth logou", share_dir, *args) == ["logout"]
    assert emulator.state.counts["rotations"] == rotations


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "COMPREPLY"), ("zsh", "#compdef kimi-auth"), ("fish", "complete --command kimi-auth")]
)
def test_a_named_shells_completion(kimi: Run, shell: str, mark: str) -> None:
    """--show-completion SHELL prints that shell's script, whichever shell asks."""
    shown = kimi("--show-completion", shell)
    assert (shown.status, shown.out.count(mark)) == (0, 1)


def test_an_unknown_shell(kimi: Run) -> None:
    """The shells that have one are named."""
    said = kimi("--show-completion", "tcsh")
    assert (said.status, said.err.split(" (")[1]) == (2, "known: bash, zsh, fish, powershell, pwsh)\n")


def test_a_named_shells_completion_is_installed(kimi: Run, home: Path) -> None:
    """--install-completion SHELL writes into the home directory and says where."""
    said = kimi("--install-completion", "bash")
    assert said.status == 0
    assert (home / ".bash_completions" / "kimi-auth.sh").read_text().count("COMPREPLY") == 1
    assert str(home) in said.out


# --- signing in again ------------------------------------------------------------------------------------------------

REFUSALS = {
    "an answer that is no OAuth": Fault("token", "refresh_token", status=403, body="<html>go away", times=None),
    "a server error": Fault("token", "refresh_token", status=503, times=None),
    "an answer that was lost": Fault("token", "refresh_token", drop="after", times=None),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_login_that_serves_nothing_is_not_already_one(
    kimi: Run, emulator: Emulator, age: Callable[[float], Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The token has expired and a renewal has failed: where `token` cannot help, `login` shows a code, and then it can."""
    monkeypatch.setattr("kimi_auth.components.PATIENCE_S", 2.0)
    kimi("login")
    age(-10)
    emulator.state.inject(REFUSALS[name])
    assert kimi("token").status == 5
    again = kimi("login")
    assert (again.status, "already" in again.out, "the code: " in again.out) == (0, False, True)
    emulator.state.clear_faults()
    assert kimi("token").status == 0
    assert "already" in kimi("login").out


def test_an_expired_login_that_can_be_renewed_stands(kimi: Run, age: Callable[[float], Any]) -> None:
    """Nothing is known against its renewal, so no new approval is asked for, and `token` renews it."""
    kimi("login")
    age(-10)
    assert "already" in kimi("login").out
    assert kimi("token").status == 0
