"""The program: which commands there are, and what every one of them owes its caller (one line, and an exit status)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

import typer

from kimi_auth._version import __version__
from kimi_auth.cli import demo, diagram, doctor, emulator, login, models, run, status, token
from kimi_auth.cli.errors import Usage
from kimi_auth.cli.signals import Stopped
from kimi_auth.cli.terminal import PROGRAM, Terminal, one_line
from kimi_auth.errors import KimiAuthError

__all__ = ["app", "main"]

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What Typer raises for a command line that it does not understand; it exports the subclass only."""

EVERYWHERE = {"--verbose", "-v"}

app = typer.Typer(
    name=PROGRAM,
    help="Sign in to Kimi once, stay signed in, and hand every program a token that works.",
    epilog="--version and --verbose work with every command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for room in (login, status, token, run, models, doctor, diagram, emulator, demo):
    room.add_to(app)


@app.callback()
def _everywhere(
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Say more on standard error."),
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Sign in to Kimi once, stay signed in, and hand every program a token that works."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (without the program's name) and returns its exit status; raises nothing."""
    args = list(sys.argv[1:] if argv is None else argv)
    ours = args[: args.index("--")] if "--" in args else args
    if "--version" in ours:
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        return 0
    rest = [word for word in ours if word not in EVERYWHERE] + args[len(ours) :]
    with Terminal(json=_json(ours), verbose=len(rest) < len(args)) as out:
        return _run(rest, out)


def _json(args: list[str]) -> Literal["", "object", "events"]:
    """The form that errors take, known before the command line is understood."""
    if "--json" not in args:
        return ""
    return "events" if "login" in args else "object"


def _run(args: list[str], out: Terminal) -> int:
    command = typer.main.get_command(app)
    try:
        with out.signals.taken():
            status = command.main(args, prog_name=PROGRAM, standalone_mode=False, obj=out)
    except KimiAuthError as error:
        return out.report(error)
    except UsageError as error:
        return _usage(error, out)
    except Stopped as stopped:
        return stopped.exit_status
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        return _nobody_reads()
    except Exception as bug:  # noqa: BLE001 - the last resort: one line instead of a traceback with other people's data
        return _bug(bug, out)
    return status if isinstance(status, int) else 0


def _usage(error: Exception, out: Terminal) -> int:
    words = str(getattr(error, "message", "") or error).removeprefix("Value error, ")
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(f"{words}\n")
        return 2
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", PROGRAM)
    return out.report(Usage(one_line(words).rstrip("."), hint=f"see: {path} --help"))


def _bug(bug: Exception, out: Terminal) -> int:
    """An exception that nobody foresaw: its kind and its place, never its words or its data."""
    if out.verbose:
        import traceback

        for frame in traceback.extract_tb(bug.__traceback__):
            out.say(f"  {frame.filename}:{frame.lineno} in {frame.name}")
    at = _last(bug.__traceback__)
    out.say(f"unexpected {type(bug).__name__} at {at} (please report it, with the output of: {PROGRAM} doctor)")
    return KimiAuthError.exit_status


def _last(trace: TracebackType | None) -> str:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "an unknown place"


def _nobody_reads() -> int:
    """The reader of our output has gone; what Python still holds for it must not fail at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
