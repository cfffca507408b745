"""Texts in the form of `builtin.toml` that others wrote, checked key by key: a user's `platforms.toml`, a package's."""

from __future__ import annotations

import re
import tomllib
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kimi_auth.errors import ConfigError
from kimi_auth.platforms.spec import (
    ID,
    AuthMethod,
    Capability,
    CapabilityRule,
    Platform,
    of_table,
    rules_of,
)
from kimi_auth.support.language import said_by, tr
from kimi_auth.support.urls import normal_url

__all__ = ["parse"]

_SEGMENT = r"/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+"
_PATH = re.compile(rf"/|(?:{_SEGMENT})+/?")
"""An absolute path (RFC 3986 §3.3) without empty and dot segments; one slash may end it."""


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError(tr("must be a path such as /oauth/token or /o/token/"))
    return text


def _endpoint(text: str) -> str:
    """A path below the host, or an endpoint's own URL: unlike a base URL, it keeps the slash at its end."""
    if "://" not in text:
        return _path(text)
    base = normal_url(text)
    _path("/" + base.partition("://")[2].partition("/")[2])
    return f"{base}/" if text.endswith("/") else base


Url = Annotated[str, AfterValidator(normal_url)]
Uri = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20#\x7f-\U0010ffff]{1,500}$")]
UrlPath = Annotated[str, AfterValidator(_path)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Secret = Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,1000}$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
PlatformId = Annotated[str, Field(pattern=rf"^{ID}$")]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,200}$")]


class _Data(BaseModel):
    """The keys of the values of `kimi_auth.platforms.spec`, with what each may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Rule(_Data):
    gives: tuple[Capability, ...]
    flag: Literal["supports_reasoning", "supports_image_in", "supports_video_in"] | None = None
    id_prefix: Line | None = None
    id_contains: Line | None = None

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if sum(condition is not None for condition in (self.flag, self.id_prefix, self.id_contains)) != 1:
            raise ValueError(tr("needs exactly one of flag, id_prefix, id_contains"))
        return self


class _OAuth(_Data):
    host: Url = Field(validation_alias=AliasChoices("host", "issuer"))
    host_env: tuple[EnvName, ...] = ()
    device_authorization_path: Endpoint | None = None
    token_path: Endpoint | None = None
    revocation_path: Endpoint | None = None
    client_id: Line
    client_secret: Secret | None = None
    token_endpoint_auth_method: AuthMethod = "client_secret_basic"
    scope: Line | None = None
    resource: Uri | None = None
    audience: Line | None = None
    revoked_errors: tuple[Line, ...] = ("invalid_grant",)

    @model_validator(mode="before")
    @classmethod
    def _one_issuer(cls, table: Any) -> Any:
        if isinstance(table, dict) and {"host", "issuer"} <= table.keys():
            raise ValueError(tr("host and issuer are two names of one key: keep one of them"))
        return table

    @model_validator(mode="after")
    def _method_has_its_secret(self) -> Self:
        if "token_endpoint_auth_method" in self.model_fields_set and self.client_secret is None:
            raise ValueError(tr("token_endpoint_auth_method says how client_secret is sent, and there is none"))
        return self

    @model_validator(mode="after")
    def _both_paths_or_none(self) -> Self:
        if (self.device_authorization_path is None) != (self.token_path is None):
            raise ValueError(tr("needs both device_authorization_path and token_path, or neither (RFC 8414 metadata)"))
        return self


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(tr("has characters that cannot be printed"))
    return text


class _Model(_Data):
    id: Annotated[Line, AfterValidator(_printable)]
    context_length: int | None = Field(default=None, gt=0)
    supports_reasoning: bool = False
    supports_image_in: bool = False
    supports_video_in: bool = False
    display_name: Line | None = None


class _Platform(_Data):
    id: PlatformId
    name: Line
    region: Line | None = None
    auth: Literal["device", "api_key"]
    api_base: Url
    api_base_env: tuple[EnvName, ...] = ()
    oauth: _OAuth | None = None
    search_path: UrlPath | None = None
    fetch_path: UrlPath | None = None
    models: tuple[_Model, ...] | None = None
    model_prefixes: tuple[Line, ...] = ()
    capability_rules: tuple[_Rule, ...] = ()
    assumed_context_length: int = Field(default=131_072, gt=0)
    revocation: Literal["none", "discover", "token"] = "none"
    rotation_ends_access: bool = False
    key_prefixes: tuple[Line, ...] = ()
    me_path: UrlPath | None = None
    usage_path: UrlPath | None = None
    config_id: Literal[""] = ""  # a home says it: no table may claim the provider of another platform
    account: Literal[""] = ""  # a command line names it

    @model_validator(mode="after")
    def _oauth_fits_auth(self) -> Self:
        if (self.auth == "device") != (self.oauth is not None):
            raise ValueError(tr('auth = "device" needs [oauth], and nothing else has it'))
        return self

    @model_validator(mode="after")
    def _revocation_fits_its_path(self) -> Self:
        is_none = self.revocation == "none" and "revocation" in self.model_fields_set
        if is_none and self.oauth is not None and self.oauth.revocation_path:
            raise ValueError(tr('revocation = "none" contradicts oauth.revocation_path: keep one of them'))
        return self


class _File(_Data):
    """A text's outside: its platforms are checked one by one."""

    v: Literal[1]
    capability_rules: tuple[_Rule, ...] = ()
    platforms: dict[str, Any]


_WORDS = {
    "missing": tr("is missing"),
    "extra_forbidden": tr("is an unknown key"),
    "model_type": tr("must be a table"),
    "dict_type": tr("must be a table"),
    "tuple_type": tr("must be a list"),
    "string_type": tr("must be a text"),
    "literal_error": tr("must be {expected}"),
    "string_pattern_mismatch": tr("must have the form {pattern}"),
    "greater_than": tr("must be more than {gt}"),
}
"""Our names for the checks of a text, with pydantic's values filled in; other checks keep pydantic's message."""


def parse(
    text: str, source: str, *, rules: tuple[CapabilityRule, ...] = (), fix: str = ""
) -> tuple[tuple[Platform, ...], dict[str, ConfigError]]:
    """The platforms of a text in the form of `builtin.toml`, in its order, and for each id whose table is wrong, how.

    `source` names the text in errors; `rules` are the capability rules where neither platform nor text has its own;
    `fix` is the next step in errors. Raises `ConfigError` where the text as a whole is no such text.
    """
    platforms: list[Platform] = []
    problems: dict[str, ConfigError] = {}
    try:
        file = _File.model_validate(tomllib.loads(text))
    except ValidationError as exc:
        raise _problem(source, fix, exc) from None
    except RecursionError:
        raise ConfigError(tr("{source}: nested too deeply", source=source), hint=fix) from None
    except ValueError as exc:
        raise ConfigError(tr("{source}: not TOML: {error}", source=source, error=exc), hint=fix) from None
    if "capability_rules" in file.model_fields_set:
        rules = rules_of(rule.model_dump() for rule in file.capability_rules)
    for key, table in file.platforms.items():
        if not re.fullmatch(ID, key):
            words = tr("a platform's name has a-z, 0-9 and - in it, at most 64 of them")
            problems[key] = ConfigError(
                tr("{source}: platforms.{key}: {problem}", source=source, key=ascii(key)[1:-1][:80], problem=words),
                hint=fix,
            )
            continue
        try:
            checked = _Platform.model_validate({**table, "id": key} if isinstance(table, dict) else table)
        except ValidationError as exc:
            problems[key] = _problem(source, fix, exc, "platforms", key)
            continue
        given = checked.model_dump()
        platforms.append(
            of_table(given if "capability_rules" in checked.model_fields_set else given | {"capability_rules": rules})
        )
    return tuple(platforms), problems


def _problem(source: str, fix: str, exc: ValidationError, *place: str) -> ConfigError:
    first = exc.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in (*place, *first["loc"]))
    context = first.get("ctx", {})
    words = (
        said_by(context["error"]) if "error" in context else _WORDS.get(first["type"], first["msg"]).format(**context)
    )
    return ConfigError(
        tr("{source}: {where}: {problem}", source=source, where=where or tr("the file"), problem=words), hint=fix
    )
