"""Platforms: what is known of them, what they offer, and how that gets into config.toml and out again."""

from __future__ import annotations

from kimi_auth.platforms import registry
from kimi_auth.platforms.catalogue import ModelEntry, capabilities, offered, parse_catalogue
from kimi_auth.platforms.configfile import ConfigFile, default_location
from kimi_auth.platforms.memo import Memo, Memory
from kimi_auth.platforms.planning import (
    Change,
    has_login,
    holds,
    plan,
    refer_to_file,
    static_key,
    unplan,
    waits_in_keyring,
)
from kimi_auth.platforms.registry import Registry
from kimi_auth.platforms.spec import (
    CAPABILITIES,
    Capability,
    CapabilityRule,
    OAuthEndpoints,
    Platform,
    credential_key,
    managed_model_key,
    managed_provider_key,
    overrides,
    parse_managed_provider_key,
    resolve,
)

__all__ = [
    "CAPABILITIES",
    "Capability",
    "CapabilityRule",
    "Change",
    "ConfigFile",
    "Memo",
    "Memory",
    "ModelEntry",
    "OAuthEndpoints",
    "Platform",
    "Registry",
    "capabilities",
    "credential_key",
    "default_location",
    "has_login",
    "holds",
    "managed_model_key",
    "managed_provider_key",
    "offered",
    "overrides",
    "parse_catalogue",
    "parse_managed_provider_key",
    "plan",
    "refer_to_file",
    "registry",
    "resolve",
    "static_key",
    "unplan",
    "waits_in_keyring",
]
