"""Stands in for `kimi_cli.auth.platforms`: the registry, the catalogue and the background sync in the Kimi CLI's shapes.

Platforms are looked up, with the environment's overrides, when they are asked for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple, overload

from kimi_auth.compat.host import Config, adopt_models, host_version, platforms, session_for, share_dir
from kimi_auth.errors import KimiAuthError
from kimi_auth.models import CatalogueCache, ConfigFile, ModelEntry, capabilities
from kimi_auth.models.discovery import discover
from kimi_auth.models.sync import sync
from kimi_auth.platforms import Capability, Registry, managed_model_key, managed_provider_key, resolve
from kimi_auth.platforms import Platform as Known
from kimi_auth.wire import device_headers

__all__ = [
    "PLATFORMS",
    "ModelInfo",
    "Platform",
    "get_platform_by_id",
    "get_platform_by_name",
    "get_platform_name_for_provider",
    "is_managed_provider_key",
    "list_models",
    "managed_model_key",
    "managed_provider_key",
    "parse_managed_provider_key",
    "refresh_managed_models",
]

log: logging.Logger = logging.getLogger("kimi_auth.compat")

PREFIX = managed_provider_key("")


class Platform(NamedTuple):
    """One platform. URLs have no trailing slash; `allowed_prefixes` of model ids, None for all."""

    id: str
    name: str
    base_url: str
    search_url: str | None = None
    fetch_url: str | None = None
    allowed_prefixes: list[str] | None = None

    @classmethod
    def of(cls, known: Known) -> Platform:
        """The Kimi CLI's form of a platform of the registry, with the environment's overrides. Raises ConfigError
        naming the variable."""
        now = resolve(known, os.environ)
        return cls(now.id, now.name, now.api_base, now.search_url, now.fetch_url, list(now.model_prefixes) or None)


class _Platforms(Sequence[Platform]):
    """The registry as a sequence that is always up to date."""

    def __len__(self) -> int:
        return len(platforms())

    @overload
    def __getitem__(self, at: int) -> Platform: ...
    @overload
    def __getitem__(self, at: slice) -> list[Platform]: ...
    def __getitem__(self, at: int | slice) -> Platform | list[Platform]:
        known = platforms()[at]
        return Platform.of(known) if isinstance(known, Known) else [Platform.of(each) for each in known]


PLATFORMS: Sequence[Platform] = _Platforms()


class ModelInfo(ModelEntry):
    """One model of a catalogue; `context_length` is in tokens and always known."""

    context_length: int

    @property
    def capabilities(self) -> set[Capability]:
        """What the model can do."""
        return set(capabilities(Registry().get("kimi-code"), self))


def get_platform_by_id(platform_id: str) -> Platform | None:
    """The Kimi CLI's platform of that id; None for an unknown one. Raises ConfigError as `Platform.of`."""
    return _found(known for known in platforms() if known.id == platform_id)


def get_platform_by_name(name: str) -> Platform | None:
    """The Kimi CLI's platform of that name; None for an unknown one. Raises ConfigError as `Platform.of`."""
    return _found(known for known in platforms() if known.name == name)


def is_managed_provider_key(provider_key: str) -> bool:
    """Whether a provider of the Kimi CLI's config.toml is ours and not the user's own."""
    return provider_key.startswith(PREFIX)


def parse_managed_provider_key(provider_key: str) -> str | None:
    """The platform id in a managed provider's key, as the Kimi CLI has it; None for a provider that is the user's own."""
    return provider_key.removeprefix(PREFIX) if is_managed_provider_key(provider_key) else None


def get_platform_name_for_provider(provider_key: str) -> str | None:
    """The Kimi CLI's name for the platform of a managed provider; None for any other provider."""
    return next((known.name for known in platforms() if known.provider_key == provider_key), None)


async def list_models(platform: Platform, api_key: str) -> list[ModelInfo]:
    """The models that the platform offers the Kimi CLI for this key. Raises KimiAuthError, which says why there are
    none."""
    known = Registry(share_dir()).get(platform.id)._replace(api_base=platform.base_url.rstrip("/"))
    found = await discover(known, api_key, _headers())
    if found.error is not None:
        raise found.error
    assumed = known.assumed_context_length
    return [
        ModelInfo(**{**model.model_dump(), "context_length": model.context_length or assumed}) for model in found.models
    ]


async def refresh_managed_models(config: Config) -> bool:
    """Brings config.toml, and the host's configuration in memory, up to every managed platform's catalogue.

    One that fails leaves its models as they are and is logged. True if the host's models changed. Does nothing for a
    configuration from another location; raises nothing for what servers and files do.
    """
    if not config.is_from_default_location:
        return False
    file, memory = ConfigFile(share_dir()), CatalogueCache(share_dir())
    try:
        sources = [session_for(known) for known in platforms() if known.provider_key in config.providers]
        synced = await sync(sources, file, _headers(), memory=memory)
        done = [one.platform.provider_key for one in synced if one.error is None]
        return bool(done) and adopt_models(config, file.read(), done)
    except (KimiAuthError, ValueError) as error:
        log.warning("models not synced: %s", getattr(error, "line", type(error).__name__))
        return False


def _found(matching: Iterable[Known]) -> Platform | None:
    known = next(iter(matching), None)
    return None if known is None else Platform.of(known)


def _headers() -> dict[str, str]:
    return device_headers(share_dir(), version=host_version())
