"""The options that several commands share, and those that every command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kimi_auth import files
from kimi_auth.cli.completion import complete_accounts, complete_platforms
from kimi_auth.cli.declared import ACCOUNT, HOME, JSON, PLATFORM
from kimi_auth.cli.errors import Findings, Usage
from kimi_auth.cli.opening import components_of, open_default, open_session, supply_of
from kimi_auth.cli.terminal import Terminal
from kimi_auth.selection import USUAL_REGION
from kimi_auth.support.language import listed, tr

__all__ = [
    "AccountName",
    "ConfigPath",
    "HomeName",
    "Json",
    "PlatformId",
    "Region",
    "at_home",
    "components_of",
    "concluded",
    "in_region",
    "open_default",
    "open_session",
    "supply_of",
    "terminal_of",
]

PlatformId = Annotated[
    str | None,
    typer.Option(PLATFORM.flag, metavar=PLATFORM.metavar, help=PLATFORM.help, autocompletion=complete_platforms),
]
AccountName = Annotated[
    str | None,
    typer.Option(ACCOUNT.flag, metavar=ACCOUNT.metavar, help=ACCOUNT.help, autocompletion=complete_accounts),
]
HomeName = Annotated[str | None, typer.Option(HOME.flag, metavar=HOME.metavar, help=HOME.help)]
Region = Annotated[
    str | None, typer.Option("--region", metavar="REGION", help="Region of Kimi Code: mainland-cn, or global.")
]
Json = Annotated[bool, typer.Option(JSON.flag, help=JSON.help)]


def at_home(given: Path | None) -> Path | None:
    """The value of an option that names a path, with the home directory for its `~`. Raises BadParameter where that is
    unknown."""
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


def in_region(platform: str | None, region: str | None) -> str | None:
    """What the option `--region` means: the id of the platform that serves it; `platform` where none is given. Raises Usage."""
    from kimi_auth.platforms import registry

    if region is None:
        return platform
    if platform is not None:
        raise Usage(tr("--region and --platform cannot be used together"))
    served = {one.region or USUAL_REGION: one.id for one in registry.all() if one.oauth is not None}
    if region not in served:
        raise Usage(
            tr("no region is called {region}", region=ascii(region)[:80]),
            hint=tr("known: {names}", names=listed(served)),
        )
    return served[region]


def concluded(out: Terminal, findings: Findings) -> Exception:
    """The exception that ends a command with findings; with the shared option `--json` it prints no second object."""
    if not out.json:
        return findings
    out.say(findings.line)
    return typer.Exit(findings.exit_status)


def terminal_of(ctx: typer.Context) -> Terminal:
    """The streams of this command."""
    terminal: Terminal = ctx.obj
    return terminal
