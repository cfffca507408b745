"""`kimi-auth login`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.models import say_notes
from kimi_auth.cli.options import (
    AccountName,
    ConfigPath,
    HomeName,
    PlatformId,
    Region,
    components_of,
    in_region,
    open_session,
    terminal_of,
)
from kimi_auth.cli.terminal import Terminal, is_tty, one_line
from kimi_auth.cli.trace import report_failure, trace_into
from kimi_auth.credential.status import LoginReport
from kimi_auth.login.outcome import login_error
from kimi_auth.models import default_location
from kimi_auth.platforms.server import sign_in_command
from kimi_auth.selection import DEFAULT_PLATFORM, UNLABELLED
from kimi_auth.support.language import tr

if TYPE_CHECKING:  # the help, which knows every command, waits for no view
    from kimi_auth.cli.view_live import LiveView
    from kimi_auth.machine import Observer
    from kimi_auth.session import Session

__all__ = ["login", "sign_in"]


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
        report = sign_in(session, out, api_key=_key(out, session, from_stdin=api_key_stdin), force=force)
    elif api_key_stdin:
        raise Usage(
            tr("{platform} takes no API key", platform=session.platform.name),
            hint=tr("name a platform that does: kimi-auth login --platform ID --api-key-stdin"),
        )
    else:
        report = sign_in(
            session, out, force=force, configure=configure, browser=not no_browser, qr=not no_qr, plain=plain
        )
    if report.state in {"signed_in", "models_pending"} and not out.json:
        _say_account(session, report, out.line if plain else out.told)
    say_notes(out, session.platform, report.notes)
    if trace and recorded:
        report_failure(recorded, trace, out)
    if (error := login_error(report)) is not None:
        raise error


def _say_account(session: Session, report: LoginReport, tell: Callable[[str], None]) -> None:
    """Says after `login` how to take it back; which account it is of, where there are several, and how to use one that
    is not in use."""
    parts = components_of(session)
    if session.platform.oauth is not None and not report.already:
        tell(tr("Not what you meant? Take it back at once: {command}", command=parts.sign_out))
    if parts.account and not parts.is_in_use():
        tell(
            tr(
                "This is the account {name}; it is not the one in use. Use it: kimi-auth accounts use {name}",
                name=parts.account,
            )
        )
    elif parts.account not in {"", UNLABELLED}:
        tell(tr("This is the account {name}, the one in use.", name=parts.account))


def sign_in(
    session: Session,
    out: Terminal,
    *,
    api_key: str | None = None,
    force: bool = False,
    configure: bool = False,
    browser: bool = True,
    qr: bool = True,
    plain: bool = False,
) -> LoginReport:
    """One `login`, shown as this terminal can show it; with an API key there is nothing to show but its success."""
    from kimi_auth import signing
    from kimi_auth.cli.view_json import JsonView
    from kimi_auth.cli.view_plain import PlainView
    from kimi_auth.support.browser import can_open, open_browser

    name, is_by_code = session.platform.name, api_key is None
    view: JsonView | LiveView | PlainView
    picture: AbstractContextManager[object] = nullcontext()
    if out.json == "events":
        view = JsonView(out.event, name)
    elif out.is_lively and is_by_code and not plain:
        in_colour = not out.console.no_color  # a QR code must be dark on light, whatever the terminal is
        from kimi_auth.cli.qr import draw_qr
        from kimi_auth.cli.view_live import LiveView

        view = picture = LiveView(
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
    opens = browser and is_by_code and out.json == "" and is_tty(sys.stdout) and can_open()
    with picture:
        report = out.signals.run(
            signing.sign_in(
                components_of(session),
                view,
                force=force,
                configure=configure,
                open_browser=open_browser if opens else None,
                api_key=api_key,
            )
        )
        if is_by_code or report.state == "signed_in":
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


def _session(
    platform: str | None,
    *,
    home: str | None = None,
    account: str | None = None,
    observe: Observer | None = None,
    with_key: bool = False,
) -> Session:
    """The session that `kimi-auth login` signs in: the named platform's, else the default model's, unless that takes a
    key that was not offered."""
    usual = open_session(None, home=home, reads=False).platform if platform is None else None
    if usual is not None and usual.oauth is None and not with_key:
        platform = DEFAULT_PLATFORM
    return open_session(platform, home=home, account=account, reads=False, observe=observe)
