"""A platform's OAuth server: its endpoints, the client that asks it, and the command that signs in to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from kimi_auth.errors import ConfigError
from kimi_auth.selection import DEFAULT_PLATFORM
from kimi_auth.support.imports import undisturbed
from kimi_auth.support.language import tr

from .spec import Platform

if TYPE_CHECKING:  # what asks a server is loaded by what does it
    from kimi_auth.wire import Endpoints, OAuthServer

__all__ = ["ServerWhenAsked", "endpoints_of", "server_of", "sign_in_command"]


def sign_in_command(platform: Platform) -> str:
    """What a person types to sign in to this platform, without options."""
    named = "" if platform.id == DEFAULT_PLATFORM else f" --platform {platform.id}"
    return f"kimi-auth login{named}{'' if platform.oauth else ' --api-key-stdin'}"


def endpoints_of(platform: Platform) -> Endpoints:
    """The platform's OAuth endpoints that requests take. Raises ConfigError for a platform that has no device grant."""
    from kimi_auth.wire import Endpoints

    oauth = platform.oauth
    if oauth is None:
        raise ConfigError(
            tr("{platform} has no sign-in: it takes an API key", platform=platform.name),
            hint=tr("give it one: {command}", command=sign_in_command(platform)),
        )
    return Endpoints(
        issuer=oauth.host,
        device_authorization_url=oauth.device_authorization_url,
        token_url=oauth.token_url,
        client_id=oauth.client_id,
        scope=oauth.scope or "",
        resource=oauth.resource or "",
        audience=oauth.audience or "",
        revocation_url=oauth.revocation_url,
        discover_revocation=platform.revocation != "none",
        revoked_codes=frozenset(oauth.revoked_errors),
        client_secret=oauth.client_secret or "",
        auth_method=oauth.token_endpoint_auth_method,
    )


class ServerWhenAsked:
    """An `OAuthServer` that is made with its first request: until then no header is built and no `device_id` written."""

    def __init__(self, make: Callable[[], OAuthServer]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        server = self._make()
        for request in ("request_code", "poll", "exchange", "revoke", "aclose"):
            setattr(self, request, getattr(server, request))
        return getattr(self, name)


def server_of(
    platform: Platform, headers: Mapping[str, str], pinned: Callable[[], Collection[str]] = tuple
) -> OAuthServer:
    """The client of the platform's OAuth server; one that can be asked nothing for a platform that has none. `pinned`
    gives the origins beside the issuer's own that the stored login is bound to."""
    with undisturbed():
        from kimi_auth.wire import Endpoints, OAuthClient
        from kimi_auth.wire.discovery import other_origins
    if platform.oauth is None:
        return OAuthClient(Endpoints(platform.api_base, "", "", "", discover_revocation=False), headers)
    to = endpoints_of(platform)
    at_home = to.token_url and not other_origins(to.issuer, to.token_url, to.revocation_url)
    if at_home:
        return OAuthClient(to, headers, pinned=pinned)
    from kimi_auth.wire import LocatedClient

    return LocatedClient(to, headers, pinned=pinned)
