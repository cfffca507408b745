"""Opens the session of a command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kimi_auth.cli.errors import Usage

if TYPE_CHECKING:
    from kimi_auth.components import Components
    from kimi_auth.home import Home
    from kimi_auth.machine import Observer
    from kimi_auth.session import Session
    from kimi_auth.supply import TokenSupply

__all__ = ["components_of", "open_default", "open_session", "supply_of"]


def components_of(session: Session) -> Components:
    """What a session works with."""
    from kimi_auth import session as facade  # loaded already; the help, which knows every command, does without

    return facade.components_of(session)


def supply_of(session: Session) -> TokenSupply:
    """Where the session of a command gets its tokens from; the façade is loaded here."""
    from kimi_auth import session as facade

    return facade.supply_of(session)


def open_default(
    platform: str | None, *, home: str | None = None, account: str | None = None, one_shot: bool = True
) -> Session:
    """As `open_session`, for a command that hands out a credential: the first of the chain (`Session.default`). One that serves
    for long is no `one_shot`: it renews ahead of time by itself."""
    from kimi_auth.home import choose
    from kimi_auth.session import Session

    if account is not None:
        open_session(platform, home=home, account=account)  # says that it is not known
    elif platform is not None:  # a key needs no home
        _refuse_unknown(platform, choose(os.environ, home, reads=True))
    return Session.default(home=home, platform=platform, account=account, observe=_observers(None), one_shot=one_shot)


def open_session(
    platform: str | None,
    *,
    home: str | None = None,
    account: str | None = None,
    reads: bool = True,
    observe: Observer | None = None,
) -> Session:
    """A session of the login, of a command that ends soon; `observe` is told of its walks, as well as the log that --verbose
    shows and who else listens to every command. `home`: as `--home` names it; `reads`: the command only uses a login, so it
    may find kimi-code's. Raises Usage for a platform that is not known, NoSuchAccount for an account that cannot be."""
    from kimi_auth.home import checked_label, choose
    from kimi_auth.session import Session

    chosen = choose(os.environ, home, reads=reads)
    if account is not None:
        checked_label(account)
    if platform is not None:
        _refuse_unknown(platform, chosen)
    return Session(home=chosen, platform=platform, account=account, observe=_observers(observe), one_shot=True)


def _refuse_unknown(platform: str, home: Home) -> None:
    from kimi_auth.platforms import Registry

    registry = Registry(home.path)
    if registry.find(platform) is None:
        unknown = registry.unknown(platform)
        raise Usage(unknown.message, hint=unknown.hint)


def _observers(observe: Observer | None) -> Observer:
    from kimi_auth.credential.log_observer import log_observer  # drawing a machine needs no module from here on
    from kimi_auth.machine import recorder_from_environ, together

    return together(recorder_from_environ(), log_observer(), observe)
