"""The proxy for a URL, as the environment sets it: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, read as curl does."""

from __future__ import annotations

import ipaddress
import os
from importlib.util import find_spec
from typing import Any
from urllib.request import getproxies, proxy_bypass

from kimi_auth.support.extras import install
from kimi_auth.support.language import tr
from kimi_auth.support.urls import Url, is_loopback, parsed

from .failures import UnsendableError

__all__ = ["proxy_for", "setting"]

_SOCKS = {"socks": "socks5", "socks5": "socks5", "socks5h": "socks5h"}
"""Spellings of SOCKS 5. `socks` is what desktop settings write. The proxy resolves the name in each case."""


def setting(value: str) -> str:
    """A proxy's setting without the blanks and quotes around it: env files that no shell reads keep them."""
    value = value.strip()
    return value[1:-1].strip() if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def proxy_for(text: str, library: Any) -> Any:
    """The `Proxy` of this library that the environment sets for a URL. None if NO_PROXY exempts it, and for plain http to loopback,
    which is allowed only because it stays on this machine.

    `library`: httpx or httpx2. Raises UnsendableError with the name of the variable, never its value: that may hold a password.
    """
    url = parsed(text)
    proxies = {name: setting(value) for name, value in getproxies().items()}
    scheme = next((it for it in (url.scheme, "all") if proxies.get(it)), "") if url else ""
    if url is None or not scheme or (url.scheme == "http" and is_loopback(url.host)):
        return None
    if _is_exempt(url, proxies.get("no", "")):
        return None
    names = " or ".join(sorted(it for it in os.environ if it.lower() == f"{scheme}_proxy")) or tr(
        "the system's settings"
    )
    kind, separator, address = proxies[scheme].partition("://")
    kind, address = (kind.lower(), address) if separator else ("http", kind)
    if kind in {"socks4", "socks4a"}:
        raise UnsendableError(
            tr(
                "the proxy in {names} speaks {kind}; only SOCKS 5 can be used: socks5://host:port",
                names=names,
                kind=kind,
            )
        )
    if kind in _SOCKS and find_spec("socksio") is None:
        message = tr("the proxy in {names} speaks SOCKS, which needs the extra `socks`", names=names)
        raise UnsendableError(message, hint=tr("install it: {command}", command=install("socks")))
    try:
        proxy = library.Proxy(f"{_SOCKS.get(kind, kind)}://{address}")
        if proxy.url.host:
            return proxy
    except (ValueError, library.InvalidURL):
        pass
    raise UnsendableError(
        tr(
            "the proxy in {names} has no address like http://host:port or socks5://host:port; in its password, write / as %2F, # as %23, ? as %3F",
            names=names,
        )
    )


def _is_exempt(url: Url, no_proxy: str) -> bool:
    """True if an entry of NO_PROXY, or of the system's settings, covers the host. Ignores entries without a meaning."""
    entries = [setting(entry).lower() for entry in no_proxy.replace(",", " ").split()]
    return "*" in entries or any(_covers(entry.rstrip("."), url) for entry in entries) or bool(proxy_bypass(url.host))


def _covers(entry: str, url: Url) -> bool:
    """True for the host itself, its domain (`kimi.com`, `.kimi.com`, `*.kimi.com`), a block of addresses
    (`10.0.0.0/8`), or one of these with the URL's port."""
    name, colon, port = entry.rpartition(":")
    if colon and port == str(url.port) and (":" not in name or name.endswith("]")):
        entry = name
    try:
        return ipaddress.ip_address(url.host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        domain = entry.removeprefix("*").lstrip(".")
        return bool(domain) and (url.host.rstrip(".") == domain or url.host.rstrip(".").endswith(f".{domain}"))
