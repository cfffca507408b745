"""`kimi-auth adopt --issuer URL`: says which OAuth host the stored login belongs to."""

from __future__ import annotations

from typing import Annotated

import typer

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.options import HomeName, Json, PlatformId, components_of, open_session, terminal_of
from kimi_auth.cli.terminal import Row, Terminal
from kimi_auth.platforms.server import endpoints_of
from kimi_auth.support.language import tr
from kimi_auth.support.urls import normal_url

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(adopt)


def adopt(
    ctx: typer.Context,
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="URL", help="The OAuth host that issued the stored login.")
    ] = None,
    move: Annotated[
        bool, typer.Option("--move", help="Move kimi-code's login into our home, and sign out there.")
    ] = False,
    platform: PlatformId = None,
    home: HomeName = None,
    json: Json = False,
) -> None:
    """Say which host a login is from, or move one here."""
    from kimi_auth.signing import adopt_login

    out = terminal_of(ctx)
    if move:
        _move(out, platform, issuer, home)
        return
    if issuer is None:
        raise Usage(
            tr("adopt needs --issuer, or --move"),
            hint=tr("for example: kimi-auth adopt --issuer https://auth.kimi.com"),
        )
    try:
        normal_url(issuer)
    except ValueError as problem:
        raise Usage(
            tr("--issuer: {issuer} {problem}", issuer=ascii(issuer)[:80], problem=problem),
            hint=tr("see: kimi-auth adopt --help"),
        ) from None
    session = open_session(platform, home=home, reads=False)
    selected = endpoints_of(session.platform).issuer
    with out.signals.held():
        done = adopt_login(components_of(session), issuer)
    if json:
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


def _move(out: Terminal, platform: str | None, issuer: str | None, home: str | None) -> None:
    from kimi_auth.home import KIMI_CLI, KIMI_CODE
    from kimi_auth.signing import move_login

    if issuer is not None:
        raise Usage(tr("--move and --issuer cannot be used together"))
    source = components_of(open_session(platform, home=home or KIMI_CODE.name, reads=False))
    target = components_of(open_session(source.platform.id, home=KIMI_CLI.name, reads=False))
    if target.home.kind is not KIMI_CLI or target.share_dir == source.share_dir:
        words = tr("{directory} is {writer}'s home too", directory=target.share_dir, writer=target.home.kind.writer)
        raise Usage(words, hint=tr("run: unset {name}", name="KIMI_SHARE_DIR"))
    with out.signals.held():
        fp = move_login(source, target)
    if out.json:
        out.record(
            {"platform": target.platform.id, "fp": fp, "from": source.store.location, "to": target.store.location}
        )
        return
    rows: list[Row] = [
        (tr("from"), source.store.location),
        (tr("credential"), target.store.location),
        (tr("pair"), fp),
    ]
    out.rows(rows, title=target.platform.name, platform=target.platform.id)
