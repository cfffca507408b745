"""`kimi-auth adopt --issuer URL`: says which OAuth host the stored login belongs to."""

from __future__ import annotations

from typing import Annotated

import typer

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.options import Json, PlatformId, components_of, open_session, terminal_of
from kimi_auth.cli.terminal import Row
from kimi_auth.language import tr
from kimi_auth.models.account import endpoints_of
from kimi_auth.urls import normal_url

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(adopt)


def adopt(
    ctx: typer.Context,
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="URL", help="The OAuth host that issued the stored login.")
    ] = None,
    platform: PlatformId = None,
    json: Json = False,
) -> None:
    """Say which OAuth host the stored login belongs to."""
    from kimi_auth.signing import adopt_login

    out = terminal_of(ctx)
    if issuer is None:
        raise Usage(tr("adopt needs --issuer"), hint=tr("for example: kimi-auth adopt --issuer https://auth.kimi.com"))
    try:
        normal_url(issuer)
    except ValueError as problem:
        raise Usage(
            tr("--issuer: {issuer} {problem}", issuer=ascii(issuer)[:80], problem=problem),
            hint=tr("see: kimi-auth adopt --help"),
        ) from None
    session = open_session(platform)
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
