"""The command line as Typer reads it: which commands there are, and the message for one that it does not understand."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import typer

from kimi_auth._version import __version__
from kimi_auth.cli.declared import LANG, PASSES_ON
from kimi_auth.cli.errors import Usage
from kimi_auth.cli.hints import named_in
from kimi_auth.cli.options import terminal_of
from kimi_auth.cli.terminal import PROGRAM, Terminal, one_line
from kimi_auth.cli.values import leave_as_they_are
from kimi_auth.support.language import listed, tr

__all__ = ["obey", "program"]

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What Typer raises for a command line that it does not understand; it exports the subclass only."""

_OF_TYPER = (
    tr("No such option: {name}"),
    tr("No such command {name}"),
    tr("Missing argument {name}"),
    tr("No such command {name}. Did you mean {other}?"),
    tr("Got unexpected extra argument(s) ({name})"),
    tr("Option {name} requires an argument"),
    tr("Option {name} does not take a value"),
    tr("Invalid value for {name}: {reason}"),
    tr("{value} is not a valid number"),
    tr("{value} is not a valid integer"),
    tr("{value} is not greater than or equal to {least}"),
    tr("{value} is not one of {choices}"),
)

HOMES = {
    "login": "login",
    "logout": "logout",
    "status": "plain",
    "token": "plain",
    "adopt": "adopt",
    "lend": "lend",
    "serve": "serve",
    "run": "plain",
    "models": "models",
    "me": "account",
    "usage": "account",
    "accounts": "accounts",
    "platforms": "platforms",
    "doctor": "doctor",
    "store": "store",
    "diagram": "diagram",
    "emulator": "emulator",
    "demo": "demo",
}
"""The module of each command, which has a function of the command's name, in the order of the help."""

SETTINGS: dict[str, dict[str, Any]] = {
    name: {"ignore_unknown_options": True, "allow_interspersed_args": False} for name in PASSES_ON
}
SETTINGS["emulator"]["help_option_names"] = []  # its options are the emulator's own

NARROW, NARROWEST = 52, 20
"""Typer writes its help for the first many columns at least, for the second where the terminal has fewer; it would break it anywhere."""

FORM: dict[str, Any] = {"pretty_exceptions_enable": False, "rich_markup_mode": None}
"""How every command looks and fails: with our own messages."""

app: typer.Typer = typer.Typer(
    name=PROGRAM,
    help="Sign in to Kimi once, stay signed in, and hand every program a token that works.",
    epilog="--version, --verbose, --lang and --help work with every command. TERM=dumb: plain lines everywhere, for screen readers.",
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


def _known_language(asked: str | None) -> None:
    if asked is not None and asked not in LANG.choices:
        raise typer.BadParameter(tr("there is no such language; known: {names}", names=listed(LANG.choices)))


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
    lang: str = typer.Option(
        None, LANG.flag, metavar=LANG.metavar, help=LANG.help, callback=_known_language, expose_value=False
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
        if name not in self._read:
            room = typer.Typer(**FORM)
            run = getattr(import_module(f"{__package__}.{HOMES[name]}"), name)
            room.command(context_settings=SETTINGS.get(name))(run)
            command = self._read[name] = typer.main.get_group(room).commands[name]
            leave_as_they_are(command)
            command.params = [*command.params, *self._everywhere]
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
    group.commands = _Commands([option for option in group.params if option.name in {"verbose", "version", "lang"}])
    return group


def obey(args: list[str], out: Terminal) -> object:
    """Has Typer read the command line and run its command; returns what that returns: an exit status, or None for 0."""
    try:
        columns = shutil.get_terminal_size().columns
        width = max(columns - 2, NARROWEST) if columns < NARROW else None
        return program().main(args, prog_name=PROGRAM, standalone_mode=False, obj=out, terminal_width=width)
    except UsageError as error:
        return _usage(error, args, out)
    except typer.Abort:  # a prompt that was left
        raise KeyboardInterrupt from None


def _usage(error: Exception, args: list[str], out: Terminal) -> int:
    words = one_line(str(getattr(error, "message", "") or error).removeprefix("Value error, ")).rstrip(".")
    if type(error).__name__ == "NoArgsIsHelpError":
        out.block(str(error))
        return 2
    words = _sentence(_named(words, error))
    if names := getattr(getattr(error, "param", None), "opts", None):
        words = (
            tr("{name}: {reason}", name=names[0], reason=words)
            if names[0].startswith("-") and names[0] not in words
            else words
        )
    if alike := getattr(error, "possibilities", None):
        words = tr("{message}. Did you mean {name}?", message=words, name=alike[0])
    # A parser that misses a value knows no context.
    name = named_in(args).command
    path = getattr(getattr(error, "ctx", None), "command_path", f"{PROGRAM} {name}" if name in HOMES else PROGRAM)
    return out.report(Usage(words, hint=tr("see: {path} --help", path=path)))


def _sentence(words: str) -> str:
    """Typer's message as one of ours, where it is a common one: then it can be said in another language."""
    for template in _OF_TYPER:
        is_long = "{reason}" in template or "{choices}" in template
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)" if is_long else r"(?P<\1>\\S+)", re.escape(template))
        if found := re.fullmatch(pattern, words):
            values = found.groupdict()
            return template.format(
                **{name: listed(it.split(", ")) if name == "choices" else it for name, it in values.items()}
            )
    return words


def _named(words: str, error: Exception) -> str:
    """A refusal of pydantic, which names no value and says "Input should be a valid number, unable to parse string ..."."""
    begin, told = "Input should be ", getattr(error.__cause__, "errors", None)
    if told is None or not words.startswith(begin):
        return words
    return f"{ascii(told()[0].get('input'))[:80]} is not {words.removeprefix(begin).partition(',')[0]}"
