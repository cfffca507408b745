"""The stored pair in the Kimi CLI's shape: loaded, saved and deleted; and its errors. Writing takes the lock that every writer takes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kimi_auth.clock import SystemClock
from kimi_auth.compat.host import Ref, session_of
from kimi_auth.errors import CodeExpired, ConfigError, KimiAuthError, NotSignedIn, SignInEnded
from kimi_auth.home import choose
from kimi_auth.login.keyring_migration import migrate
from kimi_auth.selection import HOME_KIMI_CLI
from kimi_auth.session import components_of
from kimi_auth.store import Binding, FileStore, SystemKeyring
from kimi_auth.token import Token, parse_record

__all__ = [
    "OAuthDeviceExpired",
    "OAuthError",
    "OAuthRef",
    "OAuthToken",
    "OAuthUnauthorized",
    "delete_tokens",
    "load_tokens",
    "oauth_error",
    "save_tokens",
]

LOCK_WAIT_S = 30.0


class OAuthError(RuntimeError):
    """What the Kimi CLI expects when there is no token: one sentence with the next step."""


class OAuthUnauthorized(OAuthError):
    """Not signed in any more."""


class OAuthDeviceExpired(OAuthError):
    """Not approved in time (RFC 8628 §3.5)."""


_KINDS: tuple[tuple[type[KimiAuthError], type[OAuthError]], ...] = (
    (NotSignedIn, OAuthUnauthorized),
    (SignInEnded, OAuthUnauthorized),
    (CodeExpired, OAuthDeviceExpired),
)


def oauth_error(error: KimiAuthError) -> OAuthError:
    """One of our errors as the Kimi CLI's."""
    return next((theirs for ours, theirs in _KINDS if isinstance(error, ours)), OAuthError)(error.line)


@dataclass(frozen=True, slots=True)
class OAuthRef:
    """Names a stored credential, as config.toml does."""

    storage: str
    key: str


@dataclass(slots=True)
class OAuthToken:
    """One pair. `expires_at` is unix seconds, `expires_in` seconds; 0.0 when unknown. Its repr holds no token."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float
    scope: str
    token_type: str
    expires_in: float = 0.0

    @classmethod
    def from_dict(cls, payload: dict[str, Any]) -> OAuthToken:
        """The pair in the Kimi CLI's shape, from the stored JSON object; raises ValueError if that is not a credential."""
        return cls._of(parse_record({"access_token": "", **payload}))

    def to_dict(self) -> dict[str, Any]:
        """The stored pair as the Kimi CLI's JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def _of(cls, token: Token) -> OAuthToken:
        return cls(
            token.access_token,
            token.refresh_token,
            token.expires_at_s,
            token.scope,
            token.token_type,
            token.expires_in_s,
        )


def load_tokens(ref: Ref) -> OAuthToken | None:
    """The record stored under the reference's key; None if there is none, or if it is empty or unreadable.

    A login that an old Kimi CLI left in the system keyring moves into the file first, as with any other use of it.
    """
    try:
        _leave_keyring(ref)
        token = _store(ref).read().token
    except ConfigError:
        return None
    return None if token is None or token.is_empty else OAuthToken._of(token)  # noqa: SLF001  # its own module's


def save_tokens(ref: Ref, token: OAuthToken) -> OAuthRef:
    """Stores the Kimi CLI's pair durably, as a login does, and says where. Raises its OAuthError; then the old pair is
    still there."""
    with _written(ref) as store:
        session = session_of(ref.key)
        issuer = session.platform.oauth.host if session is not None and session.platform.oauth is not None else ""
        store.put(parse_record({**token.to_dict(), "issuer": issuer}))
        bound = store.binding()
        if bound is None or bound.issuer != issuer:
            store.bind(Binding(issuer) if issuer else None)
    return OAuthRef("file", ref.key)


def delete_tokens(ref: Ref) -> None:
    """Removes the record that the Kimi CLI's reference names, for every process at once and from the system keyring too;
    nothing is revoked at the server. Raises OAuthError; then the record may still be there."""
    if (error := _leave_keyring(ref)) is not None:
        raise oauth_error(error)
    with _written(ref) as store:
        if store.read().state != "absent":
            now_s = time.time()
            store.sign_out(now_s)
            store.tidy(now_s)


def _leave_keyring(ref: Ref) -> KimiAuthError | None:
    """Moves the login for a Kimi CLI's `load_tokens` out of the keyring, where config.toml says that it waits there;
    returns why that failed."""
    try:
        session = session_of(ref.key) if ref.storage == "keyring" else None
    except ConfigError as error:
        return error
    return (
        None
        if session is None
        else migrate(
            session.platform, components_of(session).store, components_of(session).config, SystemKeyring()
        ).error
    )


def _store(ref: Ref) -> FileStore:
    home, clock = choose(os.environ, HOME_KIMI_CLI), SystemClock()
    return FileStore(home.path, ref.key, clock=clock, layout=home.kind.layout(home.path, ref.key, clock))


@contextmanager
def _written(ref: Ref) -> Iterator[FileStore]:
    """The credential's store, locked, with its errors as the Kimi CLI's."""
    try:
        store = _store(ref)
        with store.locked(LOCK_WAIT_S) as held:
            if not held:
                raise OAuthError(f"{store.holder() or 'another process'} holds {store.location}; try again")
            yield store
    except (KimiAuthError, ValueError) as error:
        raise oauth_error(error) if isinstance(error, KimiAuthError) else OAuthError(str(error)) from error
