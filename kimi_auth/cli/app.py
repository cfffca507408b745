"""The program, and what every command owes its caller: one line, and an exit status. `program` knows the commands."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Literal

from kimi_auth import files
from kimi_auth.cli.completion import scripted
from kimi_auth.cli.declared import FORMAT, HOME, JSON, LANG, PASSES_ON, PLAIN, understood
from kimi_auth.cli.hints import Named, named_in
from kimi_auth.cli.privileges import settle
from kimi_auth.cli.signals import Stopped
from kimi_auth.cli.terminal import Terminal
from kimi_auth.credential.single_flight import drain
from kimi_auth.errors import KimiAuthError
from kimi_auth.machine import SpecError
from kimi_auth.selection import COMPLETION
from kimi_auth.support.language import selected, tr

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program on the command line `argv` (without the program's name) and returns its exit status; raises nothing.
    Default: the process's own command line; then that process ends here, and the garbage in it stays."""
    args = list(sys.argv[1:] if argv is None else argv)
    named = named_in(args)
    if argv is None and _is_brief(named):
        gc.disable()  # a renewal makes 50 collections of new objects, nearly all of which stay: a twentieth of its CPU
    status = _ended(args, named)
    if argv is None:
        gc.freeze()  # at its end Python would search all objects several times: a seventh of the CPU of a renewal
    return status


def _is_brief(named: Named) -> bool:
    """Whether this is a command that answers and ends: one that Typer is not needed for, and that starts no other program."""
    plain = PLAIN.get(named.command)
    return plain is not None and not plain.takes_command


def _ended(args: list[str], named: Named) -> int:
    platform, account = named.platform, named.account
    with Terminal(json=_json(named), platform=platform, account=account, language=_language(named)) as out:
        try:
            with out.signals.taken():  # without a gap: a signal between the two would tear a renewal in flight
                try:
                    status = _run(args, named, out)
                except Stopped as stopped:  # a second one, while the first was being dealt with
                    status = stopped.exit_status
                _land(out)
        except Stopped as stopped:
            return stopped.exit_status
    return status


def _json(named: Named) -> Literal["", "object", "events"]:
    """The form that errors take, known before the command line is understood."""
    command, options = named
    is_asked = JSON.flag in options or (command == "token" and options.get(FORMAT.flag) == "json")
    if not is_asked or command in PASSES_ON:
        return ""
    return "events" if command == "login" else "object"


def _language(named: Named) -> str:
    asked = named.options.get(LANG.flag)
    return asked if asked in LANG.choices else selected(os.environ)


def _run(args: list[str], named: Named, out: Terminal) -> int:
    try:
        settle(named.command, os.environ, named.options.get(HOME.flag, ""))
        status = 0 if scripted(args, out) else _obeyed(args, out)
    except KimiAuthError as error:
        return out.report(error)
    except SpecError as error:
        return out.report(_untrusted(error))
    except Stopped as stopped:
        return out.interrupted(stopped.exit_status)
    except KeyboardInterrupt:
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
    if COMPLETION not in os.environ and (plain := understood(args)) is not None:
        command, values = plain
        return getattr(import_module(f"{__package__}.{command.module}"), command.module)(out, **values)
    from kimi_auth.cli.program import obey

    return obey(args, out)


def _land(out: Terminal) -> None:
    """The end of the program does not interrupt a renewal: the program waits for it, and says so to the caller."""
    with suppress(Stopped), out.signals.held():
        drain(on_wait=lambda: out.say(tr("a renewal is in progress; exiting as soon as its result is stored")))


def _untrusted(error: SpecError) -> KimiAuthError:
    """Machine files with mistakes, reported to a command that needs them for anything but showing the mistakes."""
    more = tr(", and {number} more", number=len(error.problems) - 1) if error.problems[1:] else ""
    return KimiAuthError(
        tr("the machines cannot run: {problem}{more}", problem=error.problems[0], more=more),
        hint=tr("see it all: kimi-auth diagram"),
    )


def _incomplete(missing: ImportError) -> KimiAuthError:
    """The line of any command where a module cannot be loaded: the installation lacks a part, or is a zip file."""
    name = (missing.name or "a module").partition(".")[0]
    if any(above.is_file() for above in Path(__file__).parents):  # the zip file itself
        message = tr("{name} cannot be loaded from a zip file, because it is, or needs, a native module", name=name)
        return KimiAuthError(message, hint=tr("build the program with shiv, which unpacks itself"))
    return KimiAuthError(
        tr("{name} cannot be imported: the installation is incomplete", name=name), hint=tr("install kimi-auth again")
    )


def _refused(refusal: OSError, out: Terminal) -> int:
    """The line for a refusal of the system without a message of a command, as when Typer writes a help text or a completion."""
    if refusal.filename is None:
        is_help = _last(refusal).tb_frame.f_globals["__name__"].startswith("typer.")
        return out.report(out.unwritten(refusal)) if is_help else _bug(refusal, out)
    _say_where(refusal, out)
    path = Path(os.fsdecode(refusal.filename))
    words, hint = files.reason(refusal, path)
    return out.report(KimiAuthError(tr("{path}: {reason}", path=path, reason=words), hint=hint))


def _bug(bug: Exception, out: Terminal) -> int:
    """The line for an unexpected exception: its kind and where it was raised, never its message or its data."""
    _say_where(bug, out)
    place = _last(bug)
    return out.report(
        KimiAuthError(
            tr(
                "unexpected {kind} at {file}:{line}",
                kind=type(bug).__name__,
                file=Path(place.tb_frame.f_code.co_filename).name,
                line=place.tb_lineno,
            ),
            hint=tr("please report it, with the output of: kimi-auth doctor"),
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
