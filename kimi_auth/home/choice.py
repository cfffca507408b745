"""Which home a command or a session works on: an argument, else a variable, else the only home that holds a login."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kimi_auth import files
from kimi_auth.errors import AmbiguousHome, ConfigError
from kimi_auth.selection import ARGUMENT, CODE_HOME_MARKS, DEFAULT, select
from kimi_auth.support.language import joined, listed, tr
from kimi_auth.token import RECORD_FILE_MAX_BYTES

from .kinds import KIMI_CLI, KIMI_CODE, KINDS, Kind

__all__ = ["FOUND", "Home", "choose", "holds_login", "looks_like_kimi_code", "other_login"]

FOUND = "login"
"""The source of a home that was chosen because it alone holds a login."""

MARKS_MIN = 2
CONFIG_BYTES_MAX = 1 << 20


class Home(NamedTuple):
    """A chosen home. `source`: as in `kimi_auth.selection`, or `FOUND`. `why`: more about that for people, "" for
    nothing."""

    kind: Kind
    path: Path
    source: str
    why: str = ""

    def __fspath__(self) -> str:
        return str(self.path)


def choose(environ: Mapping[str, str], given: str | os.PathLike[str] | None = None, *, reads: bool = True) -> Home:
    """The home that is meant. `given`: the name of a kind or a directory. `reads`: the caller only uses a login, so it
    may take kimi-code's where only that one holds any.

    Raises AmbiguousHome for variables that name two homes, ConfigError for a directory that cannot be named.
    """
    if given is not None and os.fspath(given):
        named = os.fspath(given)
        kind = KINDS.get(named)
        if kind is None:
            return _home(KIMI_CLI, named, ARGUMENT)
        return _home(kind, select(environ, variables=(kind.variable,), default=kind.directory)[0], ARGUMENT)
    homes = {kind: select(environ, variables=(kind.variable,), default=kind.directory) for kind in KINDS.values()}
    named_kinds = [kind for kind, (_, source) in homes.items() if source != DEFAULT]
    if len(named_kinds) > 1 and len({os.path.realpath(_expanded(homes[kind][0], kind)) for kind in named_kinds}) > 1:
        names = joined(tr(" and "), (f"{kind.variable}={homes[kind][0]}" for kind in named_kinds))
        raise AmbiguousHome(
            tr("two homes are named: {names}", names=names), hint=tr("name one: --home kimi-cli, or --home kimi-code")
        )
    if named_kinds:
        kind = named_kinds[-1]  # both name one directory: it takes both locks
        return _home(kind, *homes[kind])
    return _by_itself(reads=reads)


def other_login(home: Home, environ: Mapping[str, str]) -> Path | None:
    """The home of the other program, where that holds a login too."""
    kind = next(kind for kind in KINDS.values() if kind is not home.kind)
    named = select(environ, variables=(kind.variable,), default=kind.directory)[0]
    try:
        other = _home(kind, named, DEFAULT)
    except ConfigError:
        return None
    return other.path if other.path.resolve() != home.path.resolve() and holds_login(other) else None


def _by_itself(*, reads: bool) -> Home:
    ours, theirs = (_home(kind, kind.directory, DEFAULT) for kind in KINDS.values())
    if reads and holds_login(theirs) and not holds_login(ours):
        return Home(theirs.kind, theirs.path, FOUND, tr("no login in {path}", path=ours.path))
    return ours


def _home(kind: Kind, named: str, source: str) -> Home:
    path = _expanded(named, kind)
    if kind is KIMI_CLI and (marks := looks_like_kimi_code(path)):
        return Home(KIMI_CODE, path, source, tr("it is kimi-code's: {marks}", marks=listed(marks)))
    return Home(kind, path, source)


def _expanded(named: str, kind: Kind) -> Path:
    try:
        return files.expanded(named)
    except RuntimeError:
        hint = tr("write it in full: export {variable}=/a/directory", variable=kind.variable)
        raise ConfigError(tr("{given}: there is no such home directory", given=named), hint=hint) from None


def looks_like_kimi_code(home: Path) -> list[str]:
    """The marks by which a directory that is chosen as home is kimi-code's, [] unless there are two of them."""
    marks = [name for name in CODE_HOME_MARKS if os.path.lexists(home / name)]
    if len(marks) == MARKS_MIN - 1 and _has_their_config(_config(home)):
        marks.append("config.toml")
    return marks if len(marks) >= MARKS_MIN else []


def _has_their_config(config: Mapping[str, object]) -> bool:
    """True for what kimi-code alone writes: a provider with an `oauth_host`, a model with `protocol` or
    `support_efforts`."""
    logins = [one.get("oauth") for one in _tables(config.get("providers"))]
    has_host = any(isinstance(one, Mapping) and "oauth_host" in one for one in logins)
    return has_host or any({"protocol", "support_efforts"} & one.keys() for one in _tables(config.get("models")))


def holds_login(home: Home) -> bool:
    """True for a home to choose: a record with tokens lies there, or a config.toml of ours names a provider that
    kimi-auth manages: an API key, or a login in the keyring. An unreadable file counts."""
    credentials = home.path / "credentials"
    try:
        names = os.listdir(credentials)  # noqa: PTH208
    except FileNotFoundError:
        names = []
    except OSError:
        return True
    if any(_is_login(credentials / name) for name in names if name.endswith(".json")):
        return True
    managed = _config(home.path).get("providers") if home.kind.owns_config else None
    return isinstance(managed, Mapping) and any(str(name).startswith("managed:") for name in managed)


def _is_login(path: Path) -> bool:
    try:
        found = files.read_bounded(path, RECORD_FILE_MAX_BYTES, follow=True)
        record = json.loads(found.data) if found else {}
    except (OSError, ValueError, RecursionError):
        return True
    return not isinstance(record, dict) or bool(record.get("access_token") or record.get("refresh_token"))


def _config(home: Path) -> Mapping[str, object]:
    import tomllib

    try:
        found = files.read_bounded(home / "config.toml", CONFIG_BYTES_MAX, follow=True)
        return tomllib.loads(found.data.decode("utf-8-sig")) if found else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _tables(value: object) -> list[Mapping[str, object]]:
    return [one for one in value.values() if isinstance(one, Mapping)] if isinstance(value, Mapping) else []
