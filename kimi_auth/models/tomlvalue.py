"""Values and keys as TOML spells them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, time
from typing import Any

from kimi_auth.models.tomlscan import KeyPath
from kimi_auth.support.language import tr

__all__ = ["key_text", "pair_text", "value_text"]


def value_text(value: Any) -> str:
    """The value as TOML spells it, on one line. Raises `ValueError` for a type that TOML does not have."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case date() | time():
            return value.isoformat()
        case str():
            # A JSON string is a TOML basic string, but for U+007F, which TOML wants escaped.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return f"[{', '.join(map(value_text, value))}]"
        case Mapping():
            pairs = ", ".join(f"{key_text((key,))} = {value_text(item)}" for key, item in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
    raise ValueError(tr("TOML has no {name}", name=type(value).__name__))


_BARE = re.compile(r"[A-Za-z0-9_-]+")


def key_text(path: KeyPath) -> str:
    """A dotted key as TOML spells it, its parts quoted where they must be."""
    return ".".join(part if _BARE.fullmatch(part) else value_text(part) for part in path)


def pair_text(path: KeyPath, value: Any) -> str:
    """`key = value`."""
    return f"{key_text(path)} = {value_text(value)}"
