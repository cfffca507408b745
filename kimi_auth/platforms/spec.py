"""Platforms as data: where one signs in, where its API is, what its models can do.

A platform is a value: it never looks at the environment by itself, `resolve` makes the overridden one at the moment of the
call. `builtin` reads the text beside this module, whose platforms a test checks; every other text is checked when it is
read (`kimi_auth.platforms.tables`).
"""

from __future__ import annotations

import pkgutil
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

from kimi_auth.errors import ConfigError
from kimi_auth.selection import DEFAULT, login_name, select
from kimi_auth.support.language import tr
from kimi_auth.support.text import repr_without
from kimi_auth.support.urls import normal_url

__all__ = [
    "CAPABILITIES",
    "Capability",
    "CapabilityRule",
    "ListedModel",
    "OAuthEndpoints",
    "Platform",
    "builtin",
    "credential_key",
    "managed_model_key",
    "managed_provider_key",
    "overrides",
    "parse_managed_provider_key",
    "resolve",
]

Capability = Literal["thinking", "always_thinking", "image_in", "video_in"]
CAPABILITIES: tuple[Capability, ...] = ("thinking", "always_thinking", "image_in", "video_in")
"""The one order in which capabilities are written, so that the same set is always the same text."""

_MANAGED = "managed:"


ID = r"[a-z0-9-]{1,64}"
"""What an id of a platform looks like."""


class CapabilityRule(NamedTuple):
    """One condition (a flag of the catalogue, or how the model's id reads, in any case) and the capabilities it gives."""

    gives: tuple[Capability, ...]
    flag: Literal["supports_reasoning", "supports_image_in", "supports_video_in"] | None = None
    id_prefix: str | None = None
    id_contains: str | None = None


class ListedModel(NamedTuple):
    """One model of a platform whose API lists none, with the keys of a catalogue's items; `context_length` is in tokens."""

    id: str
    context_length: int | None = None
    supports_reasoning: bool = False
    supports_image_in: bool = False
    supports_video_in: bool = False
    display_name: str | None = None


AuthMethod = Literal["client_secret_basic", "client_secret_post"]
"""How a client with a secret authenticates (RFC 6749 §2.3.1), by its name in RFC 7591 §2."""


class OAuthEndpoints(NamedTuple):
    """Where and as whom one signs in with the device grant (RFC 8628). `scope` None: none is sent.
    `resource` (RFC 8707 §2) and `audience` name the API that the tokens are for, on servers that ask for it.

    `host` may be written `issuer`. A path is below the host, or the URL of an endpoint elsewhere. Without device and token
    path the issuer's metadata (RFC 8414) names the endpoints: then the URLs are "".
    """

    host: str
    client_id: str
    host_env: tuple[str, ...] = ()
    device_authorization_path: str | None = None
    token_path: str | None = None
    revocation_path: str | None = None
    client_secret: str | None = None
    token_endpoint_auth_method: AuthMethod = "client_secret_basic"
    scope: str | None = None
    resource: str | None = None
    audience: str | None = None
    revoked_errors: tuple[str, ...] = ("invalid_grant",)

    def __repr__(self) -> str:
        return repr_without(self, "client_secret")

    @property
    def device_authorization_url(self) -> str:
        return self._url(self.device_authorization_path)

    @property
    def token_url(self) -> str:
        return self._url(self.token_path)

    @property
    def revocation_url(self) -> str:
        return self._url(self.revocation_path)

    def _url(self, path: str | None) -> str:
        return self.host + path if path and path.startswith("/") else path or ""


class Platform(NamedTuple):
    """One service that serves models. URLs have no trailing slash; `assumed_context_length` is in tokens. `region`: the part
    of the world that it serves, where there is more than one of its kind. `models`: what it offers, where its API has no
    `/models`; None: the API is asked. `rotation_ends_access`: the server ends the old access token the moment it rotates
    the pair. `key_prefixes`: how its API keys begin. `me_path`, `usage_path`: below the
    API base, who is signed in and the remaining quota; None: it does not say. `config_id`: the id under which config.toml
    knows it, where that is another platform's too. `account`: the label of the account whose login is meant, "" for the login
    without one."""

    id: str
    name: str
    auth: Literal["device", "api_key"]
    api_base: str
    region: str | None = None
    api_base_env: tuple[str, ...] = ()
    oauth: OAuthEndpoints | None = None
    search_path: str | None = None
    fetch_path: str | None = None
    models: tuple[ListedModel, ...] | None = None
    model_prefixes: tuple[str, ...] = ()
    capability_rules: tuple[CapabilityRule, ...] = ()
    assumed_context_length: int = 131_072
    revocation: Literal["none", "discover", "token"] = "none"
    rotation_ends_access: bool = False
    key_prefixes: tuple[str, ...] = ()
    me_path: str | None = None
    usage_path: str | None = None
    config_id: str = ""
    account: str = ""

    @property
    def models_url(self) -> str:
        """The URL of the list of models."""
        return f"{self.api_base}/models"

    @property
    def search_url(self) -> str | None:
        """The URL of the search service, None for none."""
        return self.api_base + self.search_path if self.search_path else None

    @property
    def fetch_url(self) -> str | None:
        """The URL of the fetch service, None for none."""
        return self.api_base + self.fetch_path if self.fetch_path else None

    @property
    def services(self) -> dict[str, str]:
        """The services of a platform's spec, by their names in config.toml, with their URLs."""
        urls = {"moonshot_search": self.search_url, "moonshot_fetch": self.fetch_url}
        return {name: url for name, url in urls.items() if url}

    @property
    def provider_key(self) -> str:
        """The platform's provider in config.toml: `managed:<platform id>`."""
        return managed_provider_key(self.config_id or self.id)

    @property
    def credential_key(self) -> str:
        """The key of the stored credential in config.toml: `oauth/<platform id>`, or `oauth/<platform id>@<account>`."""
        return credential_key(self.login_name)

    @property
    def login_name(self) -> str:
        """How the login is called in keys and files: `<platform id>`, or `<platform id>@<account>`."""
        return login_name(self.id, self.account)

    def model_key(self, model_id: str) -> str:
        """How a platform's spec names a model in config.toml: `<platform id>/<model id>`."""
        return managed_model_key(self.config_id or self.id, model_id)


def managed_provider_key(platform_id: str) -> str:
    """How a platform's spec names the provider in config.toml that kimi-auth owns: `managed:<platform id>`."""
    return _MANAGED + platform_id


def parse_managed_provider_key(key: str) -> str | None:
    """Reads the key that a platform's spec gives to its provider: the platform's id; None for a provider of the user's own."""
    platform_id = key.removeprefix(_MANAGED)
    return platform_id if platform_id != key and re.fullmatch(ID, platform_id) else None


def managed_model_key(platform_id: str, model_id: str) -> str:
    """How a platform's spec names the model that kimi-auth owns in config.toml: `<platform id>/<model id>`."""
    return f"{platform_id}/{model_id}"


def credential_key(name: str) -> str:
    """As `Platform.credential_key`, for a login that is named `<platform id>` or `<platform id>@<account>`."""
    return f"oauth/{name}"


def of_table(table: Mapping[str, Any]) -> Platform:
    """A platform as data: the spec made from a table whose keys and values have been checked."""
    oauth, models = table.get("oauth"), table.get("models")
    parts = {
        "models": None if models is None else tuple(ListedModel(**one) for one in models),
        "oauth": OAuthEndpoints(**_frozen(oauth)) if oauth else None,
        "capability_rules": rules_of(table["capability_rules"]),
    }
    return Platform(**_frozen(table) | parts)


def rules_of(tables: Iterable[Mapping[str, Any] | CapabilityRule]) -> tuple[CapabilityRule, ...]:
    """A platform's capability rules, which say what its models can do, from tables that have been checked."""
    return tuple(one if isinstance(one, CapabilityRule) else CapabilityRule(**_frozen(one)) for one in tables)


def _frozen(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


@cache
def builtin() -> tuple[Platform, ...]:
    """Reads kimi-auth's own data as platforms: the spec of each that is built in, in that order, before any
    override."""
    data = tomllib.loads((pkgutil.get_data(__package__, "builtin.toml") or b"").decode())
    rules = rules_of(data["capability_rules"])
    return tuple(
        of_table({"capability_rules": rules, **table, "id": name}) for name, table in data["platforms"].items()
    )


def resolve(platform: Platform, environ: Mapping[str, str]) -> Platform:
    """The platform's spec with the overrides of `environ` applied. Pure. Raises `ConfigError` naming the variable."""
    oauth = platform.oauth
    if oauth is not None:
        oauth = oauth._replace(host=_override(oauth.host, oauth.host_env, environ))
    api_base = _override(platform.api_base, platform.api_base_env, environ)
    return platform._replace(api_base=api_base, oauth=oauth)


def overrides(platform: Platform, environ: Mapping[str, str]) -> dict[str, str]:
    """The variable that says where a URL of the platform is, by what it says: `oauth_host`, `api_base`; none that does not."""
    names = {"oauth_host": platform.oauth.host_env if platform.oauth else (), "api_base": platform.api_base_env}
    sources = {what: select(environ, variables=those)[1] for what, those in names.items()}
    return {what: source for what, source in sources.items() if source != DEFAULT}


def _override(url: str, names: tuple[str, ...], environ: Mapping[str, str]) -> str:
    value, name = select(environ, variables=names, default=url)
    if name == DEFAULT:
        return url
    try:
        return normal_url(value.strip())
    except ValueError as exc:
        raise ConfigError(
            tr("{name}: {error}", name=name, error=exc),
            hint=tr("correct it, or unset {name} to use {url}", name=name, url=url),
        ) from None
