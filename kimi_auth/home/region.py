"""Which region's login is meant on kimi-code's home, in the order in which kimi-code itself decides.

Its variables come first, then the login in config.toml, then the `region` file of its installer. Where none of them says
anything, the only slot that holds a login does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kimi_auth import files
from kimi_auth.selection import API_BASE_VARIABLES, DEFAULT, OAUTH_HOST_VARIABLES, select

from .kinds import slot

__all__ = ["Addresses", "Login", "login_of"]

PROVIDER = "managed:kimi-code"
MARKER = "region"
MARKER_OFF = "KIMI_CODE_REGION_MARKER"
MARKER_BYTES_MAX = 64


class Addresses(NamedTuple):
    """OAuth host and API base of a region, without a slash at the end."""

    oauth_host: str
    api_base: str


class Login(NamedTuple):
    """`region`: "" for addresses of no region; `addresses`: those of config.toml, None for the region's own."""

    region: str
    addresses: Addresses | None = None


def login_of(
    home: Path, config: Mapping[str, object], environ: Mapping[str, str], regions: Mapping[str, Addresses]
) -> Login:
    """The login that is meant; `regions` are the known ones, the usual one first."""
    usual = next(iter(regions))
    if any(select(environ, variables=names)[1] != DEFAULT for names in (OAUTH_HOST_VARIABLES, API_BASE_VARIABLES)):
        return Login(usual)  # the variables are applied to it
    if configured := _configured(config, regions[usual]):
        known = next((name for name, addresses in regions.items() if addresses == configured), "")
        return Login(known, None if known else configured)
    if (marked := _marker(home, environ)) in regions:
        return Login(marked)
    held = [name for name, addresses in regions.items() if _has_record(home, addresses)]
    return Login(held[0] if len(held) == 1 else usual)


def _configured(config: Mapping[str, object], usual: Addresses) -> Addresses | None:
    """The region's addresses in config.toml; None where the key there is not that of its addresses, as kimi-code checks."""
    provider = _table(_table(config, "providers"), PROVIDER)
    oauth = _table(provider, "oauth")
    host, base = (oauth.get("oauth_host") or usual.oauth_host), (provider.get("base_url") or usual.api_base)
    if not isinstance(host, str) or not isinstance(base, str) or oauth.get("key") != slot(host, base):
        return None
    return Addresses(host.strip().rstrip("/"), base.strip().rstrip("/"))


def _marker(home: Path, environ: Mapping[str, str]) -> str:
    if environ.get(MARKER_OFF) == "off":
        return ""
    try:
        found = files.read_bounded(home / MARKER, MARKER_BYTES_MAX, follow=True)
    except OSError:
        return ""
    return found.data.decode("utf-8", "replace").strip() if found else ""


def _has_record(home: Path, addresses: Addresses) -> bool:
    return (home / "credentials" / f"{slot(*addresses).removeprefix('oauth/')}.json").is_file()


def _table(table: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = table.get(name)
    return found if isinstance(found, Mapping) else {}
