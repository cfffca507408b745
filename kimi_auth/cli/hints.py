"""What the command line names, known before it is understood: command, platform and account; and the commands in hints, repeated
for them."""

from __future__ import annotations

import re
from collections.abc import Collection

from kimi_auth.cli.declared import LANG, PASSES_ON
from kimi_auth.platforms.spec import ID
from kimi_auth.selection import is_label

__all__ = ["account_named", "command_named", "for_login", "own_args", "platform_named", "value_of"]

_COMMANDS = r"kimi-auth (?:login|logout|status|token|doctor|adopt|me|usage|models(?: sync| list)?)\b(?! --help)(?![^;:；：]*{option})"


def for_login(text: str, platform_id: str, account: str = "") -> str:
    """`text` with `--platform ID` and `--account NAME` behind each command that takes them and has none; "" adds nothing."""
    for option, value in (("--account", account), ("--platform", platform_id)):
        if value:
            text = re.sub(_COMMANDS.format(option=option), rf"\g<0> {option} {value}", text)
    return text


def command_named(args: list[str]) -> str:
    """The command that a command line names, "" for none: its first word that is neither an option nor the value of one."""
    return next(iter(args[_argument_at(args, [LANG.flag]) :]), "")


def own_args(args: list[str]) -> list[str]:
    """The arguments that no other program gets: behind the command those before `--` and, where it passes its later arguments
    on, those before its first one that is no option of ours."""
    at = _argument_at(args, [LANG.flag])
    before, behind = args[: at + 1], args[at + 1 :]
    if "--" in behind:
        behind = behind[: behind.index("--")]
    valued = PASSES_ON.get(command_named(args))
    return [*before, *(behind if valued is None else behind[: _argument_at(behind, valued)])]


def _argument_at(args: list[str], valued: Collection[str]) -> int:
    """Where the first one stands that is neither an option nor the value of one of the options that are `valued`."""
    at = 0
    while at < len(args) and args[at].startswith("-") and args[at] != "-":
        at += 2 if args[at] in valued else 1
    return at


def platform_named(args: list[str]) -> str:
    """The platform that a command line names, "" for none."""
    named = value_of(args, "--platform")
    return named if re.fullmatch(ID, named) else ""


def account_named(args: list[str]) -> str:
    """The account that a command line names, "" for none."""
    named = value_of(args, "--account")
    return named if is_label(named) else ""


def value_of(args: list[str], flag: str) -> str:
    """What the command line says for an option that has to be known before it is understood, "" for none; of two, the last."""
    ours = own_args(args)
    pairs = zip(ours, [*ours, ""][1:], strict=True)
    return next(
        (
            after if word == flag else word.partition("=")[2]
            for word, after in reversed(list(pairs))
            if word == flag or word.startswith(f"{flag}=")
        ),
        "",
    )
