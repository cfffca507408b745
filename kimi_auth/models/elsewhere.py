"""Keys of config.toml that send a platform's login to another API than the platform's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from kimi_auth.platforms import Platform
from kimi_auth.support.language import tr
from kimi_auth.support.urls import normal_url

__all__ = ["elsewhere"]


def elsewhere(config: Mapping[str, object], platform: Platform) -> dict[str, str]:
    """The host of each provider and service that refers to the platform's credential, or to its key, and is not at its API,
    by its key in the file. The platform's own provider must name exactly its base URL."""
    found = {}
    for section, name, entry in _entries(config):
        is_own = (section, name) == ("providers", platform.provider_key)
        oauth = entry.get("oauth")
        refers = isinstance(oauth, Mapping) and oauth.get("key") == platform.credential_key
        url = entry.get("base_url")
        if (is_own or refers) and isinstance(url, str) and not _fits(url, platform.api_base, exactly=is_own):
            found[f'{section}."{name}".base_url'] = _host(url)
    return found


def _entries(config: Mapping[str, object]) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    for section in ("providers", "services"):
        table = config.get(section)
        for name, entry in table.items() if isinstance(table, Mapping) else ():
            if isinstance(entry, Mapping):
                yield section, str(name), entry


def _fits(url: str, api_base: str, *, exactly: bool) -> bool:
    try:
        normal = normal_url(url.strip())
    except ValueError:
        return False
    return normal == api_base if exactly else urlsplit(normal)[:2] == urlsplit(api_base)[:2]


def _host(url: str) -> str:
    """The host with its port, and the path: never a user name or a query, which may be secret."""
    try:
        parts = urlsplit(url.strip())
        return (parts.netloc.rpartition("@")[2] + parts.path)[:200] or tr("an address that is no URL")
    except ValueError:
        return tr("an address that is no URL")
