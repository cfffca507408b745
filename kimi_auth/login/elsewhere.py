"""Logins that `KIMI_AUTH_STORE` names: one row for each scheme of its URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from kimi_auth.clock import Clock
from kimi_auth.errors import ConfigError
from kimi_auth.platforms import Platform
from kimi_auth.selection import STORE, scheme_of
from kimi_auth.store import CredentialStore
from kimi_auth.support.language import listed, said_by, tr
from kimi_auth.wire.contract import OAuthServer

__all__ = ["ONE_LOGIN", "SCHEMES", "Asked", "Opened", "opened"]

Opened = tuple[CredentialStore, OAuthServer | None]
"""A store, and the server that renews its pair; None for the platform's own."""


class Asked(NamedTuple):
    """The login that is meant. `key`: `oauth/<platform>`; `folder`: where this host may keep what such a store needs."""

    platform: Platform
    key: str
    folder: Path
    clock: Clock


def _served(url: str, asked: Asked) -> Opened:
    from kimi_auth.login.served import ServedServer, ServedStore
    from kimi_auth.store.served import parsed

    platform = asked.platform
    server = ServedServer(parsed(url), platform.oauth.host if platform.oauth else "", asked.clock)
    return ServedStore(server, asked.clock), server


def _in_database(url: str, asked: Asked) -> Opened:
    from kimi_auth.store.postgres import opened as in_database

    try:
        return in_database(url, asked.key, folder=asked.folder, clock=asked.clock), None
    except ConfigError as error:
        raise error.reworded(tr("{source}: {error}", source=STORE, error=said_by(error))) from None


SCHEMES: Mapping[str, Callable[[str, Asked], Opened]] = {
    "unix": _served,
    "postgresql": _in_database,
    "postgres": _in_database,
    "postgresql+reader": _in_database,
}
"""Each opens a store; raises ValueError, with the form that it takes, for a URL that is none of it."""


ONE_LOGIN = frozenset({"unix"})
"""Schemes whose store is one login, of an account that it does not name."""


def opened(url: str, asked: Asked) -> Opened:
    """Opens what `KIMI_AUTH_STORE` names. Raises ConfigError for a URL of no row, without it: it may hold a password."""
    open_store = SCHEMES.get(scheme_of(url))
    if open_store is None:
        known = listed(f"{name}://" for name in SCHEMES)
        raise ConfigError(tr("{name} names no store that is known", name=STORE), hint=tr("known: {names}", names=known))
    try:
        return open_store(url, asked)
    except ValueError as error:
        raise ConfigError(tr("{name} is not a URL of its kind", name=STORE), hint=str(error)) from None
