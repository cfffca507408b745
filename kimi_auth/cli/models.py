"""`kimi-auth models [sync|list]`: the platform's catalogue and config.toml."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kimi_auth.cli.options import Json, PlatformId, open_session, terminal_of
from kimi_auth.cli.terminal import Row, Terminal
from kimi_auth.platforms import Change, ModelEntry, capabilities
from kimi_auth.session import Session

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(models)


def models(
    ctx: typer.Context,
    action: Annotated[
        Literal["list", "sync"], typer.Argument(help="list: what the platform offers; sync: into config.toml.")
    ] = "list",
    platform: PlatformId = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With sync: say what would change, write nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """List the models, or bring config.toml up to them."""
    out = terminal_of(ctx)
    session = open_session(platform)
    if action == "list":
        _show_list(out, session, out.signals.run(session.fetch_models()))
    else:
        _show_change(out, out.signals.run(session.sync_models(dry_run=dry_run)), dry_run=dry_run)


def _show_list(out: Terminal, session: Session, found: tuple[ModelEntry, ...]) -> None:
    if out.json:
        listed = [
            {
                "id": model.id,
                "display_name": model.display_name,
                "context_length": model.context_length,
                "capabilities": list(capabilities(session.platform, model)),
            }
            for model in found
        ]
        out.record({"platform": session.platform.id, "models": listed})
        return
    if not out.is_lively:
        for model in found:
            out.line(
                "\t".join((model.id, str(model.context_length or ""), ",".join(capabilities(session.platform, model))))
            )
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("model", "context", "can"):
        table.add_column(title, justify="right" if title == "context" else "left", overflow="fold")
    for model in found:
        context = f"{model.context_length:,}" if model.context_length else ""
        table.add_row(Text(model.id, style="bold"), context, " ".join(capabilities(session.platform, model)))
    out.picture(Padding(table, (1, 2)))


def _show_change(out: Terminal, change: Change, *, dry_run: bool) -> None:
    if out.json:
        out.record(
            {
                "platform": change.platform,
                "added": list(change.added),
                "changed": list(change.changed),
                "removed": list(change.removed),
                "default_before": change.default_before or None,
                "default_after": change.default_after or None,
                "written": bool(change) and not dry_run,
            }
        )
        return
    signs = (("+", change.added), ("~", change.changed), ("-", change.removed))
    rows: list[Row] = [(sign, key) for sign, keys in signs for key in keys]
    if change.default_before != change.default_after:
        rows.append(("default", f"{change.default_before or 'none'} becomes {change.default_after or 'none'}"))
    if not change:
        rows.append(("models", "config.toml is up to date"))
    elif dry_run:
        rows.append(("models", "nothing was written"))
    out.rows(rows, title="Models")
