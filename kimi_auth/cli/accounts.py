"""`kimi-auth accounts [list|use NAME|rename OLD NEW]`: several accounts of one platform."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kimi_auth.cli.completion import complete_accounts
from kimi_auth.cli.errors import Usage
from kimi_auth.cli.logins import logins_of, show_logins
from kimi_auth.cli.options import HomeName, Json, PlatformId, components_of, open_session, terminal_of
from kimi_auth.cli.terminal import Row, Terminal
from kimi_auth.selection import ACCOUNT_VARIABLES, UNLABELLED, select
from kimi_auth.support.language import tr

if TYPE_CHECKING:
    from kimi_auth.components import Components

__all__ = ["accounts"]

NAMES = {"list": 0, "use": 1, "rename": 2}
"""How many names each action takes."""

FORMS = {"list": "accounts list", "use": "accounts use NAME", "rename": "accounts rename OLD NEW"}

MISSING = {
    "list": tr("list takes no name"),
    "use": tr("use takes one name"),
    "rename": tr("rename takes two names, the old and the new one"),
}


def accounts(
    ctx: typer.Context,
    action: Annotated[
        Literal["list", "use", "rename"],
        typer.Argument(help="list: all of them; use NAME: the one for commands without --account; rename OLD NEW."),
    ] = "list",
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Of accounts.", autocompletion=complete_accounts)
    ] = None,
    platform: PlatformId = None,
    home: HomeName = None,
    json: Json = False,
) -> None:
    """List the accounts of a platform, choose one, or rename one."""
    out, given = terminal_of(ctx), names or []
    if len(given) != NAMES[action]:
        raise Usage(MISSING[action], hint=tr("for example: {command}", command=f"kimi-auth {FORMS[action]}"))
    if action == "list":
        _list(out, platform, home)
    elif action == "use":
        _use(out, _opened(platform, home, given[0]))
    else:
        _rename(out, _opened(platform, home, given[0]), _opened(platform, home, given[1]))


def _opened(platform: str | None, home: str | None, label: str) -> Components:
    return components_of(open_session(platform, home=home, account=label, reads=False))


def _list(out: Terminal, platform: str | None, home: str | None) -> None:
    found = [login for login in logins_of(home, platform=platform) if login.status.label and login.is_listed]
    if out.json:
        out.record({"accounts": [login.data for login in found]})
        return
    show_logins(out, found)
    if not found:
        out.say(tr("no accounts: not signed in (kimi-auth login)"))


def _use(out: Terminal, parts: Components) -> None:
    from kimi_auth.accounts import use_account
    from kimi_auth.models.contents import account_of

    with out.signals.held():
        change = use_account(parts)
    _warn_of_variable(out, parts.account)
    configured = account_of(parts.config.read(), parts.platform) is not None
    if out.json:
        out.record(
            {
                "platform": parts.platform.id,
                "in_use": parts.account,
                "config_written": bool(change),
                "configured": configured,
            }
        )
        return
    rows: list[Row] = [
        (tr("account"), tr("{name} is in use", name=parts.account)),
        (tr("credential"), parts.store.location),
    ]
    if configured:
        rows.append((tr("config"), tr("config.toml names it, so the Kimi CLI uses it, too")))
    else:
        rows.append((tr("config"), tr("config.toml has no provider of this platform yet: kimi-auth models sync")))
    out.rows(rows, title=parts.platform.name, platform=parts.platform.id)


def _rename(out: Terminal, old: Components, new: Components) -> None:
    from kimi_auth.accounts import rename_account

    with out.signals.held():
        done = rename_account(old, new)
    _warn_of_variable(out, new.account)
    if out.json:
        about = {
            "platform": old.platform.id,
            "from": old.account,
            "to": new.account,
            "fp": done.fp,
            "in_use": done.in_use,
        }
        out.record(about)
        return
    rows: list[Row] = [
        (tr("account"), tr("{old} is called {new} now", old=old.account, new=new.account)),
        (tr("credential"), new.store.location),
        (tr("pair"), done.fp),
    ]
    if done.in_use:
        rows.append((tr("in use"), tr("yes")))
    out.rows(rows, title=old.platform.name, platform=old.platform.id)


def _warn_of_variable(out: Terminal, label: str) -> None:
    """Warns after `accounts use` that in this shell the variable comes before the account in use."""
    named, source = select(os.environ, variables=ACCOUNT_VARIABLES)
    if named and named.strip() != (label or UNLABELLED):
        out.say(
            tr(
                "{source}={name} is set here, and comes first (unset {source})",
                source=source,
                name=ascii(named)[1:-1][:40],
            )
        )
