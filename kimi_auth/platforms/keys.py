"""The API that an API key is for: the base URL given with it, else the platform that its first characters name."""

from __future__ import annotations

from collections.abc import Iterable

from kimi_auth.errors import ConfigError
from kimi_auth.platforms.spec import Platform
from kimi_auth.support.language import listed, tr
from kimi_auth.support.urls import host_of, normal_url

__all__ = ["platform_of_key"]

ELSEWHERE = "other"
"""The id of an API that belongs to no platform that is known."""


def platform_of_key(
    key: str, base_url: str, *, selected: Platform, is_named: bool, known: Iterable[Platform]
) -> Platform | None:
    """The platform that `key` may be sent to, as one that takes API keys.

    `base_url`: the key's own, "" for none. `selected`: the platform that argument, config.toml or default select;
    `is_named`: by argument: then None is returned for a key that is for another one. `known`: every platform, in order,
    with its overrides. Pure. Raises ConfigError where several platforms have such keys and none of them is selected, and
    ValueError for a `base_url` that is no base URL.
    """
    platforms = (selected, *(one for one in known if one.id != selected.id))
    found = _at(normal_url(base_url), platforms) if base_url else _by_prefix(key, platforms)
    if is_named and selected not in found:
        return None
    if selected in found:
        return _taking_keys(selected)
    if len(found) == 1:
        return _taking_keys(found[0])
    one = found[0]
    raise ConfigError(
        tr("several platforms have keys like the given one: {ids}", ids=listed(each.id for each in found)),
        hint=tr(
            "say which one, for example: --platform {id}, or export KIMI_BASE_URL={base}", id=one.id, base=one.api_base
        ),
    )


def _at(base: str, platforms: Iterable[Platform]) -> list[Platform]:
    found = [one for one in platforms if one.api_base == base]
    return found or [Platform(id=ELSEWHERE, name=host_of(base), auth="api_key", api_base=base)]


def _by_prefix(key: str, platforms: tuple[Platform, ...]) -> list[Platform]:
    """The platforms with the longest prefix that the key has; without one, the selected platform."""
    fits = {
        one.id: max((len(prefix) for prefix in one.key_prefixes if key.startswith(prefix)), default=0)
        for one in platforms
    }
    longest = max(fits.values())
    return [one for one in platforms if fits[one.id] == longest] if longest else [platforms[0]]


def _taking_keys(platform: Platform) -> Platform:
    return platform._replace(auth="api_key", oauth=None)
