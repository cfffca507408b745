"""The commands in hints, repeated for the platform that the person has named."""

from __future__ import annotations

import re

from kimi_auth.platforms.spec import ID

__all__ = ["for_platform", "platform_named"]

_COMMANDS = re.compile(
    r"kimi-auth (?:login|logout|status|token|doctor|adopt|me|usage|models(?: sync| list)?)\b(?! --help)(?![^;:]*--platform)"
)


def for_platform(text: str, platform_id: str) -> str:
    """`text` with `--platform ID` behind each command that takes it and has none; as it is for ""."""
    if not platform_id:
        return text
    return _COMMANDS.sub(lambda found: f"{found[0]} --platform {platform_id}", text)


def platform_named(args: list[str]) -> str:
    """The platform that a command line names, "" for none; arguments after `--` belong to another program."""
    ours = args[: args.index("--")] if "--" in args else args
    pairs = zip(ours, [*ours, ""][1:], strict=True)
    named = [value if word == "--platform" else word.partition("=")[2] for word, value in pairs if _names(word)]
    return named[-1] if named and re.fullmatch(ID, named[-1]) else ""


def _names(word: str) -> bool:
    return word == "--platform" or word.startswith("--platform=")
