"""What the command line names, known before it is understood: command, platform and account; and the commands in hints, repeated
for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kimi_auth.cli.declared import ACCOUNT, LANG, PASSES_ON, PLATFORM, VALUED
from kimi_auth.platforms.spec import ID
from kimi_auth.selection import is_label

__all__ = ["Named", "for_login", "named_in"]

_COMMANDS = r"kimi-auth (?:login|logout|status|token|doctor|adopt|me|usage|models(?: sync| list)?)\b(?! --help)(?![^;:；：]*{option})"


def for_login(text: str, platform_id: str, account: str = "") -> str:
    """`text` with `--platform ID` and `--account NAME` behind each command that takes them and has none; "" adds nothing."""
    for option, value in (("--account", account), ("--platform", platform_id)):
        if value:
            text = re.sub(_COMMANDS.format(option=option), rf"\g<0> {option} {value}", text)
    return text


class Named(NamedTuple):
    """What a command line names for this program and no other: the command, "" for none, and the options with their values, ""
    for none; of an option that is given twice the last value."""

    command: str
    options: Mapping[str, str]

    @property
    def platform(self) -> str:
        """The id of the platform, "" for none."""
        named = self.options.get(PLATFORM.flag, "")
        return named if re.fullmatch(ID, named) else ""

    @property
    def account(self) -> str:
        """The label of the account, "" for none."""
        named = self.options.get(ACCOUNT.flag, "")
        return named if is_label(named) else ""


def named_in(args: Sequence[str]) -> Named:
    """What a command line names, as Typer will understand it. A value may look like anything, also like `--` or an option."""
    command, options, rest = "", dict[str, str](), iter(args)
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
            options[flag] = value if equals else next(rest, "")
        else:
            options[arg] = ""
    return Named(command, options)
