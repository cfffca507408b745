"""From a platform's catalogue to config.toml and back: discovery, planning, editing, undo, sync."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kimi_auth.support.lazily import lazily

if TYPE_CHECKING:
    from .catalogue import Catalogue, ModelEntry, capabilities, offered, parse_catalogue
    from .catalogue_cache import CachedCatalogue, CatalogueCache
    from .configfile import ConfigFile, default_location
    from .contents import has_login, has_models, holds, static_key, waits_in_keyring
    from .planning import Change, plan, refer_to_file, unplan

__all__ = [
    "CachedCatalogue",
    "Catalogue",
    "CatalogueCache",
    "Change",
    "ConfigFile",
    "ModelEntry",
    "capabilities",
    "default_location",
    "has_login",
    "has_models",
    "holds",
    "offered",
    "parse_catalogue",
    "plan",
    "refer_to_file",
    "static_key",
    "unplan",
    "waits_in_keyring",
]

__getattr__ = lazily(
    __name__,
    {
        "catalogue": ("Catalogue", "ModelEntry", "capabilities", "offered", "parse_catalogue"),
        "catalogue_cache": ("CachedCatalogue", "CatalogueCache"),
        "configfile": ("ConfigFile", "default_location"),
        "contents": ("has_login", "has_models", "holds", "static_key", "waits_in_keyring"),
        "planning": ("Change", "plan", "refer_to_file", "unplan"),
    },
)
