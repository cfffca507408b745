"""Platforms that take an API key: it is verified by listing models, and rests in config.toml, as the Kimi CLI keeps it."""

from __future__ import annotations

from collections.abc import Mapping

from kimi_auth.clock import Clock
from kimi_auth.credential.status import LoginReport, LogoutReport
from kimi_auth.errors import ConfigError, CorruptCredential, InvalidKey, KimiAuthError
from kimi_auth.models import ConfigFile, static_key
from kimi_auth.models.discovery import BearerRejected, discover
from kimi_auth.models.platform_config import PlatformConfig
from kimi_auth.platforms import Platform
from kimi_auth.platforms.server import sign_in_command
from kimi_auth.store import MemoryStore, Snapshot, Stamp
from kimi_auth.support.language import tr
from kimi_auth.token import LIFETIME_MAX_S, Token, fingerprint

__all__ = ["KeyStore", "is_key", "sign_in_with_key", "sign_out_of_key"]

KEY_CHARACTERS_MAX = 4096


class KeyStore(MemoryStore):
    """The key in config.toml as a credential that never ends and cannot be renewed; all that is written stays in memory.

    A key that the platform has rejected goes on being handed out, as a token does: other URLs may take it.
    """

    def __init__(self, config: ConfigFile, platform: Platform, clock: Clock) -> None:
        super().__init__(clock)
        self._config = config
        self._platform = platform

    @property
    def location(self) -> str:
        return tr("the file {path}", path=self._config.path)

    def stamp(self) -> Stamp:
        return self._config.stamp()

    def read(self) -> Snapshot:
        stamp = self.stamp()
        try:
            key = static_key(self._config.read(), self._platform)
        except ConfigError as problem:
            return Snapshot("corrupt", stamp, problem=CorruptCredential(problem.message, hint=problem.hint))
        if not key:
            return Snapshot("absent", stamp)
        if not is_key(key):
            words = tr(
                "{path}: the api_key of {provider} is not an API key",
                path=self._config.path,
                provider=self._platform.provider_key,
            )
            return Snapshot(
                "corrupt",
                stamp,
                problem=CorruptCredential(words, hint=f"{sign_in_command(self._platform)} --force"),
            )
        token = Token(key, "", self._clock.wall_s() + LIFETIME_MAX_S, LIFETIME_MAX_S)
        return Snapshot("present", stamp, token, fingerprint(token))


async def sign_in_with_key(
    platform: Platform, key: str, config: ConfigFile, headers: Mapping[str, str], *, force: bool = False
) -> LoginReport:
    """Stores the key once the platform has listed its models for it; a key that stands is left alone unless `force`.

    The report's state is `signed_in`, or `failed` with the reason as `error`: ConfigError, InvalidKey, Unreachable.
    """
    import asyncio

    key, place = key.strip(), PlatformConfig(config, platform)
    try:
        if platform.oauth is not None:
            hint = tr("sign in: kimi-auth login --platform {platform}", platform=platform.id)
            raise ConfigError(tr("{platform} takes no API key", platform=platform.name), hint=hint)
        if not is_key(key):
            raise ConfigError(
                tr("this is not an API key: it is empty, or has characters that cannot be sent"),
                hint=sign_in_command(platform),
            )
        if static_key(config.read(), platform) and not force:
            return LoginReport("signed_in", already=True)
        await asyncio.to_thread(place.check, api_key=key)
        found = await discover(platform, key, headers)
        error = found.error
        if isinstance(error, BearerRejected):
            raise InvalidKey(
                tr("{platform} refuses this API key", platform=platform.name),
                hint=tr("check the key, then: {command}", command=sign_in_command(platform)),
            )
        if error is not None:
            hint = tr("nothing was stored; try again: {command}", command=sign_in_command(platform))
            raise error.reworded(hint=hint)
        await asyncio.to_thread(place.install, found.models, api_key=key)
    except KimiAuthError as problem:
        return LoginReport("failed", error=problem)
    return LoginReport("signed_in", models=len(found.models), notes=found.notes)


def sign_out_of_key(platform: Platform, config: ConfigFile) -> LogoutReport:
    """Takes the key, and everything that came with it, out of config.toml. Raises ConfigError; then the key is still there."""
    PlatformConfig(config, platform).restore()
    return LogoutReport("absent", config="restored")


def is_key(text: str) -> bool:
    """Whether this can be sent as an API key: visible ASCII, not too long."""
    return 0 < len(text) <= KEY_CHARACTERS_MAX and text.isascii() and text.isprintable() and " " not in text
