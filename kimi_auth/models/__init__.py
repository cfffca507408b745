"""From a platform's catalogue to config.toml and back: discovery, planning, editing, undo, sync."""

from __future__ import annotations

from kimi_auth.models.catalogue import ModelEntry, capabilities, offered, parse_catalogue
from kimi_auth.models.catalogue_cache import CachedCatalogue, CatalogueCache
from kimi_auth.models.configfile import ConfigFile, default_location
from kimi_auth.models.planning import (
    Change,
    has_login,
    holds,
    plan,
    refer_to_file,
    static_key,
    unplan,
    waits_in_keyring,
)

__all__ = [
    "CachedCatalogue",
    "CatalogueCache",
    "Change",
    "ConfigFile",
    "ModelEntry",
    "capabilities",
    "default_location",
    "has_login",
    "holds",
    "offered",
    "parse_catalogue",
    "plan",
    "refer_to_file",
    "static_key",
    "unplan",
    "waits_in_keyring",
]
