"""Where a server's metadata says that its endpoints are (RFC 8414, OpenID Connect Discovery). Pure functions."""

from __future__ import annotations

from urllib.parse import urlsplit

from .decode import JsonObject
from .sanitize import split_url

__all__ = ["endpoint", "metadata_urls"]


def metadata_urls(issuer: str) -> tuple[str, str]:
    """The two addresses of the metadata of `issuer`, in the order in which they are asked.

    The first goes between host and path (RFC 8414 §3.1), the second behind the path (OpenID Connect Discovery §4.1).
    """
    parts = urlsplit(issuer.rstrip("/"))
    host = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{host}/.well-known/oauth-authorization-server{parts.path}",
        f"{host}{parts.path}/.well-known/openid-configuration",
    )


def endpoint(metadata: JsonObject | None, issuer: str, name: str) -> str:
    """The endpoint `name` (RFC 8414 §2, RFC 8628 §4) of metadata that speaks for `issuer` (§3.3), else "".

    It is https, or on plain http at the very host of an issuer that is itself on plain http.
    """
    if (
        metadata is None
        or not isinstance(said := metadata.get("issuer"), str)
        or said.rstrip("/") != issuer.rstrip("/")
    ):
        return ""
    url = metadata.get(name)
    parts = split_url(url) if isinstance(url, str) else None
    if parts is None or not isinstance(url, str):
        return ""
    at_home = parts[:2] == urlsplit(issuer)[:2]
    return url if parts.scheme == "https" or at_home else ""
