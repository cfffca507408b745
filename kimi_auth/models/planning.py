"""What login, sync and logout mean for config.toml: pure functions from a config and a catalogue to a change.

`plan` and `unplan` build the config as it should be and say what differs; asked again about the result they answer with
an empty change. Only these parts of a config are ours: the provider `managed:<id>`, its models, the services that refer to
its credential, `default_model`, and at login `default_thinking`.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from kimi_auth.errors import ConfigError
from kimi_auth.models.contents import field_of, has_login, is_ours, refers_to
from kimi_auth.support.language import tr

if TYPE_CHECKING:  # what a config says is asked far more often than it is changed
    from kimi_auth.models.catalogue import ModelEntry
    from kimi_auth.models.tomltext import Edit
    from kimi_auth.platforms.spec import Platform

__all__ = ["Change", "Reason", "plan", "put_models", "refer_to_account", "refer_to_file", "table_at", "unplan"]

Reason = Literal["login", "sync", "use", "migrate", "logout"]


@dataclass(frozen=True, slots=True)
class Change:
    """What a plan does to a config: model keys added, changed and removed, the default model before and after ("" for
    none), the exact edits, and the config before and after them. False when there is nothing to do."""

    owner: Platform = field(repr=False)
    reason: Reason
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    default_before: str
    default_after: str
    edits: tuple[Edit, ...] = field(repr=False)
    before: Mapping[str, Any] = field(repr=False, compare=False)
    after: Mapping[str, Any] = field(repr=False, compare=False)

    def __bool__(self) -> bool:
        return bool(self.edits)

    @property
    def platform(self) -> str:
        """The id of the platform that it is about."""
        return self.owner.id

    @classmethod
    def between(cls, platform: Platform, reason: Reason, before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
        """The change, as plans have it, that leads from one config to another."""
        from kimi_auth.models.tomltext import diff

        old, new = _models(before), _models(after)
        return cls(
            owner=platform,
            reason=reason,
            added=tuple(key for key in new if key not in old),
            changed=tuple(key for key in new if key in old and diff({key: old[key]}, {key: new[key]})),
            removed=tuple(key for key in old if key not in new),
            default_before=_default(before),
            default_after=_default(after),
            edits=diff(before, after),
            before=before,
            after=after,
        )


def plan(
    config: Mapping[str, Any],
    platform: Platform,
    models: tuple[ModelEntry, ...],
    *,
    reason: Literal["login", "sync"],
    api_key: str | None = None,
) -> Change:
    """What a login to the platform, or a sync of its models, does to the config.

    A catalogue without models says nothing: the models listed stay. A sync of a platform that is not in the config
    changes nothing. `api_key` is for platforms that have no OAuth. Raises `ConfigError` where one of our keys holds
    something other than a table.
    """
    from kimi_auth.models.catalogue import capabilities, offered

    after = deepcopy(dict(config))
    if reason == "login":
        _put_provider(after, platform, api_key)
    elif not isinstance(table_at(after, "providers").get(platform.provider_key), dict):
        return Change.between(platform, reason, config, config)
    models = offered(platform, models)
    if models:
        put_models(after, platform, models)
        first = models[0]
        if reason == "login" or not _is_default_valid(after):
            after["default_model"] = platform.model_key(first.id)
        if reason == "login":
            after["default_thinking"] = "thinking" in capabilities(platform, first)
    elif not _is_default_valid(after):
        after["default_model"] = next(iter(_models(after)), "")
    if reason == "login":
        _put_services(after, platform, api_key)
    return Change.between(platform, reason, config, after)


def unplan(
    config: Mapping[str, Any],
    platform: Platform,
    *,
    before: Mapping[str, Any] | None = None,
    thinking_goes: bool | None = None,
) -> Change:
    """Plans what a logout takes out: the provider, all models of it, the services that refer to its credential; what
    `before` (the config that the login found, if known) had of them comes back, unless that was a login, too.

    A default model that goes with them becomes what it was in `before`, else the first model that is left (of the same
    platform, if that has one), else there is none. `default_thinking` goes back to what it was in `before` where
    `thinking_goes`; None: where the default model goes. Raises `ConfigError` as `plan`.
    """
    after = deepcopy(dict(config))
    models, services = table_at(after, "models"), table_at(after, "services")
    table_at(after, "providers").pop(platform.provider_key, None)
    for key in [key for key, model in models.items() if field_of(model, "provider") == platform.provider_key]:
        del models[key]
    for name in [name for name, url in platform.services.items() if is_ours(services.get(name), platform, url)]:
        del services[name]
    if before is not None and not has_login(before, platform):
        _put_back(after, before, platform)
    if thinking_goes is None:
        thinking_goes = not _is_default_valid(after)
    if not _is_default_valid(after):
        _put_default(after, before)
    if before is not None and thinking_goes:
        _restore(after, "default_thinking", before)
    return Change.between(platform, "logout", config, after)


def refer_to_file(config: Mapping[str, Any], platform: Platform) -> Change:
    """Every reference to the platform's credential says `storage = "file"`: for a login that has left the keyring."""
    after = deepcopy(dict(config))
    for section in ("providers", "services"):
        for entry in table_at(after, section).values():
            oauth = field_of(entry, "oauth")
            if isinstance(oauth, dict) and oauth.get("key") == platform.credential_key:
                oauth["storage"] = "file"
    return Change.between(platform, "migrate", config, after)


def refer_to_account(config: Mapping[str, Any], platform: Platform) -> Change:
    """The change by which the provider and the services that refer to a login of the platform, whichever account that is of,
    refer to that of its `account`."""
    after = deepcopy(dict(config))
    entries = [table_at(after, "providers").get(platform.provider_key), *table_at(after, "services").values()]
    for entry in entries:
        if refers_to(entry, platform):
            entry["oauth"] |= {"storage": "file", "key": platform.credential_key}
    return Change.between(platform, "use", config, after if any(entries) else config)


def _put_provider(config: dict[str, Any], platform: Platform, api_key: str | None) -> None:
    provider = table_at(config, "providers", platform.provider_key)
    provider |= {"type": "kimi", "base_url": platform.api_base} | _access(provider, platform, api_key)


def _put_services(config: dict[str, Any], platform: Platform, api_key: str | None) -> None:
    services = table_at(config, "services")
    for name, url in platform.services.items():
        service = services.get(name, {})
        if service == {} or is_ours(service, platform, url) or refers_to(service, platform):
            services[name] = service | {"base_url": url} | _access(service, platform, api_key)


def _access(table: Mapping[str, Any], platform: Platform, api_key: str | None) -> dict[str, Any]:
    """How a provider or service in a plan of the config shows who it is. A static key set by the user is kept: it is
    used when OAuth fails."""
    if api_key is None:
        kept = table.get("api_key")
        api_key = kept if isinstance(kept, str) else ""
    if platform.oauth is None:
        return {"api_key": api_key}
    oauth = table.get("oauth")
    reference = {"storage": "file", "key": platform.credential_key}
    return {"api_key": api_key, "oauth": (oauth if isinstance(oauth, dict) else {}) | reference}


def put_models(
    config: dict[str, Any], platform: Platform, models: tuple[ModelEntry, ...], *, always: tuple[str, ...] = ()
) -> None:
    """Plans the platform's models, without those that it serves no longer. `always`: capabilities of every model."""
    from kimi_auth.models.catalogue import capabilities

    table = table_at(config, "models")
    served = {model.id for model in models}
    for key, entry in list(table.items()):
        # A second name that a user gave to a model which is still served is the user's to keep.
        if field_of(entry, "provider") == platform.provider_key and field_of(entry, "model") not in served:
            del table[key]
    for model in models:
        entry = table_at(table, platform.model_key(model.id))
        known = entry.get("max_context_size")
        known = known if isinstance(known, int) and known > 0 else platform.assumed_context_length
        entry |= {
            "provider": platform.provider_key,
            "model": model.id,
            "max_context_size": model.context_length or known,
        }
        _put_capabilities(entry, (*capabilities(platform, model), *always))
        if model.display_name:
            entry["display_name"] = model.display_name


def _put_capabilities(entry: dict[str, Any], wanted: tuple[str, ...]) -> None:
    """Plans capabilities, a set: another order is no change. The Kimi CLI writes an empty one as no key at all, and so do we."""
    written = entry.get("capabilities")
    if isinstance(written, list) and all(isinstance(name, str) for name in written) and set(written) == set(wanted):
        return
    if wanted:
        entry["capabilities"] = list(wanted)
    else:
        entry.pop("capabilities", None)


def _put_back(config: dict[str, Any], before: Mapping[str, Any], platform: Platform) -> None:
    """What a logout means for the provider that the user had under our name, with its models: it comes back."""
    provider = field_of(before.get("providers"), platform.provider_key)
    if isinstance(provider, dict):
        table_at(config, "providers")[platform.provider_key] = deepcopy(provider)
        own = {
            key: model for key, model in _models(before).items() if field_of(model, "provider") == platform.provider_key
        }
        table_at(config, "models").update(deepcopy(own))


def _put_default(config: dict[str, Any], before: Mapping[str, Any] | None) -> None:
    """Plans the default model: that of `before` if it is there still, else the first of its platform, else the first, else none."""
    models, earlier = _models(config), _default(before or {})
    beside = next((key for key in models if earlier and key.startswith(earlier.partition("/")[0] + "/")), None)
    first = beside or next(iter(models), None)
    _restore(config, "default_model", {} if first is None else {"default_model": first})
    if before is not None and _is_default_valid({**config, "default_model": before.get("default_model", "")}):
        _restore(config, "default_model", before)


def _restore(config: dict[str, Any], key: str, before: Mapping[str, Any]) -> None:
    if key in before:
        config[key] = before[key]
    else:
        config.pop(key, None)


def _is_default_valid(config: Mapping[str, Any]) -> bool:
    """The Kimi CLI does not load a config whose default model is not among its models; "" and no key mean none."""
    default = config.get("default_model", "")
    return isinstance(default, str) and (default == "" or default in _models(config))


def _default(config: Mapping[str, Any]) -> str:
    default = config.get("default_model", "")
    return default if isinstance(default, str) else ""


def _models(config: Mapping[str, Any]) -> dict[str, Any]:
    models = config.get("models", {})
    return models if isinstance(models, dict) else {}


def table_at(config: dict[str, Any], *path: str) -> dict[str, Any]:
    """The table at `path` of the planned config, made if it is missing."""
    table: Any = config
    for depth, key in enumerate(path, start=1):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(
                tr("config.toml: {path} is not a table; nothing was changed", path=".".join(path[:depth]))
            )
    found: dict[str, Any] = table
    return found
