"""The config.toml of kimi-code, which that program keeps itself: written only when a person asks, and then in place.

Only the keys that its own login writes are touched; everything of the user's stays, comments too. There is nothing to
undo: a logout of ours leaves the file alone, and kimi-code's own takes its login out.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from kimi_auth.errors import ConfigError
from kimi_auth.models.contents import field_of
from kimi_auth.models.planning import Change, put_models, table_at
from kimi_auth.support.language import tr

if TYPE_CHECKING:
    from kimi_auth.models.catalogue import ModelEntry
    from kimi_auth.models.configfile import ConfigFile
    from kimi_auth.platforms.spec import Platform

__all__ = ["KimiCodeConfig", "plan_for_kimi_code"]

USUAL_HOST = "https://auth.kimi.com"
KEYS = ("api_key", "api_key_env")
"""Ways to sign in that exclude `oauth`."""


class KimiCodeConfig:
    """A login's part of that file. `key`: the slot of the credential."""

    def __init__(self, file: ConfigFile, platform: Platform, key: str) -> None:
        self._file = file
        self._platform = platform
        self._key = key

    def lacks(self) -> bool:
        try:
            provider = field_of(self._file.read().get("providers"), self._platform.provider_key)
        except ConfigError:
            return False
        return field_of(field_of(provider, "oauth"), "key") != self._key

    def check(self) -> None:
        """Raises ConfigError now for what would stop `install` into kimi-code's config.toml."""
        self._file.writable(lambda config: plan_for_kimi_code(config, self._platform, self._key, ()))

    def install(self, models: tuple[ModelEntry, ...]) -> Change:
        """Writes into kimi-code's file provider, models, services and, where there is none, the default model. Raises
        ConfigError; then nothing was written."""
        return self._file.apply(lambda config: plan_for_kimi_code(config, self._platform, self._key, models))

    def restore(self) -> bool:
        return False


def plan_for_kimi_code(
    config: Mapping[str, Any], platform: Platform, key: str, models: tuple[ModelEntry, ...]
) -> Change:
    """What a login of the credential `key` means for kimi-code's config.toml. Raises ConfigError for a provider with a key of
    its own."""
    from kimi_auth.models.catalogue import capabilities, offered

    after = deepcopy(dict(config))
    host = platform.oauth.host if platform.oauth else USUAL_HOST
    oauth = {"storage": "file", "key": key} | ({} if host == USUAL_HOST else {"oauth_host": host})
    provider = table_at(after, "providers", platform.provider_key)
    if own := [name for name in KEYS if provider.get(name)]:
        raise ConfigError(
            tr(
                "config.toml: providers.{provider} has {key}, which excludes a login; nothing was changed",
                provider=platform.provider_key,
                key=own[0],
            ),
            hint=tr("take {key} out, then: kimi-auth login --configure", key=own[0]),
        )
    provider |= {"type": "kimi", "base_url": platform.api_base, "api_key": "", "oauth": oauth}
    # kimi-code goes by the server's flags alone, not by the names of models.
    platform = platform._replace(capability_rules=tuple(rule for rule in platform.capability_rules if rule.flag))
    if models := offered(platform, models):
        put_models(after, platform, models, always=("tool_use",))
        if after.get("default_model") not in after["models"]:
            after["default_model"] = platform.model_key(models[0].id)
            table_at(after, "thinking").setdefault("enabled", "thinking" in capabilities(platform, models[0]))
    services = table_at(after, "services")
    for name, url in platform.services.items():
        service = services.get(name, {})
        if isinstance(service, dict) and not any(service.get(one) for one in KEYS):
            services[name] = service | {"base_url": url, "api_key": "", "oauth": oauth}
    return Change.between(platform, "sync", config, after)
