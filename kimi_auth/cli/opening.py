"""Opens the session of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kimi_auth.cli.errors import Usage

if TYPE_CHECKING:
    from kimi_auth.components import Components
    from kimi_auth.machine import Observer
    from kimi_auth.session import Session
    from kimi_auth.supply import TokenSupply

__all__ = ["components_of", "open_default", "open_session", "supply_of"]


def components_of(session: Session) -> Components:
    """What a session works with."""
    from kimi_auth import session as facade  # loaded already; the help, which knows every command, does without

    return facade.components_of(session)


def supply_of(session: Session) -> TokenSupply:
    """Where a session's tokens come from."""
    from kimi_auth import session as facade

    return facade.supply_of(session)


def open_default(platform: str | None) -> Session:
    """As `open_session`, for a command that hands out a credential: the first of the chain (`Session.default`)."""
    login = open_session(platform)  # says that a platform is not known
    return type(login).default(platform=platform, observe=components_of(login).observe, one_shot=True)


def open_session(platform: str | None, *, observe: Observer | None = None) -> Session:
    """A session of the login, of a command that ends soon; `observe` is told of its walks, as well as the log that --verbose shows and
    who else listens to every command. Raises Usage for a platform that is not known."""
    from kimi_auth.credential.log_observer import (  # drawing a machine needs no module from here on
        LogObserver,
    )
    from kimi_auth.machine import Observers, recorder_from_environ
    from kimi_auth.session import Session

    observe = Observers(recorder_from_environ(), LogObserver(), *([observe] if observe else []))
    usual = Session(observe=observe, one_shot=True)
    if platform is None:
        return usual
    registry = components_of(usual).registry
    if registry.find(platform) is None:
        unknown = registry.unknown(platform)
        raise Usage(unknown.message, hint=unknown.hint)
    return Session(platform=platform, observe=observe, one_shot=True)
