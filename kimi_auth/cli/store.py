"""`kimi-auth store [check|init|move|keep]`: the database that keeps logins, where `KIMI_AUTH_STORE` names one."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

from kimi_auth.cli.doctor import report
from kimi_auth.cli.doctor.check import Check, public
from kimi_auth.cli.errors import Usage
from kimi_auth.cli.options import AccountName, HomeName, Json, PlatformId, components_of, open_session, terminal_of
from kimi_auth.cli.terminal import Row, Terminal
from kimi_auth.errors import ConfigError
from kimi_auth.selection import STORE, select
from kimi_auth.support.language import tr

__all__ = ["store"]


def store(
    ctx: typer.Context,
    action: Annotated[
        Literal["check", "init", "move", "keep"],
        typer.Argument(
            help="check: look at it, and at what this host keeps beside it; init: make its tables and roles; move: move logins; keep: renew every login before it ends."
        ),
    ] = "check",
    to: Annotated[
        str | None, typer.Option("--to", metavar="URL|file", help="Where logins move: a database, or this home.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would move, and move nothing.")] = False,
    workers: Annotated[int, typer.Option("--workers", help="Of keep: processes.")] = 1,
    in_flight: Annotated[int, typer.Option("--in-flight", help="Of keep: requests of a worker at a time.")] = 400,
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="HOST:PORT|FILE", help="Of keep: where its OpenMetrics are.")
    ] = "",
    platform: PlatformId = None,
    account: AccountName = None,
    home: HomeName = None,
    json: Json = False,
) -> None:
    """Check a database of logins, prepare it, move or keep logins."""
    out = terminal_of(ctx)
    if (to is None) == (action == "move"):
        raise Usage(
            tr("--to goes with store move, and says where logins move"),
            hint=tr("for example: {command}", command="kimi-auth store move --to postgresql://HOST/DATABASE"),
        )
    if action == "init":
        _init(out)
        return
    if action == "keep":
        from kimi_auth.cli.keep import keep

        if workers < 1 or in_flight < 1:
            raise Usage(tr("--workers and --in-flight take a number above 0"))
        url = _named(os.environ.get(STORE, ""))
        keep(out, url, workers=workers, in_flight=in_flight, metrics=metrics, home=home)
        return
    if action == "move" and to is not None:
        from kimi_auth.cli.moving import FILE, move

        url = _named(os.environ.get(STORE, "") if to == FILE else to)
        move(out, to, url, home=home, platform=platform, account=account, is_trial=dry_run)
        return
    found = components_of(open_session(platform, home=home, account=account)).store.examine()
    text = str if out.json else out.text
    report(out, [Check(*(public(text(part)) for part in finding)) for finding in found], json=json)


def _named(address: str) -> str:
    """The database that is named to `kimi-auth store`, without blanks around it. Raises ConfigError where none is."""
    if url := address.strip():
        return url
    raise ConfigError(
        tr("no database is named"),
        hint=tr("export KIMI_AUTH_STORE=postgresql://USER@HOST/DATABASE?sslmode=verify-full"),
    )


def _init(out: Terminal) -> None:
    """The command `kimi-auth store init`: makes missing tables and roles, and says so; may be repeated."""
    url, _ = select(os.environ, variables=(STORE,))
    if not url:
        raise ConfigError(
            tr("no database is named"),
            hint=tr("export KIMI_AUTH_STORE=postgresql://OWNER@HOST/DATABASE?sslmode=verify-full"),
        )
    from kimi_auth.store.postgres import Address, make_tables

    address = Address(url.strip())
    problem = make_tables(address)
    if out.json:
        out.record({"database": str(address), "roles": problem is None})
        return
    rows: list[Row] = [
        (tr("database"), str(address)),
        (tr("tables"), tr("are there")),
        (tr("roles"), "kimi_auth_renewer, kimi_auth_reader" if problem is None else problem.message),
    ]
    out.rows(rows, title=tr("Store"))
