"""`kimi-auth models [sync|list]`: what the platforms offer, and config.toml."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kimi_auth.cli.errors import Usage
from kimi_auth.cli.options import AccountName, HomeName, Json, PlatformId, open_default, open_session, terminal_of
from kimi_auth.cli.terminal import Row, Terminal, one_line
from kimi_auth.support.language import tr

if TYPE_CHECKING:  # the help waits for none of it
    from kimi_auth.models import Catalogue, Change
    from kimi_auth.models.sync import Synced
    from kimi_auth.platforms.spec import Platform
    from kimi_auth.session import Session

__all__ = ["models"]


def models(
    ctx: typer.Context,
    action: Annotated[
        Literal["list", "sync"],
        typer.Argument(help="list: the platform's models; sync: write them to config.toml, for every platform."),
    ] = "list",
    platform: PlatformId = None,
    account: AccountName = None,
    home: HomeName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With sync: print the changes, write nothing.")] = False,
    json: Json = False,
) -> None:
    """List the models, or bring config.toml up to them."""
    out = terminal_of(ctx)
    if dry_run and action == "list":
        raise Usage(
            tr("--dry-run goes with sync: a list writes nothing"), hint=tr("try: kimi-auth models sync --dry-run")
        )
    session = (
        open_default(platform, home=home, account=account)
        if action == "list"
        else open_session(platform, home=home, account=account, reads=False)
    )
    if action == "list":
        _show_list(out, session, out.signals.run(session.models.fetch_catalogue()))
    elif platform is not None or account is not None:
        _show_one(out, out.signals.run(session.models.sync_one(dry_run=dry_run)), dry_run=dry_run)
    else:
        _show_all(out, out.signals.run(_sync(session, dry_run=dry_run)), dry_run=dry_run)


async def _sync(session: Session, *, dry_run: bool) -> tuple[Synced, ...]:
    """Syncs every platform of config.toml for `models sync`, and every login that it does not know yet; where there is
    neither, raises what keeps the usual one from being synced."""
    if synced := await session.models.sync_all(dry_run=dry_run, finishes=True):
        return synced
    usual = await session.models.sync_one(dry_run=dry_run)
    if usual.error is not None:
        raise usual.error
    return (usual,)


def _show_one(out: Terminal, synced: Synced, *, dry_run: bool) -> None:
    say_notes(out, synced.platform, synced.notes)
    if synced.error is not None:
        raise synced.error
    if out.json:
        out.record(_told(synced, dry_run=dry_run))
    elif synced.change is not None:
        _show_change(out, synced.platform, synced.change, dry_run=dry_run)


def say_notes(out: Terminal, platform: Platform, notes: Iterable[str]) -> None:
    """Notes on the parts of a platform's answer that were left out, on standard error."""
    for note in notes:
        out.say(tr("{platform}: {note}", platform=platform.name, note=note))


def _show_all(out: Terminal, synced: tuple[Synced, ...], *, dry_run: bool) -> None:
    """Shows the result of `models` for each platform, and failures on standard error; ends with the worst exit status."""
    if out.json:
        out.record({"platforms": [_told(one, dry_run=dry_run) for one in synced]})
    for one in synced:
        say_notes(out, one.platform, one.notes)
        if one.change is not None and not out.json:
            _show_change(out, one.platform, one.change, dry_run=dry_run)
        if one.error is not None:
            name = one.platform.name
            out.say(
                one.error.line
                if one.error.message.startswith(name)
                else tr("{name}: {error}", name=name, error=one.error.line)
            )
    if status := max((one.error.exit_status for one in synced if one.error is not None), default=0):
        raise typer.Exit(status)


def _show_list(out: Terminal, session: Session, catalogue: Catalogue) -> None:
    from kimi_auth.models import capabilities

    say_notes(out, session.platform, catalogue.notes)
    if catalogue.error is not None:
        raise catalogue.error
    found = catalogue.models
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
        out.record({"platform": session.platform.id, "models": listed, "notes": list(catalogue.notes)})
        return
    if not out.is_lively:
        for model in found:
            can = ",".join(capabilities(session.platform, model))
            out.line("\t".join((model.id, str(model.context_length or ""), can, session.platform.id)))
        return
    from rich.table import Column
    from rich.text import Text

    from kimi_auth.cli.drawing import table_of

    columns = [
        Column(out.text(title), justify="right" if title == "context" else "left", overflow="fold")
        for title in (tr("model"), tr("context"), tr("can"))
    ]
    rows = [
        (
            Text(model.id, style="bold"),
            Text(f"{model.context_length:,}" if model.context_length else ""),
            Text(" ".join(capabilities(session.platform, model))),
        )
        for model in found
    ]
    out.picture(table_of(columns, rows, out.console.width))


def _told(one: Synced, *, dry_run: bool) -> dict[str, Any]:
    """One platform's part of what `models sync --json` answers."""
    notes = [*map(one_line, one.notes)]
    if one.change is not None:
        return _described(one.change, dry_run=dry_run) | {"notes": notes}
    assert one.error is not None
    code, exit_status = one.error.code, one.error.exit_status
    error = {"code": code, "message": one_line(one.error.message), "hint": one.error.hint, "exit": exit_status}
    return {"platform": one.platform.id, "error": error, "notes": notes}


def _described(change: Change, *, dry_run: bool) -> dict[str, Any]:
    return {
        "platform": change.platform,
        "added": list(change.added),
        "changed": list(change.changed),
        "removed": list(change.removed),
        "default_before": change.default_before or None,
        "default_after": change.default_after or None,
        "written": bool(change) and not dry_run,
    }


def _show_change(out: Terminal, platform: Platform, change: Change, *, dry_run: bool) -> None:
    signs = (("+", change.added), ("~", change.changed), ("-", change.removed))
    rows: list[Row] = [(sign, key) for sign, keys in signs for key in keys]
    if change.default_before != change.default_after:
        before, after = change.default_before or tr("none"), change.default_after or tr("none")
        rows.append((tr("default"), tr("{before} becomes {after}", before=before, after=after)))
    if not change:
        rows.append((tr("models"), tr("config.toml is up to date")))
    elif dry_run:
        rows.append((tr("models"), tr("nothing was written")))
    out.rows(rows, title=platform.name, platform=platform.id)
