"""Where a server's metadata says that tokens are revoked (RFC 8414, OpenID Connect Discovery). Pure functions."""

from __future__ import annotations

from urllib.parse import urlsplit

from .decode import JsonObject
from .sanitize import split_url

__all__ = ["metadata_urls", "revocation_endpoint"]


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


def revocation_endpoint(metadata: JsonObject | None, issuer: str) -> str:
    """`revocation_endpoint` (RFC 8414 §2) of metadata that speaks for `issuer` (§3.3), else "".

    It is https, or on plain http at the very host of an issuer that is itself on plain http.
    """
    if (
        metadata is None
        or not isinstance(said := metadata.get("issuer"), str)
        or said.rstrip("/") != issuer.rstrip("/")
    ):
        return ""
    endpoint = metadata.get("revocation_endpoint")
    parts = split_url(endpoint) if isinstance(endpoint, str) else None
    if parts is None or not isinstance(endpoint, str):
        return ""
    at_home = parts[:2] == urlsplit(issuer)[:2]
    return endpoint if parts.scheme == "https" or at_home else ""
