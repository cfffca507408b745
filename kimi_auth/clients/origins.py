"""Where a bearer may go: to one origin (RFC 6454 §4), over TLS (RFC 6750 §5.3) or to a loopback host."""

from __future__ import annotations

import httpx

from kimi_auth.urls import is_loopback

__all__ = ["bearer_origin", "origin_of"]


def bearer_origin(text: str) -> str:
    """The origin of the URL `text`. Raises ValueError where it is no absolute URL, or one to which no bearer may be sent."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if not url.scheme or not url.host:
        raise ValueError(f"origin must be an absolute URL such as https://api.kimi.com, not {text!r}")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host)):
        raise ValueError(f"no bearer is sent to {url.scheme}://{url.host}: it takes https, or http on a loopback host")
    return origin_of(url)


def origin_of(url: httpx.URL) -> str:
    """Scheme, host and port in one spelling: httpx has lowered the case and dropped a default port."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
