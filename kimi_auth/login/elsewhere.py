"""Logins that `KIMI_AUTH_STORE` names: one row for each scheme of its URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kimi_auth.clock import Clock
from kimi_auth.errors import ConfigError
from kimi_auth.platforms import Platform
from kimi_auth.selection import STORE, scheme_of
from kimi_auth.store import CredentialStore
from kimi_auth.support.language import tr
from kimi_auth.wire.contract import OAuthServer

__all__ = ["SCHEMES", "opened"]

Opened = tuple[CredentialStore, OAuthServer | None]
"""A store, and the server that renews what is in it; None for the platform's own."""


def _served(url: str, platform: Platform, clock: Clock) -> Opened:
    from kimi_auth.login.served import ServedServer, ServedStore
    from kimi_auth.store.served import parsed

    server = ServedServer(parsed(url), platform.oauth.host if platform.oauth else "", clock)
    return ServedStore(server, clock), server


SCHEMES: Mapping[str, Callable[[str, Platform, Clock], Opened]] = {"unix": _served}
"""Each opens a store; raises ValueError, with the form that it takes, for a URL that is none of it."""


def opened(url: str, platform: Platform, clock: Clock) -> Opened:
    """The store of a URL. Raises ConfigError for one that no row understands, without the URL, which may hold a password."""
    open_store = SCHEMES.get(scheme_of(url))
    if open_store is None:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ConfigError(tr("{name} names no store that is known", name=STORE), hint=tr("known: {names}", names=known))
    try:
        return open_store(url, platform, clock)
    except ValueError as error:
        raise ConfigError(tr("{name} is not a URL of its kind", name=STORE), hint=str(error)) from None
