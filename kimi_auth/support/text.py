"""Makes text safe to show: without control, bidirectional or invisible characters, and a repr without its secrets.

Text is cleaned once, at the output. JSON output needs no cleaning (it is ASCII); pages and pictures escape.
"""

from __future__ import annotations

import unicodedata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["cells", "clean", "one_line", "repr_without", "same", "visible"]

# Unicode's Default_Ignorable_Code_Point outside category C, and blank symbols that are no spaces: all render as
# nothing.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u180b\u180c\u180d\u180f"
    + "".join(map(chr, range(0xFE00, 0xFE10)))
    + "".join(map(chr, range(0xE0100, 0xE01F0)))
)


def visible(text: str) -> str:
    """`text` without invisible characters and those that move others; each kind of whitespace becomes a space."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if c.isspace() else "" if _is_invisible(c) else c for c in text)


def one_line(text: str) -> str:
    """As `visible`, in one line with single spaces."""
    return same(text, " ".join(visible(text).split()))


def clean(text: str, limit: int = 200) -> str:
    """As `one_line`, safe to show in at most `limit` characters; "…" marks a cut."""
    line = same(text, one_line(text[: 16 * limit]))
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def same(text: str, cleaned: str) -> str:
    """`text` itself where nothing had to be cleaned: a sentence (`kimi_auth.support.language`) remains one."""
    return text if text == cleaned else cleaned


def cells(text: str) -> int:
    """How many columns of a terminal `text` takes: two for each wide character (Unicode's East Asian Width)."""
    return sum(1 + (unicodedata.east_asian_width(character) in "FW") for character in text)


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character)[0] == "C" or character in _INVISIBLE


def repr_without(value: Any, *hidden: str) -> str:
    """The repr of a named tuple, without its `hidden` fields, which are secrets or hold one."""
    shown = (f"{name}={getattr(value, name)!r}" for name in value._fields if name not in hidden)
    return f"{type(value).__name__}({', '.join(shown)})"
