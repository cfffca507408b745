"""The options that several commands share, and those that every command has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kimi_auth import files
from kimi_auth.cli.completion import complete_platforms
from kimi_auth.cli.errors import Usage
from kimi_auth.cli.terminal import Terminal

if TYPE_CHECKING:
    from kimi_auth.machine import Observer
    from kimi_auth.session import Session

__all__ = ["ConfigPath", "Json", "PlatformId", "at_home", "open_session", "terminal_of"]

PlatformId = Annotated[
    str | None,
    typer.Option(
        "--platform",
        metavar="ID",
        help="Platform; default: the default model's, else kimi-code.",
        autocompletion=complete_platforms,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def at_home(given: Path | None) -> Path | None:
    """`given` with the home directory that its `~` means; raises BadParameter for an unknown user's home."""
    try:
        return given and files.expanded(given)
    except RuntimeError:
        raise typer.BadParameter(f"{given}: there is no such home directory") from None


ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "--config-file",
        metavar="FILE",
        callback=at_home,
        help="Must be the default config.toml: others are refused.",
    ),
]


def terminal_of(ctx: typer.Context) -> Terminal:
    """The streams of this command."""
    terminal: Terminal = ctx.obj
    return terminal


def open_session(platform: str | None, *, observe: Observer | None = None) -> Session:
    """A session of a command that ends soon; `observe` is told of its walks, as well as the log that --verbose shows and
    who else listens to every command. Raises Usage for a platform that is not known."""
    from kimi_auth.credential.log_observer import (  # drawing a machine needs none of these
        LogObserver,
    )
    from kimi_auth.machine import Observers, recorder_from_environ
    from kimi_auth.session import Session

    observe = Observers(recorder_from_environ(), LogObserver(), *([observe] if observe else []))
    usual = Session(observe=observe, one_shot=True)
    if platform is None:
        return usual
    if usual.registry.find(platform) is None:
        unknown = usual.registry.unknown(platform)
        raise Usage(unknown.message, hint=unknown.hint)
    return Session(platform=platform, observe=observe, one_shot=True)
