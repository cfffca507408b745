"""The endpoints that a server's metadata names (RFC 8414, OpenID Connect Discovery). Pure functions."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import httpx

from .decode import JsonObject
from .sanitize import split_url
from .verdict import RawResponse

__all__ = ["endpoint", "metadata_urls", "other_origins", "weather"]

_DEFAULT_PORTS = {"https": 443, "http": 80}


def metadata_urls(issuer: str) -> tuple[str, str]:
    """The two addresses of the metadata of `issuer`, in the order in which to request them.

    The first inserts the well-known part between host and path (RFC 8414 §3.1), the second appends it to the path
    (OpenID Connect Discovery §4.1).
    """
    parts = urlsplit(issuer.rstrip("/"))
    host = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{host}/.well-known/oauth-authorization-server{parts.path}",
        f"{host}{parts.path}/.well-known/openid-configuration",
    )


def endpoint(metadata: JsonObject | None, issuer: str, name: str) -> str:
    """The endpoint `name` (RFC 8414 §2, RFC 8628 §4) in metadata whose issuer is `issuer` (§3.3), else "".

    It must be https, or plain http at exactly the host and port of an issuer that uses plain http itself.
    """
    ours, theirs, there = (_spelt(url) for url in (issuer, (metadata or {}).get("issuer"), (metadata or {}).get(name)))
    if metadata is None or ours is None or theirs != ours or there is None:
        return ""
    at_home = there[:2] == ours[:2]
    # A stored login must not move from https to plain http because the metadata says so.
    return str(metadata[name]) if there[0] == "https" or at_home else ""


def other_origins(issuer: str, *urls: str) -> tuple[str, ...]:
    """The origins (RFC 6454 §4) of these URLs that are not the issuer's, each once; "" is no URL and has none."""
    own = _origin(issuer)
    return tuple(dict.fromkeys(origin for url in urls if (origin := _origin(url)) and origin != own))


def _origin(url: str) -> str:
    parts = split_url(url)
    if parts is None:
        return ""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    has_port = parts.port not in (None, _DEFAULT_PORTS[parts.scheme])
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if has_port else "")


def weather(seen: RawResponse) -> RawResponse | None:
    """The response to report for the actual request, which was never sent, if a proxy answered for the metadata or
    no server did.

    None if the server has no metadata. It says so with a 404 or 410, or with a 200 that is not markup.
    """
    is_page = seen.body.lstrip()[:1] == b"<"
    if seen.failure is None and seen.status in {200, 404, 410} and not (seen.status == 200 and is_page):
        return None
    message = f"its metadata: {seen.message or f'HTTP {seen.status} {seen.content_type}'.rstrip()}"
    return replace(seen, status=0, body=b"", failure=httpx.ConnectError, message=message)


def _spelt(url: object) -> tuple[str, str, str, str, str] | None:
    """Scheme, host with port, path, query and fragment in one spelling (RFC 3986 §6.2); None for text that is not a
    URL.

    The platform's issuer is stored in that spelling, so the issuer in the metadata must be compared in it too.
    """
    parts = split_url(url) if isinstance(url, str) else None
    if parts is None:
        return None
    place = f"{parts.hostname}:{parts.port or _DEFAULT_PORTS[parts.scheme]}"
    return parts.scheme, place, parts.path.rstrip("/"), parts.query, parts.fragment
