"""What a credential belongs to: its platform's endpoints, catalogue and tables in config.toml."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from kimi_auth.errors import ConfigError, Unreachable
from kimi_auth.language import tr
from kimi_auth.platforms import Platform, Registry, parse_managed_provider_key
from kimi_auth.selection import DEFAULT_PLATFORM

if TYPE_CHECKING:  # what asks a server, and what changes config.toml, is loaded by what does it
    from kimi_auth.models import Catalogue, CatalogueCache, Change, ConfigFile, ModelEntry
    from kimi_auth.wire import Endpoints, ModelsPage, OAuthServer

__all__ = [
    "BearerRejected",
    "ConfigLeftAlone",
    "PlatformConfig",
    "configured_platform",
    "discover",
    "endpoints_of",
    "server_of",
    "sign_in_command",
]

log = logging.getLogger("kimi_auth.models")


class BearerRejected(Unreachable):
    """The platform answered 401: it wants another access token."""

    code = "bearer_rejected"
    usually_transient = False
    default_hint: ClassVar[str] = tr("try again; if that does not help, sign in again: kimi-auth login --force")


class ConfigLeftAlone:
    """The part of a config.toml that another program keeps: it is neither written nor found wanting."""

    def lacks(self) -> bool:
        return False

    def check(self) -> None:
        """Nothing can stop a write that is not made."""

    def install(self, models: tuple[ModelEntry, ...]) -> Literal[False]:
        """Writes nothing, and says so."""
        return False

    def restore(self) -> bool:
        return False


class PlatformConfig:
    """One platform's part of config.toml: what login writes, sync keeps up and logout takes back."""

    def __init__(self, file: ConfigFile, platform: Platform) -> None:
        self._file = file
        self._platform = platform

    def lacks(self) -> bool:
        """Whether config.toml has no provider for the platform; False also where it cannot be read."""
        try:
            providers = self._file.read().get("providers")
        except ConfigError:
            return False
        return not isinstance(providers, Mapping) or self._platform.provider_key not in providers

    def check(self, *, api_key: str | None = None) -> None:
        """Raises ConfigError now for what would stop a login from being written later."""
        from kimi_auth.models import plan

        self._file.writable(
            lambda config: plan(config, self._platform, self._expected(config), reason="login", api_key=api_key)
        )

    def _expected(self, config: Mapping[str, Any]) -> tuple[ModelEntry, ...]:
        """The models are known only after the approval. None, which keeps those of the config, where that says everything
        that a login is certain to write; else one that stands for them gets the same tables."""
        from kimi_auth.models import ModelEntry, has_models, plan

        if has_models(config, self._platform) and not plan(config, self._platform, (), reason="login"):
            return ()
        return (ModelEntry(id="".join(self._platform.model_prefixes[:1]) + "model"),)

    def install(self, models: tuple[ModelEntry, ...], *, api_key: str | None = None) -> Change:
        """What a login writes, for a platform without OAuth with its key; says what changed. Raises ConfigError; then nothing
        was written."""
        from kimi_auth.models import plan

        return self._file.apply(lambda config: plan(config, self._platform, models, reason="login", api_key=api_key))

    def sync(self, models: tuple[ModelEntry, ...]) -> Change:
        """Brings the models up to date. Raises ConfigError; then nothing was written."""
        from kimi_auth.models import plan

        return self._file.apply(lambda config: plan(config, self._platform, models, reason="sync"))

    def restore(self) -> bool:
        """What a logout takes back; False where the config still says what it said, because its owner has declared that.
        Raises ConfigError; then nothing was written."""
        from kimi_auth.models import CatalogueCache, has_login

        CatalogueCache(self._file.share_dir).forget(self._platform)
        return not has_login(self._file.revert(self._platform).after, self._platform)


def configured_platform(config: ConfigFile, known: Registry) -> str:
    """The id of the platform that config.toml's default model belongs to, "" for none that is known."""
    try:
        data = config.read()
    except ConfigError:
        return ""
    models, name = data.get("models"), data.get("default_model")
    model = models.get(name) if isinstance(models, Mapping) and isinstance(name, str) else None
    provider = model.get("provider") if isinstance(model, Mapping) else None
    platform_id = parse_managed_provider_key(provider) if isinstance(provider, str) else None
    try:
        return known.get(platform_id).id if platform_id else ""
    except ConfigError:
        return ""


def sign_in_command(platform: Platform) -> str:
    """What a person types to sign in to this platform, without options."""
    named = "" if platform.id == DEFAULT_PLATFORM else f" --platform {platform.id}"
    return f"kimi-auth login{named}{'' if platform.oauth else ' --api-key-stdin'}"


def endpoints_of(platform: Platform) -> Endpoints:
    """The OAuth endpoints that requests take. Raises ConfigError for a platform that has no device grant."""
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
    """The platform's OAuth server over HTTP; one that can be asked nothing for a platform that has none. `pinned` gives the
    origins beside the issuer's own that the stored login is bound to."""
    from kimi_auth.wire import Endpoints, LocatedClient, OAuthClient
    from kimi_auth.wire.discovery import other_origins

    if platform.oauth is None:
        return OAuthClient(Endpoints(platform.api_base, "", "", "", discover_revocation=False), headers)
    to = endpoints_of(platform)
    at_home = to.token_url and not other_origins(to.issuer, to.token_url, to.revocation_url)
    return (OAuthClient if at_home else LocatedClient)(to, headers, pinned=pinned)


async def discover(
    platform: Platform, bearer: str, headers: Mapping[str, str], *, memory: CatalogueCache | None = None
) -> Catalogue:
    """The models that the platform offers to this bearer, or the error that says why they are not known.

    A platform that names its models itself is asked nothing. With a `memory` the server is asked whether they have
    changed since, if it has given an ETag (RFC 9110 §13.1.2).
    """
    from kimi_auth.models import Catalogue, ModelEntry, offered

    if platform.models is not None:
        return Catalogue(offered(platform, tuple(ModelEntry(**model._asdict()) for model in platform.models)))
    from kimi_auth.wire import fetch_models

    memo = memory.recall(platform) if memory else None
    answer = await fetch_models(platform.api_base, bearer, headers, etag=memo.etag if memo else "")
    if answer.outcome == "rejected":
        return Catalogue(error=BearerRejected(tr("{platform} rejected the access token", platform=platform.name)))
    if answer.outcome == "unchanged" and memo is not None:
        return _offered(platform, memo.data)
    if answer.outcome != "models" or answer.value is None:
        return Catalogue(
            error=answer.error or Unreachable(tr("{platform} did not list its models", platform=platform.name))
        )
    listing: ModelsPage = answer.value
    found = _offered(platform, listing.data)
    if memory is not None and found.error is None:
        memory.keep(platform, listing.etag, listing.data)
    return found


def _offered(platform: Platform, data: object) -> Catalogue:
    from kimi_auth.models import Catalogue, parse_catalogue

    models, notes = parse_catalogue(data, platform.model_prefixes)
    for note in notes:
        log.info("%s: %s", platform.id, note)
    if models:
        return Catalogue(models, notes)
    hint = tr("try again later: kimi-auth models sync")
    return Catalogue(
        (), notes, Unreachable(tr("{platform} lists no models that can be used", platform=platform.name), hint=hint)
    )
