"""`kimi-auth me` and `kimi-auth usage`: who is signed in, and the remaining quota."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from kimi_auth.cli.options import AccountName, Json, PlatformId, components_of, open_default, terminal_of
from kimi_auth.cli.terminal import Row
from kimi_auth.support.language import joined, tr

if TYPE_CHECKING:  # the help, which knows every command, waits for none of it
    from kimi_auth.models.profile import Limit

__all__ = ["me", "usage"]

LABELS = {
    "id": tr("id"),
    "nickname": tr("nickname"),
    "region": tr("region"),
    "level": tr("level"),
    "email": tr("email"),
    "phone": tr("phone"),
}


def me(
    ctx: typer.Context,
    platform: PlatformId = None,
    account: AccountName = None,
    json: Json = False,
) -> None:
    """Show who is signed in, as the platform says."""
    from kimi_auth.account import fetch_me

    out, session = terminal_of(ctx), open_default(platform, account=account)
    found = out.signals.run(fetch_me(components_of(session), session))
    values = {name: getattr(found, name) for name in LABELS}
    if json:
        told = {name: value or None for name, value in values.items()}
        out.record({"platform": session.platform.id, "api_base": session.api_origin, **told})
        return
    out.rows([(LABELS[name], value) for name, value in values.items() if value], title=session.platform.name)


def usage(
    ctx: typer.Context,
    platform: PlatformId = None,
    account: AccountName = None,
    json: Json = False,
) -> None:
    """Show the remaining quota."""
    from kimi_auth.account import fetch_usage

    out, session = terminal_of(ctx), open_default(platform, account=account)
    found = out.signals.run(fetch_usage(components_of(session), session))
    if json:
        out.record(
            {
                "platform": session.platform.id,
                "api_base": session.api_origin,
                "level": found.level or None,
                "parallel": found.parallel,
                "limits": [
                    {
                        "name": one.name,
                        "window_s": one.window_s,
                        "limit": one.limit,
                        "used": one.used,
                        "remaining": one.remaining,
                        "left_share": None if one.left_share is None else round(one.left_share, 4),
                        "resets_at": one.resets_at_s,
                    }
                    for one in found.limits
                ],
            }
        )
        return
    now_s = time.time()
    rows: list[Row] = [(LABELS["level"], found.level)] if found.level else []
    rows += [(one.name, _left(one, now_s)) for one in found.limits]
    if found.parallel is not None:
        rows.append((tr("parallel"), tr("{number} requests at the same time", number=found.parallel)))
    out.rows(rows, title=session.platform.name)


def _left(one: Limit, now_s: float) -> str:
    from kimi_auth.cli.status_words import duration

    parts: list[str] = [] if one.left_share is None else [tr("{share:.0%} left", share=one.left_share)]
    if one.limit is not None and one.remaining is not None:
        parts.append(tr("{remaining:g} of {limit:g}", remaining=one.remaining, limit=one.limit))
    if one.resets_at_s is not None:
        parts.append(tr("resets in {time}", time=duration(one.resets_at_s - now_s)))
    return joined(tr(", "), parts) if parts else f"{one.limit:g}"
