"""What a credential belongs to: its platform's endpoints, catalogue and place in config.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kimi_auth.errors import ConfigError, KimiAuthError, Unreachable
from kimi_auth.platforms import Change, ConfigFile, ModelEntry, Platform, offered, parse_catalogue, plan, registry
from kimi_auth.platforms.registry import parse_managed_provider_key
from kimi_auth.wire import Endpoints, fetch_models

__all__ = ["BearerRejected", "PlatformConfig", "default_platform", "discover", "endpoints_of"]

DEFAULT_PLATFORM = "kimi-code"


class BearerRejected(Unreachable):
    """The platform answered 401: it wants another access token."""

    code = "bearer_rejected"


class PlatformConfig:
    """One platform's part of config.toml: what login writes, sync keeps up and logout takes back."""

    def __init__(self, file: ConfigFile, platform: Platform) -> None:
        self._file = file
        self._platform = platform

    def check(self) -> None:
        """Raises ConfigError now for what would stop a login from being written later."""
        self._file.writable(lambda config: plan(config, self._platform, (), reason="login"))

    def install(self, models: tuple[ModelEntry, ...]) -> None:
        """What a login writes. Raises ConfigError; then nothing was written."""
        self._file.apply(lambda config: plan(config, self._platform, models, reason="login"))

    def sync(self, models: tuple[ModelEntry, ...]) -> Change:
        """Brings the models up to date. Raises ConfigError; then nothing was written."""
        return self._file.apply(lambda config: plan(config, self._platform, models, reason="sync"))

    def restore(self) -> None:
        """What a logout takes back. Raises ConfigError; then nothing was written."""
        self._file.revert(self._platform)


def default_platform(config: ConfigFile) -> str:
    """The id of the device-grant platform that config.toml's default model belongs to, else `kimi-code`."""
    try:
        data = config.read()
    except ConfigError:
        return DEFAULT_PLATFORM
    models = data.get("models")
    model = models.get(data.get("default_model")) if isinstance(models, Mapping) else None
    provider = model.get("provider") if isinstance(model, Mapping) else None
    platform_id = parse_managed_provider_key(provider) if isinstance(provider, str) else None
    device = {platform.id for platform in registry.all() if platform.auth == "device"}
    return platform_id if platform_id in device else DEFAULT_PLATFORM


def endpoints_of(platform: Platform) -> Endpoints:
    """The OAuth endpoints that requests take. Raises ConfigError for a platform that has no device grant."""
    oauth = platform.oauth
    if oauth is None:
        raise ConfigError(
            f"{platform.name} has no sign-in: it takes an API key", hint="put the key into config.toml as api_key"
        )
    return Endpoints(
        issuer=oauth.host,
        device_authorization_url=oauth.device_authorization_url,
        token_url=oauth.token_url,
        client_id=oauth.client_id,
        scope=oauth.scope or "",
        discover_revocation=platform.revocation != "none",
        refusal_codes=frozenset(oauth.refused_errors),
    )


async def discover(
    platform: Platform, bearer: str, headers: Mapping[str, str]
) -> tuple[tuple[ModelEntry, ...], KimiAuthError | None]:
    """The models that the platform offers to this bearer, or the sentence that says why they are not known."""
    answer = await fetch_models(platform.api_base, bearer, headers)
    if answer.outcome == "rejected":
        return (), BearerRejected(f"{platform.name} rejected the access token")
    if answer.outcome != "models" or answer.value is None:
        return (), answer.error or Unreachable(f"{platform.name} did not list its models")
    listing: Any = answer.value
    models, _notes = parse_catalogue(listing.data)
    models = offered(platform, models)
    if not models:
        return (), Unreachable(f"{platform.name} lists no models that can be used")
    return models, None
