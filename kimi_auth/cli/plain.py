"""`kimi-auth status` and `kimi-auth run -- CMD...` as Typer declares them; see `kimi_auth.cli.declared`."""

from __future__ import annotations

from typing import Annotated

import typer

from kimi_auth.cli import run as running
from kimi_auth.cli import status as telling
from kimi_auth.cli.declared import ALL, BROKERED, ENV, PROXY, VERIFY
from kimi_auth.cli.options import AccountName, HomeName, Json, PlatformId, terminal_of

__all__ = ["run", "status"]


def status(
    ctx: typer.Context,
    platform: PlatformId = None,
    account: AccountName = None,
    home: HomeName = None,
    every: Annotated[bool, typer.Option(ALL.flag, help=ALL.help)] = False,
    verify: Annotated[bool, typer.Option(VERIFY.flag, help=VERIFY.help)] = False,
    json: Json = False,
) -> int:
    """Show the stored login and how long it lasts."""
    return telling.status(
        terminal_of(ctx), platform=platform, account=account, home=home, every=every, verify=verify, json=json
    )


def run(
    ctx: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- CMD...", help="The command and its arguments.")
    ] = None,
    platform: PlatformId = None,
    account: AccountName = None,
    home: HomeName = None,
    env: Annotated[list[str] | None, typer.Option(ENV.flag, metavar=ENV.metavar, help=ENV.help)] = None,
    proxy: Annotated[bool, typer.Option(PROXY.flag, help=PROXY.help)] = False,
    brokered: Annotated[bool, typer.Option(BROKERED.flag, help=BROKERED.help)] = False,
) -> int:
    """Run a command with KIMI_API_KEY and KIMI_BASE_URL."""
    return running.run(
        terminal_of(ctx),
        command=command or [],
        platform=platform,
        account=account,
        home=home,
        env=env or [],
        proxy=proxy,
        brokered=brokered,
    )
