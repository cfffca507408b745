"""The options that several commands share, and those that every command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kimi_auth import files
from kimi_auth.cli.completion import complete_platforms
from kimi_auth.cli.declared import JSON, PLATFORM
from kimi_auth.cli.errors import Findings
from kimi_auth.cli.opening import components_of, open_session, supply_of
from kimi_auth.cli.terminal import Terminal
from kimi_auth.language import tr

__all__ = [
    "ConfigPath",
    "Json",
    "PlatformId",
    "at_home",
    "components_of",
    "concluded",
    "open_session",
    "supply_of",
    "terminal_of",
]

PlatformId = Annotated[
    str | None,
    typer.Option(PLATFORM.flag, metavar=PLATFORM.metavar, help=PLATFORM.help, autocompletion=complete_platforms),
]
Json = Annotated[bool, typer.Option(JSON.flag, help=JSON.help)]


def at_home(given: Path | None) -> Path | None:
    """`given` with the home directory that its `~` means; raises BadParameter for an unknown user's home."""
    try:
        return given and files.expanded(given)
    except RuntimeError:
        raise typer.BadParameter(tr("{given}: there is no such home directory", given=given)) from None


ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "--config-file",
        metavar="FILE",
        callback=at_home,
        help="Must be the default config.toml: others are refused.",
    ),
]


def concluded(out: Terminal, findings: Findings) -> Exception:
    """The exception that ends a command with findings; beside a JSON object that was printed it must print no second one."""
    if not out.json:
        return findings
    out.say(findings.line)
    return typer.Exit(findings.exit_status)


def terminal_of(ctx: typer.Context) -> Terminal:
    """The streams of this command."""
    terminal: Terminal = ctx.obj
    return terminal
