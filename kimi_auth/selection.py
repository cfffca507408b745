"""What selects a login, or a key instead: argument, variable, file or default; and the mark of a token that `run` lent.

The rule of every such setting: an argument, else a variable, else a file, else the default.

`kimi-auth token`'s fast lane reads this table too, and steps aside for a variable that it does not know, so this module
imports nothing.

| setting | argument, option | variables | file | default |
|---|---|---|---|---|
| home | `Session(home=)`, `Session(share_dir)`, `--home` | `KIMI_SHARE_DIR`, `KIMI_CODE_HOME` | the only home with a login, where it is only used | `~/.kimi` |
| platform | `platform=`, `--platform` | | the default model in config.toml | `kimi-code` |
| oauth_host, api_base | | those of the platform | | the platform's own |
| store | `store=`, `stores=` | `KIMI_AUTH_STORE` (`login.elsewhere`) | | a file in the share directory |
| account | `Session(account=)`, `--account` | `KIMI_AUTH_ACCOUNT` | the one in use in accounts.toml | `default`, the login without a label |
| credential | `Session.default(api_key=)` | `KIMI_API_KEY` of the user's | | the login, then the token that `run` lent |
| its API | `base_url=` | `KIMI_BASE_URL`, for the key beside it | | the platform that the key is for |

`kimi-auth run` sets `KIMI_API_KEY` too, and marks it in `KIMI_API_KEY_LENT`: such a token ends with its 15 minutes, so a
program that can reach the login uses the login. A key of the user's that `run` passes on is marked too: the `KIMI_BASE_URL`
that `run` sets is for the key that it sets, and for no other.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "ACCOUNTS",
    "ACCOUNT_VARIABLES",
    "API_BASE_VARIABLES",
    "API_KEY",
    "ARGUMENT",
    "BASE_URL",
    "CODE_HOME_DEFAULT",
    "CODE_HOME_MARKS",
    "CODE_HOME_VARIABLES",
    "DEFAULT",
    "DEFAULT_PLATFORM",
    "HOME_KIMI_CLI",
    "HOME_KIMI_CODE",
    "LABEL_MAX",
    "LENT",
    "LOGIN",
    "OAUTH_HOST_VARIABLES",
    "PASSED_ON",
    "SHARE_DIR_DEFAULT",
    "SHARE_DIR_VARIABLES",
    "STORE",
    "UNLABELLED",
    "USUAL_REGION",
    "account_meant",
    "accounts_written",
    "is_label",
    "key_before_login",
    "lender_of_token",
    "lent_base",
    "lent_mark",
    "lent_token",
    "login_name",
    "scheme_of",
    "select",
    "selecting_variables",
    "unknown_variables",
]

ARGUMENT, DEFAULT, CONFIG, LOGIN = "argument", "default", "config.toml", "login"
"""Sources of a value, beside the names of variables."""

ACCOUNTS = "accounts.toml"
"""The source of an account that is in use (`kimi_auth.home.accounts`)."""

ACCOUNT_VARIABLES = ("KIMI_AUTH_ACCOUNT",)

UNLABELLED = "default"
"""The name of a platform's login without a label."""

LABEL_MAX = 32
_LABEL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")

DEFAULT_PLATFORM = "kimi-code"
SHARE_DIR_DEFAULT = "~/.kimi"
SHARE_DIR_VARIABLES = ("KIMI_SHARE_DIR",)
HOME_KIMI_CLI, HOME_KIMI_CODE = "kimi-cli", "kimi-code"
"""The kinds of homes, by the program whose home it is (`kimi_auth.home`)."""

CODE_HOME_DEFAULT = "~/.kimi-code"
CODE_HOME_VARIABLES = ("KIMI_CODE_HOME",)
"""Unknown to the fast lane, which then steps aside."""

USUAL_REGION = "mainland-cn"
"""kimi-code's word for the region of the platform `kimi-code`."""

CODE_HOME_MARKS = ("oauth", "tui.toml", "session_index.jsonl", "region", "updates")
"""Names that a home of kimi-code has. The fast lane steps aside for any of them, the full program asks for two."""
OAUTH_HOST_VARIABLES = ("KIMI_CODE_OAUTH_HOST", "KIMI_OAUTH_HOST")
API_BASE_VARIABLES = ("KIMI_CODE_BASE_URL",)
"""The variables of the platform `kimi-code`, as `platforms/builtin.toml` has them."""

API_KEY, BASE_URL = "KIMI_API_KEY", "KIMI_BASE_URL"
"""A key of the user's, and the API that it is for."""

LENT = "KIMI_API_KEY_LENT"
"""What `kimi-auth run` says of the token or key that it put into `KIMI_API_KEY`: the login's name (`login_name`, or `PASSED_ON` for a key of
the user's), the token's fingerprint, its end (unix seconds, 0 for none), its lifetime (seconds), and the base URL that goes
with it, separated by spaces."""

PASSED_ON = "-"
"""In the mark of a key of the user's, which comes before the login in a child as well."""

STORE = "KIMI_AUTH_STORE"
"""The URL of a store elsewhere."""

COMPLETION = "_KIMI_AUTH_COMPLETE"
"""Set by a shell that asks for completions, whatever the command line says."""

_SELECT_NOTHING = (
    "KIMI_MODEL_NAME",
    "KIMI_MODEL_MAX_CONTEXT_SIZE",
    "KIMI_MODEL_CAPABILITIES",
    "KIMI_DISABLE_TELEMETRY",
    "KIMI_AUTH_EDGES",
)
"""Variables of the Kimi CLI and of our tests that do not matter for a stored token."""

_CREDENTIAL = (API_KEY, BASE_URL, LENT)

_KNOWN = frozenset(
    (
        *SHARE_DIR_VARIABLES,
        *ACCOUNT_VARIABLES,
        *OAUTH_HOST_VARIABLES,
        *API_BASE_VARIABLES,
        *_CREDENTIAL,
        *_SELECT_NOTHING,
    )
)


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


def account_meant(
    environ: Mapping[str, str], in_use: Callable[[], str], *, argument: str | None = None
) -> tuple[str, str]:
    """The name of the account that is meant, unchecked, and its source. `in_use` reads the one of `ACCOUNTS`, "" for none;
    it is asked only where nothing else names an account."""
    name, source = select(environ, argument=argument, variables=ACCOUNT_VARIABLES)
    if name:
        return name.strip(), source
    name = in_use()
    return (name, ACCOUNTS) if name else (UNLABELLED, DEFAULT)


def is_label(text: str) -> bool:
    """Whether a setting can select an account by this text: it becomes part of file names and of keys."""
    return 0 < len(text) <= LABEL_MAX and _LABEL_CHARACTERS.issuperset(text)


def login_name(platform: str, label: str) -> str:
    """The name of a login in keys and files, as platform and account select it: `<platform>`, or `<platform>@<label>`."""
    return f"{platform}@{label}" if label not in {"", UNLABELLED} else platform


def accounts_written(text: str) -> dict[str, str] | None:
    """Which account the file selects on each platform, from the text that `kimi_auth.home.accounts` writes; None for another
    text, which is for a TOML parser to read: that costs as much as Python's start."""
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    found: dict[str, str] = {}
    if lines[:1] not in ([], ["[use]"]):
        return None
    for line in lines[1:]:
        platform, _, value = line.partition(" = ")
        label = value[1:-1]
        if not platform or not _LABEL_CHARACTERS.issuperset(platform) or platform in found:
            return None
        if value != f'"{label}"' or not is_label(label):
            return None
        found[platform] = label
    return found


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """The variables that are set and may select something for a Kimi program, but are in no table of this module."""
    return [name for name in environ if name.startswith("KIMI_") and name not in _KNOWN and environ[name].strip()]


def selecting_variables(environ: Mapping[str, str]) -> list[str]:
    """The variables of a Kimi program that select something, known to this table or not."""
    return [name for name in environ if name.startswith("KIMI_") and name not in _SELECT_NOTHING]


def scheme_of(url: str) -> str:
    """What selects the kind of store: the scheme of the URL in `KIMI_AUTH_STORE`, in lower case; "" for none."""
    scheme, found, _ = url.partition("://")
    return scheme.strip().lower() if found else ""


def key_before_login(
    environ: Mapping[str, str], fingerprint_of: Callable[[str], str], *, argument: str | None = None
) -> tuple[str, str]:
    """The API key that is used instead of the login, and its source; ("", `LOGIN`) where the login comes first."""
    key, source = select(environ, argument=argument, variables=(API_KEY,))
    if not key or (source == API_KEY and lent_token(environ, fingerprint_of) is not None):
        return "", LOGIN
    return key.strip(), source


def lent_token(
    environ: Mapping[str, str], fingerprint_of: Callable[[str], str]
) -> tuple[str, str, float, float] | None:
    """The token that `kimi-auth run` put into `KIMI_API_KEY`, and from its mark: its login's name, its end (unix
    seconds, 0.0 for none) and its lifetime in seconds; None for a key of the user's, or no key."""
    token, (platform, fp, *numbers, _) = environ.get(API_KEY, ""), _mark(environ)
    if not token or platform == PASSED_ON or fp != fingerprint_of(token):
        return None
    if not all(number.isascii() and number.isdigit() and len(number) < 13 for number in numbers):
        return None
    return token, platform, float(numbers[0]), float(numbers[1])


def lender_of_token(environ: Mapping[str, str], fingerprint_of: Callable[[str], str]) -> str:
    """What a lent token selects: the login that lent it, by its name (`login_name`); "" for none."""
    lent = lent_token(environ, fingerprint_of)
    return lent[1] if lent else ""


def lent_base(environ: Mapping[str, str], fingerprint_of: Callable[[str], str], key: str) -> str:
    """The base URL that `kimi-auth run` set, by its mark, for another key than `key`; "" for none."""
    _, fp, _, _, base = _mark(environ)
    return "" if fp == fingerprint_of(key) else base


def lent_mark(login: str, fp: str, expires_at_s: float, lifetime_s: float, base: str) -> str:
    """What the variable `LENT` says of a token or key that `run` put in; 0 for an end or a lifetime that is unknown or none."""
    numbers = (int(value) if 0 < value < 1e12 else 0 for value in (expires_at_s, lifetime_s))
    return " ".join((login, fp, *map(str, numbers), base))


def _mark(environ: Mapping[str, str]) -> list[str]:
    """The five parts of `LENT`, all "" where it is not set or no mark."""
    parts = environ.get(LENT, "").split(" ")
    return parts if len(parts) == 5 else [""] * 5
