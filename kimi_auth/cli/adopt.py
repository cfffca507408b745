"""`kimi-auth adopt`: takes kimi-code's login, shared or moved; with `--issuer` says which OAuth host a login belongs to."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.options import AccountName, HomeName, Json, PlatformId, components_of, open_session, terminal_of
from kimi_auth.cli.terminal import Row, Terminal
from kimi_auth.errors import AmbiguousHome
from kimi_auth.platforms.server import endpoints_of
from kimi_auth.support.language import tr
from kimi_auth.support.urls import normal_url

if TYPE_CHECKING:
    from kimi_auth.components import Components

__all__ = ["adopt"]


def adopt(
    ctx: typer.Context,
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="URL", help="The OAuth host that issued the stored login.")
    ] = None,
    move: Annotated[
        bool, typer.Option("--move", help="Move kimi-code's login into our home, and sign out there.")
    ] = False,
    platform: PlatformId = None,
    account: AccountName = None,
    home: HomeName = None,
    json: Json = False,
) -> None:
    """Use kimi-code's login, move it, or say whose login is here."""
    out = terminal_of(ctx)
    if issuer is None:
        _take(out, platform, account, home, is_moved=move)
    elif move:
        raise Usage(tr("--move and --issuer cannot be used together"))
    else:
        _bind(out, platform, account, home, issuer)


def _bind(out: Terminal, platform: str | None, account: str | None, home: str | None, issuer: str) -> None:
    from kimi_auth.signing import adopt_login

    try:
        normal_url(issuer)
    except ValueError as problem:
        raise Usage(
            tr("--issuer: {issuer} {problem}", issuer=ascii(issuer)[:80], problem=problem),
            hint=tr("see: kimi-auth adopt --help"),
        ) from None
    session = open_session(platform, home=home, account=account, reads=False)
    selected = endpoints_of(session.platform).issuer
    with out.signals.held():
        done = adopt_login(components_of(session), issuer)
    if out.json:
        was = {"record": done.record_said or None, "binding": done.binding_said or None}
        out.record({"platform": session.platform.id, "fp": done.fp, "issuer": done.issuer, "was": was})
    else:
        rows: list[Row] = [
            (tr("credential"), components_of(session).store.location),
            (tr("pair"), done.fp),
            (tr("record said"), done.record_said or tr("nothing")),
            (tr("binding said"), done.binding_said or tr("nothing")),
            (tr("belongs to"), done.issuer),
        ]
        out.rows(rows, title=session.platform.name, platform=session.platform.id)
    if done.issuer != selected:
        name = (*(session.platform.oauth.host_env if session.platform.oauth else ()), "")[0]
        way = f"export {name}={done.issuer}" if name else tr("name it in platforms.toml")
        out.say(
            tr(
                "this environment selects {selected}, so the login is still not used ({way})",
                selected=selected,
                way=way,
            )
        )


def _take(out: Terminal, platform: str | None, account: str | None, home: str | None, *, is_moved: bool) -> None:
    """Adopts by leaving one pair alive in one home: in kimi-code's, which is used from here on, or moved into ours."""
    from kimi_auth.home import KIMI_CLI, KIMI_CODE
    from kimi_auth.signing import move_login, share_login

    source = components_of(open_session(platform, home=home or KIMI_CODE.name, reads=False))
    own = components_of(open_session(source.platform.id, home=KIMI_CLI.name, account=account, reads=False))
    if source.home.kind is not KIMI_CODE:
        words = tr("{directory} is not kimi-code's home", directory=source.share_dir)
        raise Usage(words, hint=tr("leave out --home, or name the directory that has kimi-code's login"))
    if own.home.kind is not KIMI_CLI or own.share_dir == source.share_dir:
        words = tr("{directory} is {writer}'s home too", directory=own.share_dir, writer=own.home.kind.writer)
        raise Usage(words, hint=tr("run: unset {name}", name="KIMI_SHARE_DIR"))
    with out.signals.held():
        fp, was_copied = (move_login(source, own), False) if is_moved else share_login(source, own)
    target = own if is_moved else source
    rows: list[Row] = [(tr("credential"), target.store.location), (tr("pair"), fp)]
    about = {"platform": target.platform.id, "fp": fp, "home": target.home.kind.name, "to": target.store.location}
    if is_moved:
        rows.insert(0, (tr("from"), source.store.location))
        about["from"] = source.store.location
    if was_copied:
        rows.append((tr("copy removed"), own.store.location))
        about["removed"] = own.store.location
    if out.json:
        out.record(about)
    else:
        out.rows(rows, title=target.platform.name, platform=target.platform.id)
    _say_which_home(out, target)


def _say_which_home(out: Terminal, target: Components) -> None:
    """Says how commands that name no home are led to the adopted login's, where they would use another one."""
    from kimi_auth.home import choose

    try:
        usual = choose(os.environ).path
    except AmbiguousHome:
        return  # which every such command says
    if usual != target.share_dir:
        kind = target.home.kind
        way = f"export {kind.variable}={shlex.quote(str(target.share_dir))}"
        out.say(tr("commands without --home use {directory} ({way})", directory=usual, way=way))
