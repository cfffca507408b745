"""What selects a login: an argument, else a variable, else a file, else the default. The rule of every such setting.

`kimi-auth token`'s fast lane reads this table too, and steps aside for a variable that it does not know, so this module
imports nothing.

| setting | argument, option | variables | file | default |
|---|---|---|---|---|
| share_dir | `Session(share_dir)` | `KIMI_SHARE_DIR` | | `~/.kimi` |
| platform | `platform=`, `--platform` | | the default model in config.toml | `kimi-code` |
| oauth_host, api_base | | those of the platform | | the platform's own |
| store | `store=` | `KIMI_AUTH_STORE`, refused | | a file in the share directory |
| account | | `KIMI_AUTH_ACCOUNT`, refused | | the platform's one login |
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "API_BASE_VARIABLES",
    "ARGUMENT",
    "DEFAULT",
    "DEFAULT_PLATFORM",
    "OAUTH_HOST_VARIABLES",
    "REFUSED",
    "SHARE_DIR_DEFAULT",
    "SHARE_DIR_VARIABLES",
    "refused",
    "select",
    "unknown_variables",
]

ARGUMENT, DEFAULT, CONFIG = "argument", "default", "config.toml"
"""Sources of a value, beside the names of variables."""

DEFAULT_PLATFORM = "kimi-code"
SHARE_DIR_DEFAULT = "~/.kimi"
SHARE_DIR_VARIABLES = ("KIMI_SHARE_DIR",)
OAUTH_HOST_VARIABLES = ("KIMI_CODE_OAUTH_HOST", "KIMI_OAUTH_HOST")
API_BASE_VARIABLES = ("KIMI_CODE_BASE_URL",)
"""The variables of the platform `kimi-code`, as `platforms/builtin.toml` has them."""

REFUSED = ("KIMI_AUTH_STORE", "KIMI_AUTH_ACCOUNT")
"""Variables that would select another login and that this version does not follow. Ignoring one would hand out the token of a
login that its user did not mean."""

_SELECT_NOTHING = (
    "KIMI_API_KEY",
    "KIMI_BASE_URL",
    "KIMI_MODEL_NAME",
    "KIMI_MODEL_MAX_CONTEXT_SIZE",
    "KIMI_MODEL_CAPABILITIES",
    "KIMI_DISABLE_TELEMETRY",
    "KIMI_AUTH_EDGES",
)
"""Variables of the Kimi CLI and of our tests that do not matter for a stored token."""

_KNOWN = frozenset((*SHARE_DIR_VARIABLES, *OAUTH_HOST_VARIABLES, *API_BASE_VARIABLES, *_SELECT_NOTHING))


def select(
    environ: Mapping[str, str],
    *,
    argument: str | None = None,
    variables: Iterable[str] = (),
    file: str = "",
    default: str = "",
) -> tuple[str, str]:
    """The value of a setting and its source: `ARGUMENT`, the variable's name, `CONFIG` or `DEFAULT`. An empty value
    does not count, and neither does a variable of blanks."""
    if argument:
        return argument, ARGUMENT
    for name in variables:
        if (value := environ.get(name, "")).strip():
            return value, name
    return (file, CONFIG) if file else (default, DEFAULT)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """The variables of a Kimi program that are set and may select something that this table does not know."""
    return [name for name in environ if name.startswith("KIMI_") and name not in _KNOWN and environ[name].strip()]


def refused(environ: Mapping[str, str]) -> str:
    """The first variable of `REFUSED` that is set, "" for none."""
    value, source = select(environ, variables=REFUSED)
    return source if value else ""
