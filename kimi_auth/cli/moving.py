"""`kimi-auth store move --to URL|file`: every login of a home moves into a database, or back, or the one that is named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kimi_auth.cli.errors import Findings
from kimi_auth.cli.options import concluded
from kimi_auth.cli.terminal import Row, Terminal
from kimi_auth.errors import KimiAuthError, NotSignedIn
from kimi_auth.selection import STORE, login_name
from kimi_auth.support.language import tr

if TYPE_CHECKING:
    from kimi_auth.components import Components
    from kimi_auth.login.moving import Place

__all__ = ["FILE", "move"]

FILE = "file"


def move(
    out: Terminal, to: str, url: str, *, home: str | None, platform: str | None, account: str | None, is_trial: bool
) -> None:
    """Moves each login that is meant by `store move` into the database at `url` or out of it; `is_trial`: only says
    what would move. Raises Findings for those that did not."""
    moved: list[dict[str, Any]] = []
    failed = 0
    for name, parts in _meant(url, to, home, platform, account):
        try:
            with out.signals.held():
                fp = _moved(parts, url, "file" if to == FILE else "database", is_trial=is_trial)
        except NotSignedIn:
            if account is None:
                continue  # a platform without a login
            raise
        except KimiAuthError as error:
            failed += 1
            out.say(tr("{name}: {error}", name=name, error=error.line))
            continue
        moved.append({"login": name, "fp": fp})
    _tell(out, moved, url, to, is_trial=is_trial)
    if failed:
        words = tr("{number} logins were not moved", number=failed)
        raise concluded(out, Findings(words, hint=tr("see above, then try again")))


def _meant(
    url: str, to: str, home: str | None, platform: str | None, account: str | None
) -> Iterator[tuple[str, Components]]:
    """The logins that `store move` is to move, as the store that they are to leave has them, each with its name."""
    environ = _environ(url if to == FILE else "")
    first = _opened(environ, home, platform, account)
    if account is not None:
        yield first.platform.login_name, first
        return
    for one in first.platforms():
        if one.oauth is None or platform not in {None, one.id}:
            continue
        if first.home.kind.binds_by_slot:
            yield one.id, _opened(environ, home, one.id, None)
            continue
        parts = _opened(environ, home, one.id, None)
        for label in parts.labels(one.id):
            yield login_name(one.id, label), _opened(environ, home, one.id, label)


def _moved(parts: Components, url: str, to: Place, *, is_trial: bool) -> str:
    """Moves one login for `store move`; `parts` are of the store that it leaves. Returns the fingerprint of its pair."""
    from kimi_auth.login.moving import Stores, begin
    from kimi_auth.store.postgres import Address, PostgresStore

    folder = parts.share_dir / "kimi-auth" / "store"
    database = PostgresStore(url, parts.key, folder=folder, clock=parts.host_clock)
    stores = Stores(parts.in_file(), database, Address(url).without_password)
    return begin(stores, to, parts.notebook, device_id=parts.home_device_id, is_trial=is_trial)


def _opened(environ: Mapping[str, str], home: str | None, platform: str | None, account: str | None) -> Components:
    from kimi_auth.components import Components

    return Components(
        home,
        platform=platform,
        account=account,
        environ=environ,
        clock=None,
        store=None,
        server=None,
        observe=None,
        one_shot=True,
    )


def _environ(url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != STORE}
    return kept | ({STORE: url} if url else {})


def _tell(out: Terminal, moved: list[dict[str, Any]], url: str, to: str, *, is_trial: bool) -> None:
    from kimi_auth.store.postgres import Address

    address = Address(url)
    if out.json:
        out.record({"to": FILE if to == FILE else str(address), "dry_run": is_trial, "moved": moved})
        return
    if not moved:
        out.say(tr("no login was moved"))
        return
    rows: list[Row] = [(one["login"], one["fp"]) for one in moved]
    if to == FILE:
        rows.append((tr("to"), tr("the files of this home")))
        rows.append((tr("next"), tr("use them: unset KIMI_AUTH_STORE")))
    else:
        rows.append((tr("to"), str(address)))
        rows.append((tr("next"), tr("use it: export KIMI_AUTH_STORE=postgresql://…, the address that you gave")))
    out.rows(rows, title=tr("Would move") if is_trial else tr("Moved"))
