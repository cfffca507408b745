"""A credential that is given to this process, by an argument or the environment: used as it is, stored nowhere."""

from __future__ import annotations

from dataclasses import dataclass

from kimi_auth.clock import Clock
from kimi_auth.errors import ConfigError, InvalidKey
from kimi_auth.login.api_keys import is_key
from kimi_auth.platforms import Platform
from kimi_auth.selection import ARGUMENT, LENT
from kimi_auth.store import CredentialStore, MemoryStore, Snapshot
from kimi_auth.support.language import tr
from kimi_auth.token import LIFETIME_MAX_S, Token, fingerprint

__all__ = ["Given", "given_key", "given_token"]


@dataclass(frozen=True)
class Given:
    """A credential and the only API that it goes to. `source`: "argument", or the variable that holds or marks it;
    `base_source`: the same of the API's URL, "" where the platform says it."""

    source: str
    platform: Platform
    store: CredentialStore
    base_source: str = ""

    @property
    def hint(self) -> str:
        """The hint of a given credential: how to use another one instead."""
        if self.source == ARGUMENT:
            return tr("give another api_key")
        return tr("use the login: unset {variable}", variable=self._variable)

    @property
    def location(self) -> str:
        """Where the given credential comes from, for people."""
        if self.source == ARGUMENT:
            return tr("the argument api_key")
        return tr("the variable {variable}", variable=self._variable)

    @property
    def _variable(self) -> str:
        return self.source.removesuffix("_LENT") if self.source == LENT else self.source

    def refusal(self) -> ConfigError:
        """The error for what only a login can do, and a given key or token cannot."""
        return ConfigError(tr("{location} is used instead of a login", location=self.location), hint=self.hint)

    def rejected(self) -> InvalidKey:
        """The error for a given key or token that the API refuses."""
        words = tr("{platform} rejected {location}", platform=self.platform.name, location=self.location)
        return InvalidKey(words, hint=self.hint)


class _GivenStore(MemoryStore):
    def __init__(self, token: Token, clock: Clock) -> None:
        super().__init__(clock)
        self._installed = 1
        self._found = Snapshot("present", (1,), token, fingerprint(token))


def given_key(key: str, source: str, platform: Platform, clock: Clock, *, base_source: str = "") -> Given:
    """A given credential from an API key, which has no end. Raises ConfigError for text that cannot be one."""
    token = Token(key, "", clock.wall_s() + LIFETIME_MAX_S, LIFETIME_MAX_S)
    given = Given(source, platform, _GivenStore(token, clock), base_source)
    if not is_key(key):
        words = tr(
            "{location} is not an API key: it has characters that cannot be sent, or too many", location=given.location
        )
        raise ConfigError(words, hint=given.hint)
    return given


def given_token(token: str, expires_at_s: float, lifetime_s: float, platform: Platform, clock: Clock) -> Given:
    """A given token, which `kimi-auth run` lent: it ends at `expires_at_s` (unix seconds; 0.0: an API key) and is not renewed."""
    if not expires_at_s or not platform.oauth:
        return given_key(token, LENT, platform._replace(auth="api_key", oauth=None), clock)
    pair = Token(token, "", expires_at_s, lifetime_s, issuer=platform.oauth.host)
    return Given(LENT, platform, _GivenStore(pair, clock))
