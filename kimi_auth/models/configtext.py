"""The bytes of config.toml as plain data, and a change to that data as new bytes: pure, `path` is for the errors."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kimi_auth.errors import ConfigError
from kimi_auth.support.language import said_by, tr

if TYPE_CHECKING:  # to read a config needs none of what changes one
    from kimi_auth.models.planning import Change

__all__ = ["CONFIG_BYTES_MAX", "Content", "parse", "parse_if_valid", "rendered", "toml_of_json"]

Content = bytes | None
"""What a config file holds; None if there is no file."""

CONFIG_BYTES_MAX = 1 << 20
_BOM = "\ufeff"


def parse(path: Path, content: Content) -> dict[str, Any]:
    """The bytes of config.toml as plain data, {} if there are none. Raises `ConfigError` with the line and column."""
    try:
        return tomllib.loads((content or b"").decode().removeprefix(_BOM))
    except UnicodeDecodeError as exc:
        lines = exc.object[: exc.start].split(b"\n")
        problem = tr("not UTF-8 (at line {line}, column {column})", line=len(lines), column=len(lines[-1]) + 1)
    except RecursionError:
        problem = tr("nested too deeply")
    except ValueError as exc:
        problem = tr("not TOML: {error}", error=exc)
    raise ConfigError(tr("{path}: {problem}", path=path, problem=problem), hint=tr("correct that line and try again"))


def parse_if_valid(content: Content) -> dict[str, Any] | None:
    """The bytes of config.toml as plain data; None where they are no TOML."""
    try:
        return parse(Path(), content)
    except ConfigError:
        return None


def rendered(path: Path, old: Content, change: Change, *, bytes_max: int = CONFIG_BYTES_MAX) -> Content:
    """The content after the change; the old one if there is nothing to do.

    Raises `ConfigError` for a layout that cannot be edited, and for what would be more than `bytes_max` after it.
    """
    if not change:
        return old
    from kimi_auth.models.tomltext import edited

    text = (old or b"").decode()
    body = text.removeprefix(_BOM)
    try:
        new = (text[: len(text) - len(body)] + edited(body, change.edits, change.before)).encode()
    except ValueError as exc:
        raise ConfigError(
            tr("{path}: cannot be edited safely: {error}; nothing was changed", path=path, error=exc),
            hint=tr("write providers, models and services as [tables], one key a line, and try again"),
        ) from None
    if len(new) > max(bytes_max, len(old or b"")):
        raise ConfigError(
            tr(
                "{path}: has no room for more models: it may have {limit} bytes; nothing was changed",
                path=path,
                limit=CONFIG_BYTES_MAX,
            ),
            hint=tr("remove entries that you do not need, and try again"),
        )
    return new


def toml_of_json(path: Path, content: bytes) -> bytes:
    """The bytes of a JSON object as those of config.toml. TOML has no null: like the Kimi CLI, drops a key that holds one."""
    from kimi_auth.models.tomltext import diff, edited

    try:
        data = json.loads(content.decode("utf-8-sig"))
        if not isinstance(data, dict):
            raise ValueError(tr("not an object"))
        return edited("", diff({}, _without_null(data))).encode()
    except json.JSONDecodeError as exc:
        problem: str = tr(
            "{problem} (at line {line}, column {column})", problem=exc.msg, line=exc.lineno, column=exc.colno
        )
    except RecursionError:
        problem = tr("nested too deeply")
    except ValueError as exc:
        problem = said_by(exc)
    raise ConfigError(
        tr("{path}: cannot become config.toml: {problem}", path=path, problem=problem),
        hint=tr("correct {path} or move it away", path=path),
    )


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value
