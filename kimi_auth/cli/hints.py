"""What the command line names, known before it is understood: command, platform and account; and the commands in hints, repeated
for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from kimi_auth.cli.declared import LANG, PASSES_ON, VALUED
from kimi_auth.platforms.spec import ID
from kimi_auth.selection import is_label

__all__ = ["Named", "account_named", "for_login", "named_in", "platform_named", "value_of"]

_COMMANDS = r"kimi-auth (?:login|logout|status|token|doctor|adopt|me|usage|models(?: sync| list)?)\b(?! --help)(?![^;:；：]*{option})"


def for_login(text: str, platform_id: str, account: str = "") -> str:
    """`text` with `--platform ID` and `--account NAME` behind each command that takes them and has none; "" adds nothing."""
    for option, value in (("--account", account), ("--platform", platform_id)):
        if value:
            text = re.sub(_COMMANDS.format(option=option), rf"\g<0> {option} {value}", text)
    return text


class Named(NamedTuple):
    """What a command line names for this program and no other: the command, "" for none, and the options with their values, ""
    for none, in order."""

    command: str
    options: list[tuple[str, str]]


def named_in(args: Sequence[str]) -> Named:
    """What a command line names, as Typer will understand it. A value may look like anything, also like `--` or an option."""
    command, options, rest = "", list[tuple[str, str]](), iter(args)
    for arg in rest:
        flag, equals, value = arg.partition("=")
        if arg == "--":
            if command:
                break
            command = next(rest, "")
        elif not arg.startswith("-") or arg == "-":
            if command in PASSES_ON:
                break
            command = command or arg
        elif flag in (VALUED if command else {LANG.flag}):
            options.append((flag, value if equals else next(rest, "")))
        else:
            options.append((arg, ""))
    return Named(command, options)


def platform_named(args: Sequence[str]) -> str:
    """The platform that a command line names, "" for none."""
    named = value_of(args, "--platform")
    return named if re.fullmatch(ID, named) else ""


def account_named(args: Sequence[str]) -> str:
    """The account that a command line names, "" for none."""
    named = value_of(args, "--account")
    return named if is_label(named) else ""


def value_of(args: Sequence[str], flag: str) -> str:
    """What the command line says for an option, "" for nothing; of two, the last."""
    return dict(named_in(args).options).get(flag, "")
