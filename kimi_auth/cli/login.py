"""`kimi-auth login` and `kimi-auth logout`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.logins import logins_of, show_logins
from kimi_auth.cli.models import say_notes
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
from kimi_auth.cli.terminal import Row, Terminal, is_tty, one_line
from kimi_auth.cli.trace import report_failure, trace_into
from kimi_auth.credential.status import LoginReport, LogoutReport
from kimi_auth.errors import KimiAuthError
from kimi_auth.login.outcome import login_error
from kimi_auth.models import default_location
from kimi_auth.platforms.server import sign_in_command
from kimi_auth.selection import DEFAULT_PLATFORM, UNLABELLED
from kimi_auth.support.language import counted, tr

if TYPE_CHECKING:  # the help, which knows every command, waits for no view
    from kimi_auth.cli.view_live import LiveView
    from kimi_auth.machine import Observer
    from kimi_auth.session import Session

__all__ = ["add_to", "sign_in"]

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


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command()(login)
    app.command()(logout)


def login(
    ctx: typer.Context,
    platform: PlatformId = None,
    region: Region = None,
    account: AccountName = None,
    home: HomeName = None,
    force: Annotated[bool, typer.Option("--force", help="Sign in again, even if a login works.")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print events, one JSON object per line.")] = False,
    no_qr: Annotated[bool, typer.Option("--no-qr", help="Draw no QR code.")] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Lines of text, nothing redrawn: for screen readers, as TERM=dumb.")
    ] = False,
    api_key_stdin: Annotated[
        bool, typer.Option("--api-key-stdin", help="Read an API key; for API-key platforms.")
    ] = False,
    configure: Annotated[
        bool, typer.Option("--configure", help="In kimi-code's home: write its config.toml, too.")
    ] = False,
    config_file: ConfigPath = None,
    trace: Annotated[Path | None, typer.Option("--trace", metavar="FILE", help="Record the walk as NDJSON.")] = None,
) -> None:
    """Sign in with a code that you approve in a browser."""
    out = terminal_of(ctx)
    recorded = trace_into(trace) if trace else None
    platform = in_region(platform, region)
    session = _session(platform, home=home, account=account, observe=recorded, with_key=api_key_stdin)
    default_location(components_of(session).share_dir, config_file)
    if session.platform.auth == "api_key":
        report = sign_in_with_key(session, out, _key(out, session, from_stdin=api_key_stdin), force=force)
    elif api_key_stdin:
        raise Usage(
            tr("{platform} takes no API key", platform=session.platform.name),
            hint=tr("name a platform that does: kimi-auth login --platform ID --api-key-stdin"),
        )
    else:
        report = sign_in(
            session, out, force=force, configure=configure, browser=not no_browser, qr=not no_qr, plain=plain
        )
    tell = out.line if plain else out.told
    is_by_code = session.platform.oauth is not None and not report.already
    if is_by_code and report.state in {"signed_in", "models_pending"} and not out.json:
        tell(tr("Not what you meant? Take it back at once: {command}", command=components_of(session).sign_out))
    _say_account(out, session, report, tell)
    say_notes(out, session.platform, report.notes)
    if trace and recorded:
        report_failure(recorded, trace, out)
    if (error := login_error(report)) is not None:
        raise error


def _say_account(out: Terminal, session: Session, report: LoginReport, tell: Callable[[str], None]) -> None:
    """After `login`: which account this was, where there are several; how to use one that is not in use."""
    parts = components_of(session)
    if out.json or report.state not in {"signed_in", "models_pending"} or not parts.account:
        return
    if not parts.is_in_use():
        tell(
            tr(
                "This is the account {name}; it is not the one in use. Use it: kimi-auth accounts use {name}",
                name=parts.account,
            )
        )
    elif parts.account != UNLABELLED:
        tell(tr("This is the account {name}, the one in use.", name=parts.account))


def sign_in(
    session: Session,
    out: Terminal,
    *,
    force: bool = False,
    configure: bool = False,
    browser: bool = True,
    qr: bool = True,
    plain: bool = False,
) -> LoginReport:
    """One `login` with a code, shown as this terminal can show it."""
    from kimi_auth import signing
    from kimi_auth.cli.view_json import JsonView
    from kimi_auth.cli.view_plain import PlainView
    from kimi_auth.support.browser import can_open, open_browser

    name = session.platform.name
    view: JsonView | LiveView | PlainView
    if out.json == "events":
        view = JsonView(out.event, name)
    elif out.is_lively and not plain:
        in_colour = not out.console.no_color  # a QR code must be dark on light, whatever the terminal is
        from kimi_auth.cli.qr import draw_qr
        from kimi_auth.cli.view_live import LiveView

        view = LiveView(
            out.console,
            name,
            line=out.line,
            draw_qr=draw_qr if qr and in_colour else None,
            open_page=open_browser if can_open() else None,
            text=out.text,
        )
    else:
        view = PlainView(out.line, name)
    # An editor that reads events opens the link itself; no person reads a pipe.
    opens = browser and out.json == "" and is_tty(sys.stdout) and can_open()
    with view:
        report = out.signals.run(
            signing.sign_in(
                components_of(session),
                view,
                force=force,
                configure=configure,
                open_browser=open_browser if opens else None,
            )
        )
        view.finish(report)
    return report


def sign_in_with_key(session: Session, out: Terminal, key: str, *, force: bool) -> LoginReport:
    """`login` to a platform that takes an API key."""
    from kimi_auth import signing
    from kimi_auth.cli.view_json import JsonView
    from kimi_auth.cli.view_plain import PlainView
    from kimi_auth.login.view import SilentView

    name = session.platform.name
    view = JsonView(out.event, name) if out.json == "events" else PlainView(out.line, name)
    report = out.signals.run(signing.sign_in(components_of(session), SilentView(), force=force, api_key=key))
    if report.state == "signed_in":
        view.finish(report)
    return report


def _key(out: Terminal, session: Session, *, from_stdin: bool) -> str:
    """The API key to sign in with: a line of standard input, or what a person types unseen. Raises Usage where there is neither."""
    if from_stdin and sys.stdin is not None:
        from kimi_auth.login.api_keys import KEY_CHARACTERS_MAX

        # Room for the end of the line: a key that is too long must stay too long.
        return sys.stdin.readline(KEY_CHARACTERS_MAX + 2)
    if sys.stdin is not None and sys.stdin.isatty():
        from kimi_auth.cli.hidden_prompt import hidden_prompt

        return hidden_prompt(one_line(out.text(tr("API key for {platform}", platform=session.platform.name))))
    raise Usage(
        tr("{platform} takes an API key, and standard input is not a terminal", platform=session.platform.name),
        hint=tr("give it on standard input: {command}", command=sign_in_command(session.platform)),
    )


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


def _session(
    platform: str | None,
    *,
    home: str | None = None,
    account: str | None = None,
    observe: Observer | None = None,
    with_key: bool = False,
) -> Session:
    """The session to sign in: the named platform's, else the default model's, unless that takes a key that was not offered."""
    usual = open_session(None, home=home, reads=False).platform if platform is None else None
    if usual is not None and usual.oauth is None and not with_key:
        platform = DEFAULT_PLATFORM
    return open_session(platform, home=home, account=account, reads=False, observe=observe)


def _signed_in(out: Terminal, home: str | None, *, is_sure: bool) -> list[Session]:
    """For `logout --all`: every login that may have something to sign out of, once they were listed and the person was asked."""
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
            why = (
                tr(": {reason}", reason=report.error.message) if report.revocation == "failed" and report.error else ""
            )
            rows.append((tr("server"), REVOCATIONS[report.revocation] + why))
        rows.append((tr("config"), CONFIGS[report.config]))
        rows += [
            (tr("left"), tr("{path}: may hold a token; check it, then delete it", path=path)) for path in report.left
        ]
        out.rows(
            rows, title=tr("Signed out of {platform}.", platform=session.platform.name), platform=session.platform.id
        )
