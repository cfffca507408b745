"""URLs of servers, in one spelling (RFC 3986 §6.2): https anywhere, plain http on loopback only.

Built-in URLs need no parsing, so `urllib.parse` and `ipaddress` are imported by the functions that need them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kimi_auth.support.language import tr

__all__ = ["Url", "host_of", "is_loopback", "normal_url", "origin_of", "parsed", "safe_url"]

URL_MAX = 2048
_VISIBLE = re.compile(r"[!-~]+", re.ASCII)
_FORBIDDEN = frozenset('\\"<>^`{|}')
_DEFAULT_PORTS = {"https": 443, "http": 80}


class Url(NamedTuple):
    """The parts of an http(s) URL in one spelling: scheme and host in lower case, the port that is used, no trailing
    slash. Two URLs with equal parts are the same address."""

    scheme: str
    host: str
    port: int
    path: str
    query: str
    fragment: str

    @property
    def netloc(self) -> str:
        """Host and port as a URL writes them: IPv6 in brackets, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """RFC 6454 §4."""
        return f"{self.scheme}://{self.netloc}"

    @property
    def is_private(self) -> bool:
        """True if no host on the way can read a request: https, or http that stays on this machine."""
        return self.scheme == "https" or is_loopback(self.host)


def parsed(text: object) -> Url | None:
    """The parts of an absolute http(s) URL that every parser reads alike; None for anything else."""
    from urllib.parse import urlsplit

    if not isinstance(text, str) or len(text) > URL_MAX or not _VISIBLE.fullmatch(text) or _FORBIDDEN & set(text):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    # User-info makes a URL look like another host's ("https://kimi.com@evil.example").
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or port == 0 or "@" in parts.netloc:
        return None
    port = port or _DEFAULT_PORTS[parts.scheme]
    return Url(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), parts.query, parts.fragment)


def normal_url(text: str) -> str:
    """The one spelling of a base URL. Raises `ValueError` for anything but https, or http on a loopback host, and for
    user names, queries and fragments."""
    url = parsed(text)
    if url is None or "?" in text or "#" in text:
        raise ValueError(tr("must be a plain base URL: no user name, query, fragment, spaces or special characters"))
    if not url.is_private:
        raise ValueError(tr("must be an https URL (http only on a loopback host)"))
    return url.origin + url.path


def origin_of(text: str) -> str:
    """The origin (RFC 6454 §4) of a server's URL, in its one spelling; "" for text that is no such URL."""
    url = parsed(text)
    return url.origin if url else ""


def safe_url(text: str) -> str:
    """`text` if it is a URL that may be shown, opened or requested: https, or http on loopback; "" otherwise.

    No user-info, no spaces, no control or non-ASCII characters, at most 2048 long, never mistaken for an option ("-x").
    """
    url = parsed(text)
    return text if url is not None and url.is_private else ""


def host_of(text: str) -> str:
    """The server's name for messages: host and port, "the server" when the URL has none."""
    url = parsed(text)
    return url.netloc if url else tr("the server")


def is_loopback(host: str) -> bool:
    """True for `localhost` and the loopback addresses: the hosts that plain http may talk to."""
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
