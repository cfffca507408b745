"""The program: which commands there are, and what every one of them owes its caller (one line, and an exit status)."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import typer

from kimi_auth import files
from kimi_auth._version import __version__
from kimi_auth.cli.completion import scripted
from kimi_auth.cli.errors import Usage
from kimi_auth.cli.hints import platform_named
from kimi_auth.cli.options import terminal_of
from kimi_auth.cli.privileges import settle
from kimi_auth.cli.signals import Stopped
from kimi_auth.cli.terminal import PROGRAM, Terminal, one_line
from kimi_auth.cli.values import leave_as_they_are
from kimi_auth.credential.single_flight import drain
from kimi_auth.errors import KimiAuthError
from kimi_auth.machine import SpecError

__all__ = ["main"]

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What Typer raises for a command line that it does not understand; it exports the subclass only."""

SPEAK_THEMSELVES = {"run", "emulator"}
"""Commands that pass their later arguments on to another program."""

HOMES = {
    "login": "login",
    "logout": "login",
    "status": "status",
    "token": "token",
    "adopt": "adopt",
    "run": "run",
    "models": "models",
    "platforms": "platforms",
    "doctor": "doctor",
    "diagram": "diagram",
    "emulator": "emulator",
    "demo": "demo",
}
"""The module of each command, in the order of the help."""

FORM: dict[str, Any] = {"pretty_exceptions_enable": False, "rich_markup_mode": None}
"""How every command looks and fails: with our own messages."""

app = typer.Typer(
    name=PROGRAM,
    help="Sign in to Kimi once, stay signed in, and hand every program a token that works.",
    epilog="--version, --verbose and --help work with every command. TERM=dumb: plain lines everywhere, for screen readers.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    **FORM,
)


def _say_version(ctx: typer.Context, asked: bool) -> None:
    if asked:
        terminal_of(ctx).line(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _say_more(ctx: typer.Context, asked: bool) -> None:
    if asked:
        terminal_of(ctx).say_more()


@app.callback()
def _everywhere(
    verbose: bool = typer.Option(
        False, "--verbose", "-v", help="Print diagnostics on standard error.", callback=_say_more, expose_value=False
    ),
    version: bool = typer.Option(
        False,
        "--version",
        "-V",
        help="Print the version and exit.",
        callback=_say_version,
        expose_value=False,
        is_eager=True,
    ),
) -> None:
    """Sign in to Kimi once, stay signed in, and hand every program a token that works."""


class _Commands(Mapping[str, Any]):
    """The commands as Typer runs them, each with `everywhere`, the options of all. The module of a command is read when
    that command is asked for, so that none waits for what another one imports; only the help asks for all of them."""

    def __init__(self, everywhere: Sequence[Any]) -> None:
        self._everywhere = everywhere
        self._read: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        home = HOMES[name]
        if name not in self._read:
            room = typer.Typer(**FORM)
            import_module(f"{__package__}.{home}").add_to(room)
            for title, command in typer.main.get_group(room).commands.items():
                leave_as_they_are(command)
                command.params = [*command.params, *self._everywhere]
                self._read[title] = command
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(HOMES)

    def __len__(self) -> int:
        return len(HOMES)


def program() -> Any:
    """The program as Typer runs it."""
    group: Any = typer.main.get_command(app)
    leave_as_they_are(group)
    for option in group.params:
        if option.name in {"show_completion", "install_completion"}:
            option.help = (
                f"{option.name.partition('_')[0].title()} completion for this shell, or for the SHELL that follows."
            )
    group.commands = _Commands([option for option in group.params if option.name in {"verbose", "version"}])
    return group


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (without the program's name) and returns its exit status; raises nothing."""
    args = list(sys.argv[1:] if argv is None else argv)
    with Terminal(json=_json(args), platform=platform_named(args)) as out:
        try:
            with out.signals.taken():  # without a gap: a signal between the two would tear a renewal in flight
                try:
                    status = _run(args, out)
                except Stopped as stopped:  # a second one, while the first was being dealt with
                    status = stopped.exit_status
                _land(out)
        except Stopped as stopped:
            return stopped.exit_status
    return status


def _json(args: list[str]) -> Literal["", "object", "events"]:
    """The form that errors take, known before the command line is understood."""
    command = _command(args)
    if "--json" not in args or command in SPEAK_THEMSELVES:
        return ""
    return "events" if command == "login" else "object"


def _command(args: list[str]) -> str:
    return next((word for word in args if not word.startswith("-")), "")


def _run(args: list[str], out: Terminal) -> int:
    try:
        settle(_command(args), os.environ)
        status = 0 if scripted(args, out) else _obeyed(args, out)
    except KimiAuthError as error:
        return out.report(error)
    except SpecError as error:
        return out.report(_untrusted(error))
    except Stopped as stopped:
        return out.interrupted(stopped.exit_status)
    except (KeyboardInterrupt, typer.Abort):
        return out.interrupted(130)
    except (BrokenPipeError, SystemExit) as ended:
        # A shell's completion ends in SystemExit with 0; Typer turns a reader that has gone into SystemExit with 1.
        if getattr(ended, "code", 1) == 0:
            return 0
        out.let_go()
        return 1
    except (OSError, ImportError) as refusal:
        return _refused(refusal, out) if isinstance(refusal, OSError) else out.report(_incomplete(refusal))
    except Exception as bug:  # noqa: BLE001 - the last resort: one line instead of a traceback with other people's data
        return _bug(bug, out)
    return status if isinstance(status, int) else 0


def _obeyed(args: list[str], out: Terminal) -> object:
    try:
        return program().main(args, prog_name=PROGRAM, standalone_mode=False, obj=out)
    except UsageError as error:
        return _usage(error, args, out)


def _land(out: Terminal) -> None:
    """The end of the program does not interrupt a renewal: the program waits for it, and says so to the caller."""
    with suppress(Stopped), out.signals.held():
        drain(on_wait=lambda: out.say("a renewal is in progress; exiting as soon as its result is stored"))


def _usage(error: Exception, args: list[str], out: Terminal) -> int:
    words = one_line(str(getattr(error, "message", "") or error).removeprefix("Value error, ")).rstrip(".")
    if type(error).__name__ == "NoArgsIsHelpError":
        out.block(str(error))
        return 2
    words = _named(words, error)
    if names := getattr(getattr(error, "param", None), "opts", None):
        words = f"{names[0]}: {words}" if names[0].startswith("-") and names[0] not in words else words
    if alike := getattr(error, "possibilities", None):
        words = f"{words}. Did you mean {alike[0]}?"
    # A parser that misses a value knows no context.
    name = _command(args)
    path = getattr(getattr(error, "ctx", None), "command_path", f"{PROGRAM} {name}" if name in HOMES else PROGRAM)
    return out.report(Usage(words, hint=f"see: {path} --help"))


def _named(words: str, error: Exception) -> str:
    """A refusal of pydantic, which names no value and says "Input should be a valid number, unable to parse string ..."."""
    begin, told = "Input should be ", getattr(error.__cause__, "errors", None)
    if told is None or not words.startswith(begin):
        return words
    return f"{ascii(told()[0].get('input'))[:80]} is not {words.removeprefix(begin).partition(',')[0]}"


def _untrusted(error: SpecError) -> KimiAuthError:
    """Machine files with mistakes, reported to a command that needs them for anything but showing the mistakes."""
    more = f", and {len(error.problems) - 1} more" if error.problems[1:] else ""
    return KimiAuthError(f"the machines cannot run: {error.problems[0]}{more}", hint=f"see it all: {PROGRAM} diagram")


def _incomplete(missing: ImportError) -> KimiAuthError:
    """A module that cannot be loaded: of an installation with a part missing, or of a zip file, which has no native ones."""
    name = (missing.name or "a module").partition(".")[0]
    if any(above.is_file() for above in Path(__file__).parents):  # the zip file itself
        message = f"{name} cannot be loaded from a zip file, because it is, or needs, a native module"
        return KimiAuthError(message, hint="build the program with shiv, which unpacks itself")
    return KimiAuthError(f"{name} cannot be imported: the installation is incomplete", hint="install kimi-auth again")


def _refused(refusal: OSError, out: Terminal) -> int:
    """A refusal of the system without a message of a command, as when Typer writes a help text or a completion."""
    if refusal.filename is None:
        is_help = _last(refusal).tb_frame.f_globals["__name__"].startswith("typer.")
        return out.report(out.unwritten(refusal)) if is_help else _bug(refusal, out)
    _say_where(refusal, out)
    path = Path(os.fsdecode(refusal.filename))
    words, hint = files.reason(refusal, path)
    return out.report(KimiAuthError(f"{path}: {words}", hint=hint))


def _bug(bug: Exception, out: Terminal) -> int:
    """An unexpected exception: its kind and where it was raised, never its message or its data."""
    _say_where(bug, out)
    place = _last(bug)
    return out.report(
        KimiAuthError(
            f"unexpected {type(bug).__name__} at {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}",
            hint=f"please report it, with the output of: {PROGRAM} doctor",
        )
    )


def _say_where(error: Exception, out: Terminal) -> None:
    if out.verbose:
        for frame in traceback.extract_tb(error.__traceback__):
            out.say(f"  {frame.filename}:{frame.lineno} in {frame.name}")


def _last(error: Exception) -> TracebackType:
    """Where it was raised."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace
