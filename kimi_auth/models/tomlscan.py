"""Finds the table headers and key/value pairs of a TOML text, with their offsets, inline tables included.

The text has passed `tomllib` before, so the scanner need not validate, only find; where it does not understand a layout
it raises `ValueError`. TOML 1.1's inline tables over several lines are understood too.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kimi_auth.support.language import tr

__all__ = ["GAP", "KeyPath", "Node", "match", "scan"]

KeyPath = tuple[str, ...]
"""The parts of a key from the top of the text, unquoted."""

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_QUOTED = r'''"""(?:[^\\]|\\[\s\S])*?"{3,5}|\'\'\'[\s\S]*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*\''''
GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_HEADER = re.compile(rf"(\[\[?)[ \t]*({_DOTTED})[ \t]*\]\]?")
_ASSIGNMENT = re.compile(rf"({_DOTTED})[ \t]*=[ \t]*")
_STRING = re.compile(_QUOTED)
_SCALAR = re.compile(r"[^,\]}#\n]+")
_TOKEN = re.compile(rf"""(?:{_QUOTED})|\#[^\n]*|(?P<open>[\[{{])|(?P<close>[\]}}])|[^"'\#\[\]{{}}]+""")


@dataclass(frozen=True, slots=True)
class Node:
    """A header, or a pair. `path` is absolute, `base` is the table that the written key is relative to."""

    path: KeyPath
    base: KeyPath
    start: int
    value: int
    end: int
    is_pair: bool
    is_inline_table: bool = False
    is_nested: bool = False
    is_array: bool = False


def scan(text: str) -> list[Node]:
    """Every header and pair of a valid TOML text, in order; a pair in an inline table comes after the table's own."""
    nodes: list[Node] = []
    base: KeyPath = ()
    at = match(GAP, text, 0).end()
    while at < len(text):
        if text[at] == "[":
            header = match(_HEADER, text, at)
            base, end = _parts(header[2]), header.end()
            nodes.append(Node(base, base, at, end, end, is_pair=False, is_array=header[1] == "[["))
        else:
            pairs = list(_pairs(text, at, base, is_nested=False))
            nodes += pairs
            end = pairs[0].end
        at = match(GAP, text, end).end()
    return nodes


def _pairs(text: str, at: int, base: KeyPath, *, is_nested: bool) -> Iterator[Node]:
    assignment = match(_ASSIGNMENT, text, at)
    path, value = base + _parts(assignment[1]), assignment.end()
    end = _value_end(text, value)
    is_inline_table = text[value] == "{"
    yield Node(path, base, at, value, end, True, is_inline_table, is_nested)
    if not is_inline_table:
        return
    at = match(GAP, text, value + 1).end()
    while text[at] != "}":
        inner = list(_pairs(text, at, path, is_nested=True))
        yield from inner
        at = match(GAP, text, inner[0].end).end()
        if text[at] == ",":
            at = match(GAP, text, at + 1).end()


def _value_end(text: str, at: int) -> int:
    if string := _STRING.match(text, at):
        return string.end()
    if not text.startswith(("[", "{"), at):
        return at + len(match(_SCALAR, text, at)[0].rstrip())
    depth = 0
    while True:
        token = match(_TOKEN, text, at)
        at = token.end()
        depth += (token["open"] is not None) - (token["close"] is not None)
        if depth == 0:
            return at


def match(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    """The match of `pattern` in `text` at this very offset. Raises `ValueError`, with the line, if there is none."""
    found = pattern.match(text, at)
    if found is None:
        raise ValueError(
            tr("line {line} is laid out in a way that cannot be edited", line=text.count(chr(10), 0, at) + 1)
        )
    return found


@lru_cache(maxsize=4096)
def _parts(dotted: str) -> KeyPath:
    """The parts of a key as it stands in the text, unquoted by tomllib itself."""
    parts: list[str] = []
    rest: Any = tomllib.loads(f"{dotted} = 0")
    while isinstance(rest, dict):
        ((part, rest),) = rest.items()
        parts.append(part)
    return tuple(parts)
