"""`kimi-auth logout`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.logins import logins_of, show_logins
from kimi_auth.cli.options import (
    AccountName,
    ConfigPath,
    HomeName,
    Json,
    PlatformId,
    Region,
    components_of,
    in_region,
    open_session,
    terminal_of,
)
from kimi_auth.cli.terminal import Row, Terminal
from kimi_auth.credential.status import LogoutReport
from kimi_auth.errors import KimiAuthError
from kimi_auth.models import default_location
from kimi_auth.selection import UNLABELLED
from kimi_auth.support.language import counted, tr

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["CONFIGS", "REVOCATIONS", "logout"]

REVOCATIONS = {
    "revoked": tr("the server has revoked the tokens"),
    "unsupported": tr("the server offers no revocation; the tokens expire on their own"),
    "failed": tr("the server could not be reached; the tokens expire on their own"),
    "unread": tr("the tokens could not be read, so they were not revoked; they expire on their own"),
    "": tr("not signed in"),
}
CONFIGS = {
    "restored": tr("nothing of this platform is left in config.toml"),
    "kept": tr("config.toml could not be restored"),
    "": tr("config.toml was not touched"),
}


def logout(
    ctx: typer.Context,
    platform: PlatformId = None,
    region: Region = None,
    account: AccountName = None,
    home: HomeName = None,
    every: Annotated[bool, typer.Option("--all", help="Every login; they are listed, then you are asked.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --all: do not ask.")] = False,
    json: Json = False,
    config_file: ConfigPath = None,
) -> None:
    """Sign out, here and at the server, and clean config.toml."""
    out = terminal_of(ctx)
    for option, is_given in (("--platform", platform), ("--account", account), ("--region", region)):
        if every and is_given is not None:
            raise Usage(tr("--all and {option} cannot be used together", option=option))
    if yes and not every:
        raise Usage(tr("--yes goes with --all: one login is ended without a question"))
    sessions = (
        _signed_in(out, home, is_sure=yes)
        if every
        else [open_session(in_region(platform, region), home=home, account=account, reads=False)]
    )
    reports: list[tuple[Session, LogoutReport | KimiAuthError]] = []
    for session in sessions:
        default_location(components_of(session).share_dir, config_file)
        try:
            with out.signals.held():
                reports.append((session, session.logout_sync()))
        except KimiAuthError as error:
            reports.append((session, error))
    _show(out, reports)
    for _, report in reports:
        if isinstance(report, KimiAuthError):
            raise report
        if report.error is not None and report.config == "kept":
            raise report.error


def _signed_in(out: Terminal, home: str | None, *, is_sure: bool) -> list[Session]:
    """Every login that `logout --all` may have something to sign out of, once they were listed and the person was asked."""
    found = [login for login in logins_of(home, reads=False) if login.is_there or login.is_usual]
    there = [login for login in found if login.is_there]
    if there and not is_sure and (out.json or sys.stdin is None or not sys.stdin.isatty()):
        many = counted(len(there), tr("one login"), tr("{number} logins"))
        raise Usage(
            tr("logout --all ends {logins}, and there is no terminal to ask at", logins=many),
            hint=tr("see them: kimi-auth status --all; end them: kimi-auth logout --all --yes"),
        )
    if there and not out.json:
        show_logins(out, there)
    if there and not is_sure and not typer.confirm(out.text(tr("End all of these logins?")), err=True):
        raise typer.Abort
    return [login.session for login in found]


def _show(out: Terminal, reports: list[tuple[Session, LogoutReport | KimiAuthError]]) -> None:
    done = [(session, report) for session, report in reports if isinstance(report, LogoutReport)]
    if out.json:
        if len(done) == len(reports):
            signed_out = [
                {
                    "platform": session.platform.id,
                    "label": components_of(session).account or None,
                    "revocation": report.revocation,
                    "config": report.config,
                    "left": list(report.left),
                }
                for session, report in done
            ]
            out.record({"signed_out": signed_out})
        return
    for session, report in done:
        rows: list[Row] = []
        if (label := components_of(session).account) not in {"", UNLABELLED}:
            rows.append((tr("account"), label))
        if session.platform.oauth is not None:
            failed = report.error if report.revocation == "failed" else None
            why = tr(": {reason}", reason=failed.message) if failed else ""
            rows.append((tr("server"), REVOCATIONS[report.revocation] + why))
        rows.append((tr("config"), CONFIGS[report.config]))
        for path in report.left:
            rows.append((tr("left"), tr("{path}: may hold a token; check it, then delete it", path=path)))
        title = tr("Signed out of {platform}.", platform=session.platform.name)
        out.rows(rows, title=title, platform=session.platform.id)
