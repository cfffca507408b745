"""Where a bearer may go: to one origin (RFC 6454 §4), over TLS (RFC 6750 §5.3) or to a loopback host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kimi_auth.support.urls import is_loopback

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

__all__ = ["bearer_origin", "origin_of", "origin_of_text"]

_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+", re.ASCII)
_DEFAULT_PORTS = {"https": 443, "http": 80}


def bearer_origin(text: str) -> str:
    """The origin of the URL `text`. Raises ValueError where it is no absolute URL, or one to which no bearer may be sent."""
    scheme, host, netloc = _parts(text)
    if not scheme or not host:
        raise ValueError(f"origin must be an absolute URL such as https://api.kimi.com, not {text!r}")
    if scheme != "https" and not (scheme == "http" and is_loopback(host)):
        raise ValueError(f"no bearer is sent to {scheme}://{host}: it takes https, or http on a loopback host")
    return f"{scheme}://{netloc}"


def origin_of_text(text: str) -> str:
    """The origin of any URL, to check where a bearer may go; "" for text that has none."""
    scheme, host, netloc = _parts(text)
    return f"{scheme}://{netloc}" if scheme and host else ""


def origin_of(url: http_libraries.URL) -> str:
    """An origin in one spelling of scheme, host and port: httpx and httpx2 have lowered the case and dropped a default
    port."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _parts(text: str) -> tuple[str, str, str]:
    """The parts of an origin, as `origin_of` spells it: scheme, host, and host with port; empty where the text is no URL."""
    nothing = "", "", ""
    if not text.isprintable() or " " in text:
        return nothing
    try:
        parts = urlsplit(text)
        port = parts.port
        host = _ascii(parts.hostname or "")
    except ValueError:
        return nothing
    if not _HOST.fullmatch(host):
        return nothing
    netloc = f"[{host}]" if ":" in host else host
    return parts.scheme, host, netloc if port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f"{netloc}:{port}"


def _ascii(host: str) -> str:
    """The name as it is asked for (RFC 5891), by the package that httpx and httpx2 ask. Raises ValueError."""
    if host.isascii():
        return host
    import idna

    return idna.encode(host).decode("ascii")
