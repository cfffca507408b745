"""The host's configuration object and its runtime, by shape only, and the Session behind each credential."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from kimi_auth._version import __version__
from kimi_auth.chosen_login import share_dir_of
from kimi_auth.home import Accounts, choose
from kimi_auth.platforms import Platform, Registry, resolve
from kimi_auth.selection import HOME_KIMI_CLI, UNLABELLED, is_label
from kimi_auth.session import Session

__all__ = [
    "Config",
    "Provider",
    "Ref",
    "Secret",
    "adopt",
    "adopt_models",
    "api_key_of",
    "host_version",
    "platforms",
    "session_for",
    "session_of",
    "share_dir",
]


class Secret(Protocol):
    """A value that does not show itself in a repr."""

    def get_secret_value(self) -> str: ...


class Ref(Protocol):
    """Where a credential is: `storage` ("file", or the legacy "keyring") and `key` ("oauth/<platform id>", with "@<account>"
    behind it for an account with a label)."""

    @property
    def storage(self) -> str: ...

    @property
    def key(self) -> str: ...


class Provider(Protocol):
    """A provider, or a service, of the host's configuration."""

    @property
    def api_key(self) -> Secret: ...

    @property
    def oauth(self) -> Ref | None: ...


class Config(Protocol):
    """The host's configuration in memory, a pydantic model with the keys of config.toml."""

    is_from_default_location: bool
    default_model: str
    default_thinking: bool
    models: dict[str, Any]
    providers: dict[str, Any]
    services: Any

    @classmethod
    def model_validate(cls, data: object) -> Config: ...


def share_dir() -> Path:
    """The host's directory: `$KIMI_SHARE_DIR`, else `~/.kimi`; never kimi-code's by its own variable. Raises as `share_dir_of`."""
    return share_dir_of(os.environ, HOME_KIMI_CLI)


def host_version() -> str:
    """The version of the host's runtime, which it sends with its requests; ours where no Kimi CLI is running."""
    constants = sys.modules.get("kimi_cli.constant")
    return str(getattr(constants, "VERSION", __version__))


def platforms() -> tuple[Platform, ...]:
    """The host's platforms: all that the registry of its share directory knows, before the environment's overrides."""
    return Registry(share_dir()).all()


def session_for(platform: Platform) -> Session:
    """The host's one Session of this process for the account of a platform that is in use, which config.toml names.
    Raises ConfigError for an environment variable that holds no URL, and for accounts.toml."""
    in_use = Accounts(share_dir()).in_use(platform.id) if platform.oauth is not None else ""
    return _session_of_account(platform, in_use)


def _session_of_account(platform: Platform, label: str) -> Session:
    label = "" if label == UNLABELLED else label
    return _session(share_dir(), resolve(platform, os.environ)._replace(account=label))


def session_of(key: str) -> Session | None:
    """The host's one Session of this process for a credential's key; None for a key that is not ours. Raises as
    `session_for`."""
    name, at, label = key.partition("@")
    if at and not is_label(label):
        return None
    known = (platform for platform in platforms() if platform.auth == "device" and platform.credential_key == name)
    found = next(known, None)
    return None if found is None else _session_of_account(found, label)


@lru_cache(maxsize=16)
def _session(directory: Path, platform: Platform) -> Session:
    """Another environment is another platform value, and so another Session; the account is the one of the key, whatever a
    variable says."""
    has_accounts = platform.oauth is not None and not choose(os.environ, directory).kind.binds_by_slot
    account = (platform.account or UNLABELLED) if has_accounts else None
    return Session(directory, platform=platform.id, account=account)


def api_key_of(provider: Provider | None) -> str:
    """The static key, "" for none."""
    return provider.api_key.get_secret_value() if provider is not None else ""


def adopt(config: Config, data: Mapping[str, Any]) -> None:
    """The host's configuration in memory becomes what config.toml says now, as far as a login or logout changes it.

    Raises ValueError when the host cannot load that; then nothing has changed.
    """
    fresh = type(config).model_validate(dict(data))
    for name in ("providers", "models", "services", "default_model", "default_thinking"):
        setattr(config, name, getattr(fresh, name))


def adopt_models(config: Config, data: Mapping[str, Any], providers: Collection[str]) -> bool:
    """The host's models of these providers become what config.toml says now, and a default that is gone follows.

    A model that is known stays the same object: a running client holds it. True if anything changed; raises as `adopt`.
    """
    fresh = type(config).model_validate(dict(data))
    changed = False
    for key in [key for key, model in config.models.items() if model.provider in providers and key not in fresh.models]:
        del config.models[key]
        changed = True
    for key, model in fresh.models.items():
        if model.provider in providers:
            changed |= _put_model(config.models, key, model)
    if config.default_model and config.default_model not in config.models:
        config.default_model = fresh.default_model if fresh.default_model in config.models else ""
        changed = True
    return changed


def _put_model(models: dict[str, Any], key: str, model: Any) -> bool:
    known = models.setdefault(key, model)
    if known is model:
        return True
    different = [(name, value) for name, value in model if getattr(known, name) != value]
    for name, value in different:
        setattr(known, name, value)
    return bool(different)
