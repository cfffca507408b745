"""`kimi-auth status`, `token` and `run -- CMD...` as Typer declares them; see `kimi_auth.cli.declared`."""

from __future__ import annotations

from typing import Annotated

import typer

from kimi_auth.cli import run as running
from kimi_auth.cli import status as telling
from kimi_auth.cli import token as handing_out
from kimi_auth.cli.declared import ALL, BROKERED, ENV, FORMAT, MIN_TTL, PROXY, REFRESH, VERIFY, Format
from kimi_auth.cli.options import AccountName, HomeName, Json, PlatformId, terminal_of
from kimi_auth.support.language import tr

__all__ = ["run", "status", "token"]


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


def seconds(value: float) -> float:
    """The seconds of `kimi-auth token --min-ttl`; NaN is refused, because it compares with nothing and would pass every
    bound."""
    if value != value:  # noqa: PLR0124 - NaN
        raise typer.BadParameter(tr("it is not a number"))
    return value


def token(
    ctx: typer.Context,
    platform: PlatformId = None,
    account: AccountName = None,
    home: HomeName = None,
    min_ttl: Annotated[
        float,
        typer.Option(MIN_TTL.flag, metavar=MIN_TTL.metavar, min=0, max=1e9, help=MIN_TTL.help, callback=seconds),
    ] = 0.0,
    refresh: Annotated[bool, typer.Option(REFRESH.flag, help=REFRESH.help)] = False,
    json: Json = False,
    form: Annotated[Format, typer.Option(FORMAT.flag, help=FORMAT.help)] = "plain",
    operation: Annotated[
        str | None, typer.Argument(metavar="OPERATION", help="get, store, erase or list: what git or docker asks for.")
    ] = None,
) -> int:
    """Print a token that works, and nothing else."""
    return handing_out.token(
        terminal_of(ctx),
        platform=platform,
        account=account,
        home=home,
        min_ttl=min_ttl,
        refresh=refresh,
        json=json,
        form=form,
        operation=operation,
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
