"""The credential chain of `Session.default()`: an argument, the user's `KIMI_API_KEY`, the login, a token that was lent.

`kimi_auth.selection` has the order; here a key gets the one API that it may be sent to.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kimi_auth.chosen_login import share_dir_of
from kimi_auth.components import Components
from kimi_auth.errors import ConfigError
from kimi_auth.platforms import Platform, resolve
from kimi_auth.selection import (
    ACCOUNT_VARIABLES,
    API_KEY,
    ARGUMENT,
    BASE_URL,
    LENT,
    LOGIN,
    key_before_login,
    lender_of_token,
    lent_base,
    lent_token,
    select,
)
from kimi_auth.session_arguments import checked_account, checked_text, directory
from kimi_auth.support.language import said_by, tr
from kimi_auth.support.urls import normal_url
from kimi_auth.token import key_fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kimi_auth.clock import Clock
    from kimi_auth.login.given import Given
    from kimi_auth.machine import Observer

__all__ = ["chained", "given_after_login", "given_before_login"]

NO_HOME = f"{os.devnull}/kimi-auth"
"""A share directory that cannot be made: nothing is found and nothing is written there."""


def chained(
    share_dir: str | os.PathLike[str] | None,
    home: str | os.PathLike[str] | None,
    *,
    api_key: str | None,
    base_url: str | None,
    platform: str | None,
    account: str | None,
    environ: Mapping[str, str] | None,
    clock: Clock | None,
    observe: Observer | None,
    one_shot: bool,
) -> Components:
    """What works on the first credential of the chain. Raises as `Session.default`."""
    surroundings = os.environ if environ is None else environ
    place = directory(share_dir, home)
    checked_text(api_key=api_key, base_url=base_url)
    if api_key and checked_account(account):
        raise ValueError("api_key= and account= name two credentials: give one of them")
    if not account and key_before_login(surroundings, key_fingerprint, argument=api_key)[1] != LOGIN:
        try:
            share_dir_of(surroundings, place)
        except ConfigError:  # a user without a home directory: a key needs none
            place = NO_HOME
    lent = "" if api_key or platform else lender_of_token(surroundings, key_fingerprint)
    lender, _, lent_account = lent.partition("@")
    named_account, _ = select(surroundings, argument=account, variables=ACCOUNT_VARIABLES)
    components = Components(
        place,
        platform=platform or lender or None,
        account=account or (None if named_account else lent_account) or None,
        environ=environ,
        clock=clock,
        store=None,
        server=None,
        observe=observe,
        one_shot=one_shot,
        platform_from=LENT if lender else "",
    )
    given = None
    if not account:
        given = given_before_login(components, api_key=api_key, base_url=base_url, is_named=platform is not None)
    if base_url and given is None:
        raise ValueError(f"base_url= is the API of a key, and there is none: give api_key=, or set {API_KEY}")
    if given := given or given_after_login(components):
        components.use(given, is_named=bool(platform))
    return components


def given_before_login(
    components: Components, *, api_key: str | None = None, base_url: str | None = None, is_named: bool = False
) -> Given | None:
    """The chain's links before the login of `components`: the API key that is used instead, None for none. `is_named`:
    the platform was chosen, so that a key of the environment for another one does not count. Raises ConfigError for a
    key that cannot be one, or whose API is not known."""
    environ = components.environ
    key, source = key_before_login(environ, key_fingerprint, argument=api_key)
    if source == LOGIN:
        return None
    base, base_source = select(environ, argument=base_url, variables=() if source == ARGUMENT else (BASE_URL,))
    from kimi_auth.platforms.keys import platform_of_key

    if base_source == BASE_URL and _is_of_another_key(base, key, environ):
        base = ""
    try:
        platform = platform_of_key(
            key,
            base.strip(),
            selected=components.platform,
            is_named=is_named,
            known=_resolved(components),
        )
    except ValueError as error:
        raise ConfigError(
            tr("{source}: {error}", source=base_source, error=said_by(error)),
            hint=tr("correct it: it is the API that the key is for"),
        ) from None
    if platform is None:
        if source != ARGUMENT:
            return None
        raise ConfigError(
            tr("this API key is not for {platform}", platform=components.platform.name),
            hint=tr("name the key's own platform"),
        )
    from kimi_auth.login.given import given_key

    return given_key(key, source, platform, components.clock, base_source=base_source if base else "")


def given_after_login(components: Components) -> Given | None:
    """The token that `kimi-auth run` lent this process, where there is no login of its platform; None otherwise."""
    lent = lent_token(components.environ, key_fingerprint)
    if lent is None or lent[1] != components.platform.login_name:
        return None
    stored = components.store.read()
    if stored.state != "absent" and not (stored.token is not None and stored.token.is_empty):
        return None
    from kimi_auth.login.given import given_token

    token, _, expires_at_s, lifetime_s = lent
    return given_token(token, expires_at_s, lifetime_s, components.platform, components.clock)


def _is_of_another_key(base: str, key: str, environ: Mapping[str, str]) -> bool:
    """Whether `kimi-auth run` set this base URL, for a token or key that `key` has replaced since."""
    others = lent_base(environ, key_fingerprint, key)
    try:
        return bool(others) and normal_url(base.strip()) == others
    except ValueError:
        return False


def _resolved(components: Components) -> list[Platform]:
    """The known platforms that a key in the chain may be for, with their overrides; one whose override is wrong is left
    out, its own commands say so."""
    found = []
    for platform in components.registry.all():
        try:
            found.append(resolve(platform, components.environ))
        except ConfigError:
            continue
    return found
