"""`kimi-auth lend DIR [-- CMD...]`: lends access tokens to a kimi-code or a Kimi CLI in a sandbox that sees only DIR."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.options import (
    AccountName,
    HomeName,
    PlatformId,
    at_home,
    components_of,
    open_session,
    supply_of,
    terminal_of,
)
from kimi_auth.cli.terminal import Terminal
from kimi_auth.errors import KimiAuthError
from kimi_auth.platforms import credential_key
from kimi_auth.selection import HOME_KIMI_CODE
from kimi_auth.support.language import listed, tr

if TYPE_CHECKING:
    from kimi_auth.home.kinds import Kind
    from kimi_auth.home.lending import Loan
    from kimi_auth.models import ConfigFile
    from kimi_auth.session import Session

__all__ = ["lend"]

LOOK_S = 1.0
"""So often the lent record is compared with the login, in seconds."""


def lend(
    ctx: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", callback=at_home, help="The sandbox's home of that program.")
    ],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- CMD...", help="Lend for as long as it runs; else until Ctrl-C.")
    ] = None,
    borrower: Annotated[
        str, typer.Option("--for", metavar="PROGRAM", help="The program in the sandbox: kimi-code, or kimi-cli.")
    ] = HOME_KIMI_CODE,
    platform: PlatformId = None,
    account: AccountName = None,
    home: HomeName = None,
) -> int:
    """Lend access tokens to a kimi-code in a sandbox."""
    from kimi_auth.home import KINDS
    from kimi_auth.home.lending import Loan
    from kimi_auth.models import ConfigFile
    from kimi_auth.session import Session

    out = terminal_of(ctx)
    directory = directory.absolute()  # the command may work in another one
    kind = KINDS.get(borrower)
    if kind is None:
        given = ascii(borrower)[:80]
        raise Usage(tr("no program is called {given}", given=given), hint=tr("known: {names}", names=listed(KINDS)))
    chosen = components_of(open_session(platform, home=home, account=account))
    oauth = chosen.platform.oauth
    if oauth is None:
        raise Usage(tr("{platform} takes an API key, and lend needs a login", platform=chosen.platform.name))
    if directory.resolve() == chosen.share_dir.resolve():
        raise Usage(tr("that is the home of the login itself"), hint=tr("lend to a directory of the sandbox's own"))
    loan = Loan(directory, kind.slot(credential_key(chosen.platform.id), oauth.host, chosen.platform.api_base), kind)
    session = Session(home=chosen.home, platform=chosen.platform.id, account=chosen.account or None)
    with _lent(out, session, loan):
        _provision(out, session, ConfigFile(directory), loan, kind)
        words = (command or [])[1:] if (command or [""])[0] == "--" else command  # left there, behind the directory
        if not words:
            out.say(tr("lending to {directory} until Ctrl-C", directory=directory))
            threading.Event().wait()
            return 0
        from kimi_auth.cli.run import _status_of as status_of

        homes = {kind.variable for kind in KINDS.values()}  # the login's own is not the command's
        kept = {name: value for name, value in os.environ.items() if name not in homes}
        return status_of(words, {**kept, kind.variable: str(directory)}, by="lend")


@contextmanager
def _lent(out: Terminal, session: Session, loan: Loan) -> Iterator[None]:
    """Replaces the lent record as the login is renewed, from a thread, for the length of `lend`; removes it at the end."""
    over = threading.Event()

    def go_on() -> None:
        said = ""
        while not over.wait(LOOK_S):
            try:
                loan.put(supply_of(session).token_sync())
                said = ""
            except KimiAuthError as error:
                if error.line != said:
                    out.say(tr("not lent anew: {error}", error=error.line))
                said = error.line

    loan.put(supply_of(session).token_sync())
    lender = threading.Thread(target=go_on, name="kimi-auth lend", daemon=True)
    lender.start()
    try:
        yield
    finally:
        over.set()
        lender.join()
        if not loan.end():
            out.say(tr("another program has replaced {path}, so it stays there", path=loan.path))


def _provision(out: Terminal, session: Session, file: ConfigFile, loan: Loan, kind: Kind) -> None:
    """Writes the config.toml of `lend DIR` where it knows no login: then the program there needs none of its own."""
    from kimi_auth.models.for_kimi_code import KimiCodeConfig
    from kimi_auth.models.platform_config import PlatformConfig

    config = (
        PlatformConfig(file, session.platform)
        if kind.owns_config
        else KimiCodeConfig(file, session.platform, f"oauth/{loan.path.stem}")
    )
    if not config.lacks():
        return
    try:
        config.install(out.signals.run(session.models.fetch()))
    except KimiAuthError as error:
        out.say(tr("its config.toml could not be written: {error}", error=error.line))
