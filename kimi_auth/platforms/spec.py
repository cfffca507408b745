"""Platforms as data: where one signs in, where its API is, what its models can do.

`parse` reads any text of the form of `builtin.toml` beside this module. A platform is a value: it never looks at the
environment by itself, `resolve` makes the overridden one at the moment of the call.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kimi_auth.errors import ConfigError

__all__ = [
    "CAPABILITIES",
    "Capability",
    "CapabilityRule",
    "OAuthEndpoints",
    "Platform",
    "builtin",
    "credential_key",
    "managed_model_key",
    "managed_provider_key",
    "normal_url",
    "overrides",
    "parse",
    "parse_managed_provider_key",
    "resolve",
]

Capability = Literal["thinking", "always_thinking", "image_in", "video_in"]
CAPABILITIES: tuple[Capability, ...] = ("thinking", "always_thinking", "image_in", "video_in")
"""The one order in which capabilities are written, so that the same set is always the same text."""

_MANAGED = "managed:"
_DEFAULT_PORTS = {"https": 443, "http": 80}


def normal_url(text: str) -> str:
    """The one spelling of a base URL: scheme and host in lower case, no default port, no trailing slash (RFC 3986 §6.2).

    Raises `ValueError` for anything but https, or http on a loopback host, and for user names, queries and fragments.
    """
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("is no URL: it has characters that no URL has")
    parts = urlsplit(text)
    host, port = parts.hostname or "", parts.port
    if parts.username is not None or parts.password is not None or "?" in text or "#" in text:
        raise ValueError("must be a plain base URL, without user name, query or fragment")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise ValueError("must be an https URL (http only on a loopback host)")
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        netloc += f":{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Url = Annotated[str, AfterValidator(normal_url)]
Uri = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20#\x7f-\U0010ffff]{1,500}$")]
UrlPath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)+$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
_ID = r"[a-z0-9-]{1,64}"
PlatformId = Annotated[str, Field(pattern=rf"^{_ID}$")]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,200}$")]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CapabilityRule(_Data):
    """One condition (a flag of the catalogue, or how the model's id reads, in any case) and the capabilities it gives."""

    gives: tuple[Capability, ...]
    flag: Literal["supports_reasoning", "supports_image_in", "supports_video_in"] | None = None
    id_prefix: Line | None = None
    id_contains: Line | None = None

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if sum(condition is not None for condition in (self.flag, self.id_prefix, self.id_contains)) != 1:
            raise ValueError("needs exactly one of flag, id_prefix, id_contains")
        return self


class OAuthEndpoints(_Data):
    """Where and as whom one signs in with the device grant (RFC 8628). `scope` None: none is sent.
    `resource` (RFC 8707 §2) and `audience` name the API that the tokens are for, on servers that ask for it.

    `host` may be written `issuer`. Without the two paths it is one whose metadata (RFC 8414) names the endpoints: then the
    URLs are "".
    """

    host: Url = Field(validation_alias=AliasChoices("host", "issuer"))
    host_env: tuple[EnvName, ...] = ()
    device_authorization_path: UrlPath | None = None
    token_path: UrlPath | None = None
    client_id: Line
    scope: Line | None = None
    resource: Uri | None = None
    audience: Line | None = None
    revoked_errors: tuple[Line, ...] = ("invalid_grant",)

    @model_validator(mode="after")
    def _both_paths_or_none(self) -> Self:
        if (self.device_authorization_path is None) != (self.token_path is None):
            raise ValueError("needs both device_authorization_path and token_path, or neither (RFC 8414 metadata)")
        return self

    @property
    def device_authorization_url(self) -> str:
        return self.host + self.device_authorization_path if self.device_authorization_path else ""

    @property
    def token_url(self) -> str:
        return self.host + self.token_path if self.token_path else ""


class Platform(_Data):
    """One place that serves models. URLs have no trailing slash; `assumed_context_length` is in tokens. `region`: the part
    of the world that it serves, where there is more than one of its kind. `rotation_ends_access`: the server ends the old
    access token the moment it rotates the pair."""

    id: PlatformId
    name: Line
    region: Line | None = None
    auth: Literal["device", "api_key"]
    api_base: Url
    api_base_env: tuple[EnvName, ...] = ()
    oauth: OAuthEndpoints | None = None
    search_path: UrlPath | None = None
    fetch_path: UrlPath | None = None
    model_prefixes: tuple[Line, ...] = ()
    capability_rules: tuple[CapabilityRule, ...] = ()
    assumed_context_length: int = Field(default=131_072, gt=0)
    revocation: Literal["none", "discover", "token"] = "none"
    rotation_ends_access: bool = False

    @model_validator(mode="after")
    def _oauth_fits_auth(self) -> Self:
        if (self.auth == "device") != (self.oauth is not None):
            raise ValueError('auth = "device" needs [oauth], and nothing else has it')
        return self

    @property
    def models_url(self) -> str:
        return f"{self.api_base}/models"

    @property
    def search_url(self) -> str | None:
        return self.api_base + self.search_path if self.search_path else None

    @property
    def fetch_url(self) -> str | None:
        return self.api_base + self.fetch_path if self.fetch_path else None

    @property
    def services(self) -> dict[str, str]:
        """The services of config.toml that this platform offers, by name, with their URLs."""
        urls = {"moonshot_search": self.search_url, "moonshot_fetch": self.fetch_url}
        return {name: url for name, url in urls.items() if url}

    @property
    def provider_key(self) -> str:
        return managed_provider_key(self.id)

    @property
    def credential_key(self) -> str:
        return credential_key(self.id)

    def model_key(self, model_id: str) -> str:
        return managed_model_key(self.id, model_id)


def managed_provider_key(platform_id: str) -> str:
    """The provider in config.toml that kimi-auth owns: `managed:<platform id>`."""
    return _MANAGED + platform_id


def parse_managed_provider_key(key: str) -> str | None:
    """The platform id in a managed provider's key; None for a provider that is the user's own."""
    platform_id = key.removeprefix(_MANAGED)
    return platform_id if platform_id != key and re.fullmatch(_ID, platform_id) else None


def managed_model_key(platform_id: str, model_id: str) -> str:
    """The model in config.toml that kimi-auth owns: `<platform id>/<model id>`."""
    return f"{platform_id}/{model_id}"


def credential_key(platform_id: str) -> str:
    """The key under which config.toml names a platform's stored credential: `oauth/<platform id>`."""
    return f"oauth/{platform_id}"


class _File(_Data):
    """A text's outside: its platforms are checked one by one."""

    v: Literal[1]
    capability_rules: tuple[CapabilityRule, ...] = ()
    platforms: dict[str, Any]


_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is a key that nothing reads",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "string_type": "must be a text",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must have the form {pattern}",
    "greater_than": "must be more than {gt}",
}
"""What the checks of a text are called here, with what pydantic says of each filled in; others keep its words."""


def parse(
    text: str, source: str, *, rules: tuple[CapabilityRule, ...] = (), mend: str = ""
) -> tuple[tuple[Platform, ...], dict[str, ConfigError]]:
    """The platforms of a text in the form of `builtin.toml`, in its order, and for each id whose table is wrong, how.

    `source` names the text in errors; `rules` are the capability rules where neither platform nor text has its own;
    `mend` is the next step in errors. Raises `ConfigError` where the text as a whole is no such text.
    """
    platforms: list[Platform] = []
    problems: dict[str, ConfigError] = {}
    try:
        file = _File.model_validate(tomllib.loads(text))
    except ValidationError as exc:
        raise _problem(source, mend, exc) from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply", hint=mend) from None
    except ValueError as exc:
        raise ConfigError(f"{source}: not TOML: {exc}", hint=mend) from None
    inherited = {"capability_rules": file.capability_rules if "capability_rules" in file.model_fields_set else rules}
    for key, table in file.platforms.items():
        if not re.fullmatch(_ID, key):
            words = "a platform's name has a-z, 0-9 and - in it, at most 64 of them"
            problems[key] = ConfigError(f"{source}: platforms.{ascii(key)[1:-1][:80]}: {words}", hint=mend)
            continue
        try:
            platforms.append(
                Platform.model_validate({**inherited, **table, "id": key} if isinstance(table, dict) else table)
            )
        except ValidationError as exc:
            problems[key] = _problem(source, mend, exc, "platforms", key)
    return tuple(platforms), problems


def _problem(source: str, mend: str, exc: ValidationError, *place: str) -> ConfigError:
    first = exc.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in (*place, *first["loc"]))
    words = _WORDS.get(first["type"], first["msg"].removeprefix("Value error, ")).format_map(first.get("ctx", {}))
    return ConfigError(f"{source}: {where or 'the file'}: {words}", hint=mend)


@cache
def builtin() -> tuple[Platform, ...]:
    """The platforms that kimi-auth itself knows, in the order of the data, before any override."""
    text = resources.files(__package__).joinpath("builtin.toml").read_text("utf-8")
    return parse(text, "builtin.toml")[0]


def resolve(platform: Platform, environ: Mapping[str, str]) -> Platform:
    """The platform with the overrides of `environ` applied. Pure. Raises `ConfigError` naming the variable."""
    oauth = platform.oauth
    if oauth is not None:
        oauth = oauth.model_copy(update={"host": _override(oauth.host, oauth.host_env, environ)})
    api_base = _override(platform.api_base, platform.api_base_env, environ)
    return platform.model_copy(update={"api_base": api_base, "oauth": oauth})


def overrides(platform: Platform, environ: Mapping[str, str]) -> dict[str, str]:
    """The variable that says where a URL of the platform is, by what it says: `oauth_host`, `api_base`; none that does not."""
    names = {"oauth_host": platform.oauth.host_env if platform.oauth else (), "api_base": platform.api_base_env}
    return {what: name for what, those in names.items() if (name := _first_set(those, environ))}


def _first_set(names: tuple[str, ...], environ: Mapping[str, str]) -> str:
    return next((name for name in names if environ.get(name, "").strip()), "")


def _override(url: str, names: tuple[str, ...], environ: Mapping[str, str]) -> str:
    name = _first_set(names, environ)
    if not name:
        return url
    try:
        return normal_url(environ[name].strip())
    except ValueError as exc:
        raise ConfigError(f"{name}: {exc}", hint=f"correct it, or unset {name} to use {url}") from None
