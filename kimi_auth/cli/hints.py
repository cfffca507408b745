"""The commands in hints, repeated for the platform that the person has named."""

from __future__ import annotations

import re

from kimi_auth.platforms.spec import ID

__all__ = ["for_platform", "platform_named", "value_of"]

_COMMANDS = re.compile(
    r"kimi-auth (?:login|logout|status|token|doctor|adopt|models(?: sync| list)?)\b(?! --help)(?![^;:；：]*--platform)"
)


def for_platform(text: str, platform_id: str) -> str:
    """`text` with `--platform ID` behind each command that takes it and has none; as it is for ""."""
    if not platform_id:
        return text
    return _COMMANDS.sub(lambda found: f"{found[0]} --platform {platform_id}", text)


def platform_named(args: list[str]) -> str:
    """The platform that a command line names, "" for none; arguments after `--` belong to another program."""
    named = value_of(args, "--platform")
    return named if re.fullmatch(ID, named) else ""


def value_of(args: list[str], flag: str) -> str:
    """The value of an option that has to be known before the command line is understood, "" for none."""
    ours = args[: args.index("--")] if "--" in args else args
    pairs = zip(ours, [*ours, ""][1:], strict=True)
    return next(
        (
            after if word == flag else word.partition("=")[2]
            for word, after in reversed(list(pairs))
            if word == flag or word.startswith(f"{flag}=")
        ),
        "",
    )
