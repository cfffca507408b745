"""Stands in for the Kimi CLI's `OAuthManager`: tokens for its clients, tools and plugins, from our Session.

Nothing is cached here and nothing is renewed here: the Session and the credential's own machines do both, together with
every other process on this login.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from kimi_auth.compat.credentials import load_tokens, oauth_error
from kimi_auth.compat.host import Config, Ref, Secret, api_key_of, host_version, session_of, share_dir
from kimi_auth.compat.signing import KIMI_CODE_OAUTH_KEY
from kimi_auth.credential.classify import NO_TOKEN
from kimi_auth.errors import ConfigError, KimiAuthError, NotSignedIn, SignInEnded, Unreachable
from kimi_auth.session import Session, components_of
from kimi_auth.wire import device_headers

__all__ = ["KIMI_CODE_OAUTH_KEY", "OAuthManager"]

AT_ONCE = {"fresh", "expiring", "usable"}
"""States in which a token is there without waiting; an expiring one is renewed beside."""

RAN_OUT = {"expired", "in_doubt"}
"""States in which it has to be renewed first, which may take as long as a network does."""

log: logging.Logger = logging.getLogger("kimi_auth.compat")


class OAuthManager:
    """Gives the Kimi CLI the bearer for each OAuth reference in its configuration, and keeps its running client supplied.

    `runtime` is the Kimi CLI's: its `llm.chat_provider.client.api_key` is set. Thread-safe, and any number may live.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._given: dict[str, str] = {}

    async def ensure_fresh(self, runtime: Any = None, *, force: bool = False) -> None:
        """Makes sure that there is a token that works, and gives it to the runtime's client.

        `force`: the bearer in use got a 401; it is replaced, by what another process brought meanwhile or by one rotation.
        Only then, and only if there is no static key either, raises OAuthError (OAuthUnauthorized: sign in again).
        """
        key = self._key(runtime)
        session = _session(key)
        if session is None:
            return
        if force:
            await self._replace(runtime, key, session)
            return
        try:
            self._give(runtime, key, await session.access_token())
        except (NotSignedIn, SignInEnded) as error:
            log.warning("%s", error.line)
            self._give(runtime, key, "")
        except KimiAuthError as error:
            log.warning("no fresh token, the old one stays: %s", error.line)

    @asynccontextmanager
    async def refreshing(self, runtime: Any) -> AsyncGenerator[None, None]:
        """While the block runs, the runtime's client holds a token that works; renewals, logins and logouts of any
        process reach it within about a second."""
        await self.ensure_fresh(runtime)
        keeping = asyncio.create_task(self._keep(runtime))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    def resolve_api_key(self, api_key: Secret, oauth: Ref | None) -> str:
        """The bearer of now that the Kimi CLI gets for a provider or service: the login's access token, else the static key.

        In an event loop it never waits: a token that has run out is given as it is, and the 401 says so.
        """
        return (self._bearer(oauth) if oauth is not None else "") or api_key.get_secret_value()

    def get_cached_access_token(self, key: str) -> str | None:
        """The stored access token that the Kimi CLI's tools get for a credential's key, if it can be used."""
        session = _session(key)
        if session is None or session.status().state not in AT_ONCE:
            return None
        return _stored(session) or None

    def common_headers(self) -> dict[str, str]:
        """The manager's headers for the Kimi CLI's requests: which program and device is asking (`X-Msh-*`)."""
        return device_headers(share_dir(), version=host_version())

    # --- inside ------------------------------------------------------------------------------------------------------

    def _bearer(self, ref: Ref) -> str:
        session = _session(ref.key)
        if session is None:
            stored = load_tokens(ref)
            return stored.access_token if stored is not None else ""
        state = session.status().state
        if state in AT_ONCE or (state in RAN_OUT and not _in_event_loop()):
            try:
                return session.access_token_sync()
            except KimiAuthError as error:
                log.warning("no token: %s", error.line)
        return _stored(session) if state in RAN_OUT else ""

    async def _replace(self, runtime: Any, key: str, session: Session) -> None:
        bearer = _client_key(self._client(runtime, key)) or self._given.get(key) or _stored(session)
        newer = await session.rejected(bearer)
        static = api_key_of(self._config.providers.get(session.platform.provider_key))
        if newer is None and static in {"", bearer}:
            status = session.status()
            make = NO_TOKEN.get(status.state, partial(Unreachable, "the token could not be renewed"))
            raise oauth_error(status.error or make())
        self._give(runtime, key, newer or "")

    async def _keep(self, runtime: Any) -> None:
        key = self._key(runtime)
        if (session := _session(key)) is not None:
            async with session.kept_fresh(partial(self._give, runtime, key)):
                await asyncio.Event().wait()

    def _give(self, runtime: Any, key: str, token: str) -> None:
        """Puts the token, or where there is none the static key, into the runtime's client if that is this login's."""
        self._given[key] = token
        client = self._client(runtime, key)
        if client is not None:
            provider = runtime.config.providers.get(runtime.llm.model_config.provider)
            client.api_key = token or api_key_of(provider)

    def _client(self, runtime: Any, key: str) -> Any:
        """The runtime's client, if its model belongs to the platform of this credential."""
        if self._active(runtime) != key:
            return None
        return runtime.llm.chat_provider.client

    def _active(self, runtime: Any) -> str:
        """The key of the credential that the runtime's model is used with, "" for none."""
        llm = getattr(runtime, "llm", None)
        if llm is None or llm.model_config is None:
            return ""
        provider = self._config.providers.get(llm.model_config.provider)
        return provider.oauth.key if provider is not None and provider.oauth is not None else ""

    def _key(self, runtime: Any) -> str:
        """The credential that a call is about: the running model's, else the first that the configuration names."""
        return self._active(runtime) or next((ref.key for ref in self._refs()), "")

    def _refs(self) -> Iterable[Ref]:
        services = self._config.services
        entries = [*self._config.providers.values(), services.moonshot_search, services.moonshot_fetch]
        return (entry.oauth for entry in entries if entry is not None and entry.oauth is not None)


def _session(key: str) -> Session | None:
    try:
        return session_of(key)
    except ConfigError as error:
        log.warning("%s", error.line)
        return None


def _stored(session: Session) -> str:
    token = components_of(session).store.read().token
    return token.access_token if token is not None else ""


def _client_key(client: Any) -> str:
    key = getattr(client, "api_key", "")
    return key if isinstance(key, str) else ""


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
