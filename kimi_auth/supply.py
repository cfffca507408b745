"""Hands out the tokens of one login: the cached one while it is fresh, a renewed one where it has to be.

The public methods of `Session` say what each promise is; here is how it is kept.
"""

from __future__ import annotations

import logging

from kimi_auth.before_use import obtain, settle, settle_sync
from kimi_auth.components import Components
from kimi_auth.credential.age import CachedToken
from kimi_auth.credential.contracts import Need
from kimi_auth.credential.credential import Ask, CredentialState
from kimi_auth.errors import ConfigError, KimiAuthError, Unreachable
from kimi_auth.platforms.server import sign_in_command
from kimi_auth.support.language import tr
from kimi_auth.support.loops import checked_s
from kimi_auth.token import Token, left_s, lifetime_s

__all__ = ["TokenSupply"]

NO_NEED = Need()

_SAID: set[str] = set()
"""Locations of credentials whose short-lived tokens a warning has named."""

log: logging.Logger = logging.getLogger("kimi_auth.session")


class TokenSupply:
    """The tokens of one login. `held` is the fresh one in memory; it is looked at before anything else."""

    def __init__(self, components: Components, recheck_every_s: float) -> None:
        checked_s(recheck_every_s, "recheck_every_s")
        self._components = components
        self._recheck_every_s = recheck_every_s
        self.held: CachedToken | None = None

    async def token(self, *, min_ttl_s: float = 0.0, refresh: bool = False, timeout_s: float | None = None) -> Token:
        """Hands out the whole pair, under the promises of `Session.access_token`."""
        await settle(self._components, timeout_s)
        need, ask = self._asking(min_ttl_s, timeout_s, refresh=refresh)
        return self._hold(await self._components.credential.wait(ask, timeout_s), need)

    def token_sync(self, *, min_ttl_s: float = 0.0, refresh: bool = False, timeout_s: float | None = None) -> Token:
        """As `token`, for code without an event loop: hands out the cached token, or a renewed one."""
        settle_sync(self._components, timeout_s)
        need, ask = self._asking(min_ttl_s, timeout_s, refresh=refresh)
        return self._hold(self._components.credential.wait_sync(ask, timeout_s), need)

    async def rejected(self, bearer: str, timeout_s: float | None) -> str | None:
        """As `Session.rejected`."""
        await settle(self._components, timeout_s)
        ask = self._asking_for(Need(not_bearer=bearer), timeout_s)
        try:
            return self._other(await self._components.credential.wait(ask, timeout_s), bearer)
        except KimiAuthError as error:
            self._no_other(error)
            return None

    def rejected_sync(self, bearer: str, timeout_s: float | None) -> str | None:
        """As `Session.rejected_sync`."""
        settle_sync(self._components, timeout_s)
        ask = self._asking_for(Need(not_bearer=bearer), timeout_s)
        try:
            return self._other(self._components.credential.wait_sync(ask, timeout_s), bearer)
        except KimiAuthError as error:
            self._no_other(error)
            return None

    def forget(self) -> None:
        """After a sign-out nothing is handed out: neither this process nor a running client has a token any more."""
        self.held = None
        self._components.serve("")

    def _asking(self, min_ttl_s: float, timeout_s: float | None, *, refresh: bool) -> tuple[Need, Ask]:
        need = self._need(min_ttl_s, refresh=refresh)
        return need, self._asking_for(need, timeout_s)

    def _asking_for(self, need: Need, timeout_s: float | None) -> Ask:
        checked_s(timeout_s)
        return lambda: obtain(self._components, need, timeout_s)

    def _need(self, min_ttl_s: float, *, refresh: bool) -> Need:
        checked_s(min_ttl_s, "min_ttl_s")
        if not refresh:
            return Need(min_ttl_s=min_ttl_s) if min_ttl_s else NO_NEED
        given, platform = self._components.given, self._components.platform
        if given is not None or platform.oauth is None:
            hint = given.hint if given else tr("give another one: {again} --force", again=sign_in_command(platform))
            said = tr("a token that kimi-auth run lent is not renewed")
            raise ConfigError(said if platform.oauth else tr("an API key is not renewed"), hint=hint)
        return Need(min_ttl_s=min_ttl_s, not_fp=self._components.store.read().fp, insist=True)

    def _hold(self, landing: CredentialState, need: Need = NO_NEED) -> Token:
        token = landing.token
        if token is None:
            raise landing.error
        if need.not_fp == landing.ctx.snapshot.fp:
            if landing.ctx.error is not None:
                raise landing.error
            raise Unreachable(tr("the pair could not be renewed; the stored token still works"))
        fresh = landing.state == "fresh"
        stamp, now_s = landing.ctx.snapshot.stamp, self._components.age_clock.now_s()
        if fresh and left_s(token, now_s) < need.min_ttl_s:
            self._warn_of_short_life(token, need)
        self.held = CachedToken(token, stamp, self._components.clock, now_s, self._recheck_every_s) if fresh else None
        return token

    def _warn_of_short_life(self, token: Token, need: Need) -> None:
        """Warns once in a process that the tokens handed out do not live as long as a caller wants them to."""
        if self._components.store.location not in _SAID:
            _SAID.add(self._components.store.location)
            words = (
                "the server's tokens live %.0f s: the freshest one is used, with less left than the %.0f s asked for"
            )
            log.warning(words, lifetime_s(token), need.min_ttl_s)

    def _other(self, landing: CredentialState, bearer: str) -> str | None:
        token = self._hold(landing).access_token
        if token != bearer:
            return token
        _say_why(landing.ctx.error)
        return None

    def _no_other(self, error: KimiAuthError) -> None:
        self.held = None  # the store decides from now on, and it knows of the rejection
        _say_why(error)


def _say_why(error: KimiAuthError | None) -> None:
    """Why a rejected token is not replaced. The 401 is the caller's then, and an SDK may hide even its status: MCP's says
    "Server returned an error response"."""
    log.warning("401, and no other token: %s", error.line if error else "this one is not renewed")
