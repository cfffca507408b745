"""One platform's part of config.toml: what login writes, sync keeps up and logout takes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from kimi_auth.errors import ConfigError
from kimi_auth.platforms import Platform, Registry, parse_managed_provider_key

if TYPE_CHECKING:  # what changes config.toml is loaded by what does it
    from kimi_auth.models import Change, ConfigFile, ModelEntry

__all__ = ["ConfigLeftAlone", "PlatformConfig", "configured_platform"]


class ConfigLeftAlone:
    """The part of a config.toml that another program keeps: it is neither written nor found wanting."""

    def lacks(self) -> bool:
        return False

    def check(self) -> None:
        """Raises nothing for a platform's part of config.toml that is left to another program: nothing can stop a write
        that is not made."""

    def install(self, models: tuple[ModelEntry, ...]) -> Literal[False]:
        """Writes nothing, and says so."""
        return False

    def restore(self) -> bool:
        return False


class PlatformConfig:
    """One platform's part of config.toml: what login writes, sync keeps up and logout takes back.

    `is_in_use`: whether the account is the one in use, which alone owns the provider. It is asked under the lock of
    config.toml, so that an account that has just become the one in use is not written over.
    """

    def __init__(self, file: ConfigFile, platform: Platform, is_in_use: Callable[[], bool] = lambda: True) -> None:
        self._file = file
        self._platform = platform
        self._is_in_use = is_in_use

    def lacks(self) -> bool:
        """Whether config.toml has no provider for the login that is to have it; False also where it cannot be read."""
        try:
            if not self._is_in_use():
                return False
            providers = self._file.read().get("providers")
        except ConfigError:
            return False
        return not isinstance(providers, Mapping) or self._platform.provider_key not in providers

    def check(self, *, api_key: str | None = None) -> None:
        """Raises ConfigError now for what would stop a login from writing the platform's part later."""
        self._file.writable(lambda config: self._login(config, self._expected(config), api_key))

    def _expected(self, config: Mapping[str, Any]) -> tuple[ModelEntry, ...]:
        """The models are known only after the approval. None, which keeps those of the config, where that says everything
        that a login is certain to write; else one that stands for them gets the same tables."""
        from kimi_auth.models import ModelEntry, has_models, plan

        if has_models(config, self._platform) and not plan(config, self._platform, (), reason="login"):
            return ()
        return (ModelEntry(id="".join(self._platform.model_prefixes[:1]) + "model"),)

    def install(self, models: tuple[ModelEntry, ...], *, api_key: str | None = None) -> Change | Literal[False]:
        """The part that a login writes, for a platform without OAuth with its key; says what changed, False for an
        account that is not in use. Raises ConfigError; then nothing was written."""
        change = self.put(models, api_key=api_key)
        return change if change.reason == "login" else False

    def put(self, models: tuple[ModelEntry, ...], *, api_key: str | None = None) -> Change:
        """Writes the platform's part as `install` does; a change without anything in it for an account that is not in use."""
        return self._file.apply(lambda config: self._login(config, models, api_key))

    def _login(self, config: Mapping[str, Any], models: tuple[ModelEntry, ...], api_key: str | None) -> Change:
        from kimi_auth.models import Change, plan

        if not self._is_in_use():
            return Change.between(self._platform, "use", config, config)
        return plan(config, self._platform, models, reason="login", api_key=api_key)

    def use(self) -> Change:
        """The provider, if config.toml has one, is that of this account from now on. Raises ConfigError as `install`."""
        from kimi_auth.models.planning import refer_to_account

        return self._file.apply(lambda config: refer_to_account(config, self._platform))

    def sync(self, models: tuple[ModelEntry, ...]) -> Change:
        """Brings the models of the platform's part up to date. Raises ConfigError; then nothing was written."""
        from kimi_auth.models import plan

        return self._file.apply(lambda config: plan(config, self._platform, models, reason="sync"))

    def restore(self) -> bool:
        """What a logout takes back; False where the config still says what it said, because its owner has declared that.
        Raises ConfigError; then nothing was written."""
        from kimi_auth.models import CatalogueCache, has_login

        CatalogueCache(self._file.share_dir).forget(self._platform)
        return not has_login(self._file.revert(self._platform).after, self._platform)


def configured_platform(config: ConfigFile, known: Registry) -> str:
    """The platform whose part of config.toml has the default model: its id, "" for none that is known."""
    try:
        data = config.read()
    except ConfigError:
        return ""
    models, name = data.get("models"), data.get("default_model")
    model = models.get(name) if isinstance(models, Mapping) and isinstance(name, str) else None
    provider = model.get("provider") if isinstance(model, Mapping) else None
    platform_id = parse_managed_provider_key(provider) if isinstance(provider, str) else None
    try:
        return known.get(platform_id).id if platform_id else ""
    except ConfigError:
        return ""
