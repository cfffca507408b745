"""The options of the commands that start without Typer, as data, and the command lines that leave no doubt about them.

`typer` takes six times as long to load as Python to start, more than `status` takes for all that it does. A plain line, such
as `status --json`, `token --refresh` or `run -- CMD`, is understood here; every other one, and every mistake, is Typer's,
which reads its declarations from the same data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from kimi_auth.support.language import LANGUAGES
from kimi_auth.token import is_seconds

__all__ = [
    "ACCOUNT",
    "ALL",
    "BROKERED",
    "ENV",
    "FORMAT",
    "HOME",
    "JSON",
    "LANG",
    "MIN_TTL",
    "PASSES_ON",
    "PLAIN",
    "PLATFORM",
    "PROXY",
    "REFRESH",
    "VALUED",
    "VERIFY",
    "Format",
    "Option",
    "Plain",
    "is_text",
    "understood",
]


Format = Literal["plain", "json", "git", "docker", "kubectl", "claude"]


class Option(NamedTuple):
    """An option: its flag, its help, and the name of its value, "" for one that has none. A default that is a number says
    that every value is one."""

    flag: str
    help: str
    metavar: str = ""
    is_repeated: bool = False
    choices: tuple[str, ...] = ()
    default: str | float | None = None


WORD = Option("", "")
"""A word that is no option, and stands for itself."""

PLATFORM = Option("--platform", "Platform; default: the default model's, else kimi-code.", "ID")
HOME = Option("--home", "Whose home: kimi-cli, kimi-code, or a directory.", "HOME")
ACCOUNT = Option("--account", "Account; default: the one in use.", "NAME")
ALL = Option("--all", "Every login: of each platform, region and account.")
JSON = Option("--json", "Print one JSON object.")
MIN_TTL = Option("--min-ttl", "Minimum remaining lifetime in seconds.", "S", default=0.0)
REFRESH = Option("--refresh", "Renew now, even if the stored token works.")
FORMAT = Option("--format", "The shape for the program that asks.", "FORMAT", choices=get_args(Format), default="plain")
VERIFY = Option("--verify", "Ask the API whether it accepts the token.")
ENV = Option("--env", "Set NAME (…_API_KEY), and the _BASE_URL that goes with it, too.", "NAME", is_repeated=True)
PROXY = Option("--proxy", "Give CMD a local base URL for OpenAI- and Anthropic-style tools, and its key.")
BROKERED = Option(
    "--brokered", "Give CMD a socket and a grant of its own, and no share dir. By itself this isolates nothing."
)

LANG = Option("--lang", "Language of messages; default: the environment's.", "|".join(LANGUAGES), choices=LANGUAGES)
"""Every command has it. It is obeyed before the command line is understood."""


class Plain(NamedTuple):
    """A command: its module, whose function of the same name runs it; its options by parameter; the parameter of a word that
    is no option, "" where there is none; whether a command line of another program follows `--`."""

    module: str
    options: Mapping[str, Option]
    argument: str = ""
    takes_command: bool = False


PLAIN = {
    "status": Plain(
        "status", {"platform": PLATFORM, "account": ACCOUNT, "home": HOME, "every": ALL, "verify": VERIFY, "json": JSON}
    ),
    "token": Plain(
        "token",
        {
            "platform": PLATFORM,
            "account": ACCOUNT,
            "home": HOME,
            "min_ttl": MIN_TTL,
            "refresh": REFRESH,
            "json": JSON,
            "form": FORMAT,
        },
        argument="operation",
    ),
    "run": Plain(
        "run",
        {"platform": PLATFORM, "account": ACCOUNT, "home": HOME, "env": ENV, "proxy": PROXY, "brokered": BROKERED},
        takes_command=True,
    ),
}

PASSES_ON = ("run", "lend", "emulator")
"""The commands whose first argument that is no option begins the command line of another program."""

VALUED = frozenset({
    "--account", "--as", "--certificate", "--config-file", "--conforms", "--diff", "--env", "--export", "--for", "--format",
    "--home", "--host", "--in-flight", "--issuer", "--key", "--lang", "--listen", "--metrics", "--min-ttl", "--path",
    "--per-minute", "--platform", "--port", "--region", "--sockets", "--to", "--trace", "--ttl", "--uid", "--workers",
    "--world", "--write",
})  # fmt: skip
"""The options of all commands that take a value. What a line names is read before Typer, which declares them, is loaded."""


def understood(args: Sequence[str]) -> tuple[Plain, dict[str, object]] | None:
    """The command of a plain line and the arguments of its function; None for a line that Typer has to read.

    Plain is: the command first, each option in full and apart from its value, once unless it may be repeated, and no value
    that looks like an option.
    """
    plain = PLAIN.get(args[0]) if args else None
    if plain is None or not all(map(is_text, args)):
        return None
    words, command = list(args[1:]), list[str]()
    if plain.takes_command:
        if "--" not in words or words[-1] == "--":
            return None
        at = words.index("--")
        words, command = words[:at], words[at + 1 :]
    values = _values(plain, words)
    if values is None:
        return None
    return plain, {**values, "command": command} if plain.takes_command else values


def _values(plain: Plain, words: list[str]) -> dict[str, object] | None:
    options = {**plain.options, "lang": LANG}
    names = {option.flag: name for name, option in options.items()}
    found: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        name = names.get(word, "" if word.startswith("-") else plain.argument)
        option = options.get(name, WORD)
        if not name or not word or (name in found and not option.is_repeated):
            return None
        value = next(rest, "") if option.metavar else word
        if option.metavar and not _is_value(value, option):
            return None
        found.setdefault(name, []).append(value)
    values = {name: _value(option, found.get(name, [])) for name, option in plain.options.items()}
    return {**values, plain.argument: found.get(plain.argument, [None])[0]} if plain.argument else values


def _is_value(value: str, option: Option) -> bool:
    if not value or value.startswith("-") or (option.choices and value not in option.choices):
        return False
    return not isinstance(option.default, float) or is_seconds(value)


def _value(option: Option, given: list[str]) -> object:
    if not option.metavar:
        return bool(given)
    if option.is_repeated:
        return given
    if not given:
        return option.default
    return float(given[0]) if isinstance(option.default, float) else given[0]


def is_text(word: str) -> bool:
    """False for bytes that were no text: those are Typer's to refuse."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
