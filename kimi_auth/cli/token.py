"""`kimi-auth token`: prints a token that works, and nothing else. The fast lane is in `kimi_auth.__main__`."""

from __future__ import annotations

from typing import Annotated

import typer

from kimi_auth.cli.options import Json, PlatformId, components_of, open_session, supply_of, terminal_of
from kimi_auth.cli.renewing import handed_out
from kimi_auth.language import tr
from kimi_auth.selection import DEFAULT_PLATFORM
from kimi_auth.token import described, left_s, phase

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(token)


def seconds(value: float) -> float:
    """A number of seconds; NaN is refused, because it compares with nothing and would pass every bound."""
    if value != value:  # noqa: PLR0124 - NaN
        raise typer.BadParameter(tr("it is not a number"))
    return value


def token(
    ctx: typer.Context,
    platform: PlatformId = None,
    min_ttl: Annotated[
        float,
        typer.Option(
            "--min-ttl", metavar="S", min=0, max=1e9, help="Minimum remaining lifetime in seconds.", callback=seconds
        ),
    ] = 0.0,
    refresh: Annotated[bool, typer.Option("--refresh", help="Renew now, even if the stored token works.")] = False,
    json: Json = False,
) -> None:
    """Print a token that works, and nothing else."""
    out = terminal_of(ctx)
    session = open_session(platform)
    with out.signals.held():
        pair = handed_out(session, supply_of(session).token_sync(min_ttl_s=min_ttl, refresh=refresh))
    now_s, ends = components_of(session).age_clock.now_s(), session.platform.oauth is not None  # an API key has no end
    if json:
        out.record(described(pair, session.platform.id, now_s, ends=ends))
    else:
        out.line(pair.access_token)
    if platform is None and session.platform.id != DEFAULT_PLATFORM:
        out.say(
            tr(
                "this is {platform}'s, for {api} (choose: --platform {id})",
                platform=session.platform.name,
                api=session.platform.api_base,
                id=session.platform.id,
            )
        )
    if left_s(pair, now_s) < min_ttl and phase(pair, now_s) != "fresh":  # else the session has said why
        out.say(
            tr(
                "this token lives {left:.0f} s, less than --min-ttl: it could not be renewed now",
                left=left_s(pair, now_s),
            )
        )
