"""Platforms: their registry, their catalogues, and how these get into config.toml and out again."""

from __future__ import annotations

from kimi_auth.platforms import registry
from kimi_auth.platforms.registry import Registry
from kimi_auth.platforms.spec import (
    CAPABILITIES,
    Capability,
    CapabilityRule,
    ListedModel,
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
    "ListedModel",
    "OAuthEndpoints",
    "Platform",
    "Registry",
    "credential_key",
    "managed_model_key",
    "managed_provider_key",
    "overrides",
    "parse_managed_provider_key",
    "registry",
    "resolve",
]
