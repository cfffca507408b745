"""Questions about a config: pure functions from plain data, of whatever form that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kimi_auth.platforms.spec import credential_key

if TYPE_CHECKING:
    from kimi_auth.platforms.spec import Platform

__all__ = [
    "account_of",
    "field_of",
    "has_login",
    "has_models",
    "holds",
    "holds_secret",
    "is_ours",
    "refers_to",
    "static_key",
    "values_of",
    "waits_in_keyring",
]

_SECRETS = ("api_key", "env", "custom_headers")
"""Keys of a provider or a service whose value may be, or hold, a secret."""


def holds(config: Mapping[str, Any], platform: Platform) -> bool:
    """Whether the config has anything of the platform: its provider, a model of it, a service with its credential."""
    services = config.get("services")
    return (
        field_of(config.get("providers"), platform.provider_key) is not None
        or has_models(config, platform)
        or any(is_ours(field_of(services, name), platform, url) for name, url in platform.services.items())
    )


def has_models(config: Mapping[str, Any], platform: Platform) -> bool:
    """Whether the config has a model of the platform."""
    return any(field_of(model, "provider") == platform.provider_key for model in values_of(config.get("models")))


def has_login(config: Mapping[str, Any], platform: Platform) -> bool:
    """Whether what the config has of the platform is a login: it refers to the credential, or is one, where that is an API
    key. A provider under our name that does neither is the user's own."""
    if platform.oauth is None:
        return holds(config, platform)
    entries = [field_of(config.get("providers"), platform.provider_key), *values_of(config.get("services"))]
    return any(field_of(field_of(entry, "oauth"), "key") == platform.credential_key for entry in entries)


def static_key(config: Mapping[str, Any], platform: Platform) -> str:
    """The API key that the config has for the platform, "" if there is none."""
    key = field_of(field_of(config.get("providers"), platform.provider_key), "api_key")
    return key if isinstance(key, str) else ""


def holds_secret(config: Mapping[str, Any]) -> bool:
    """Whether a provider or a service of the config may hold a secret."""
    return any(field_of(entry, key) for entry in _entries(config) for key in _SECRETS)


def waits_in_keyring(config: Mapping[str, Any], platform: Platform) -> bool:
    """Whether the config says that the platform's credential is in the system keyring, as old Kimi CLIs kept it."""
    references = [field_of(entry, "oauth") for entry in _entries(config)]
    return any(
        field_of(oauth, "key") == platform.credential_key and field_of(oauth, "storage") == "keyring"
        for oauth in references
    )


def refers_to(table: object, platform: Platform) -> bool:
    """Whether a provider or service refers to a login of the platform, whichever account that is of."""
    key = field_of(field_of(table, "oauth"), "key")
    own = credential_key(platform.id)
    return isinstance(key, str) and (key == own or key.startswith(f"{own}@"))


def account_of(config: Mapping[str, Any], platform: Platform) -> str | None:
    """The label of the account whose login the config's provider of the platform refers to, "" for the login without one;
    None where it refers to none."""
    provider = field_of(config.get("providers"), platform.provider_key)
    if not refers_to(provider, platform):
        return None
    return str(field_of(field_of(provider, "oauth"), "key")).partition("@")[2]


def is_ours(service: object, platform: Platform, url: str) -> bool:
    """Whether a service of the config is the platform's own at that URL."""
    if platform.oauth is None:
        return field_of(service, "base_url") == url
    return field_of(field_of(service, "oauth"), "key") == platform.credential_key


def _entries(config: Mapping[str, Any]) -> list[Any]:
    """The providers and the services of the config."""
    return [entry for section in ("providers", "services") for entry in values_of(config.get(section))]


def values_of(table: object) -> list[Any]:
    """The values of a table of the config, none of anything else."""
    return list(table.values()) if isinstance(table, dict) else []


def field_of(table: object, key: str) -> object:
    """One value of a table of the config, None if there is none, or no table."""
    return table.get(key) if isinstance(table, dict) else None
