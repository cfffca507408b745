"""Changes to a TOML text that leave every other byte as it was.

An edit replaces a value, adds a line, adds a table at the end, or cuts lines out, at offsets that the scanner found.
Neither is trusted: `edited` reads its result with `tomllib` and compares it with the edits applied to plain data, so a
layout that is not understood is an error and never a wrong file.
"""

from __future__ import annotations

import enum
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any, Final

from kimi_auth.models.tomlscan import GAP, KeyPath, Node, match, scan

__all__ = ["REMOVED", "Edit", "KeyPath", "applied", "diff", "edited", "loads"]


class _Removed(enum.Enum):
    REMOVED = "removed"


REMOVED: Final = _Removed.REMOVED

_TABLE_DEPTH = 2
"""New tables become `[a.b]` blocks down to here (`[providers.x]`); deeper tables are written inline."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`path` gets `value`, or goes away with all below it when that is REMOVED. The value may be a secret: not in the repr."""

    path: KeyPath
    value: Any = field(repr=False)


def loads(text: str) -> dict[str, Any]:
    """The text as plain data. Raises `ValueError`, with line and column where they are known, or `RecursionError`."""
    return tomllib.loads(text)


def _same(one: Any, other: Any) -> bool:
    """Equal as TOML means it: `true` is not `1`, `1` is not `1.0`, and `nan` is `nan`."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or repr(one) == repr(other) == "nan"


def diff(before: Mapping[str, Any], after: Mapping[str, Any], path: KeyPath = ()) -> tuple[Edit, ...]:
    """The edits that make `after` from `before`, as deep as possible. An empty table where there was none is no edit."""
    edits: list[Edit] = []
    for key in [*before, *(key for key in after if key not in before)]:
        here, old, new = (*path, key), before.get(key, REMOVED), after.get(key, REMOVED)
        if isinstance(new, Mapping) and (isinstance(old, Mapping) or (old is REMOVED and len(here) < _TABLE_DEPTH)):
            edits += diff(old if isinstance(old, Mapping) else {}, new, here)
        elif not _same(old, new) and not (old is REMOVED and new == {}):
            edits.append(Edit(here, new))
    return tuple(edits)


def applied(data: Mapping[str, Any], edits: Iterable[Edit]) -> dict[str, Any]:
    """A copy of `data` with the edits done; tables on the way are made as needed."""
    result = deepcopy(dict(data))
    for edit in edits:
        table = result
        for key in edit.path[:-1]:
            table = table.setdefault(key, {})
        if edit.value is REMOVED:
            table.pop(edit.path[-1], None)
        else:
            table[edit.path[-1]] = deepcopy(edit.value)
    return result


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with the edits done. Raises `ValueError` if the result would not say exactly that."""
    edits = tuple(edits)
    try:
        result = _without(text, frozenset(edit.path for edit in edits if edit.value is REMOVED))
        for edit in edits:
            if edit.value is not REMOVED:
                result = _with(result, edit.path, edit.value)
        got, wanted = loads(result), applied(loads(text), edits)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not _same(_settled(got, edits), _settled(wanted, edits)):
        raise ValueError("the edited text would not mean what it should")
    return result


def _settled(data: dict[str, Any], edits: tuple[Edit, ...]) -> dict[str, Any]:
    """Without the empty tables above the edits: whether `[models]` is left when its last model goes says nothing."""
    for path in (edit.path[:depth] for edit in edits for depth in range(len(edit.path) - 1, 0, -1)):
        table: Any = data
        for key in path[:-1]:
            table = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict) and table.get(path[-1]) == {}:
            del table[path[-1]]
    return data


# -- writing values ------------------------------------------------------------------------------------------------------


def _toml(value: Any) -> str:
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
            return f"[{', '.join(map(_toml, value))}]"
        case Mapping():
            pairs = ", ".join(f"{_key((key,))} = {_toml(item)}" for key, item in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
    raise ValueError(f"TOML has no {type(value).__name__}")


def _key(path: KeyPath) -> str:
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else _toml(part) for part in path)


# -- edits -----------------------------------------------------------------------------------------------------------------


def _with(text: str, path: KeyPath, value: Any) -> str:
    nodes = scan(text)
    for node in nodes:
        if node.is_pair and node.path == path:
            return text[: node.value] + _toml(value) + text[node.end :]
    holders = [node for node in nodes if node.is_inline_table and node.path == path[: len(node.path)]]
    if holders:
        return _within_inline(text, holders[-1], path, value)
    if isinstance(value, Mapping) and len(path) <= _TABLE_DEPTH:
        return _append_table(text, path, value)
    # A key can stand beside its siblings, below its table's header, or (dotted) where that table is made.
    parent = path[:-1]
    anchors = [
        node
        for node in nodes
        if not (node.is_nested or node.is_array)
        and node.path[: len(parent)] == parent
        and len(node.base) <= len(parent)
    ]
    if anchors:
        at = _line_end(text, anchors[-1].end)
        indent = text[_line_start(text, anchors[-1].start) : anchors[-1].start]
        return _insert(text, at, f"{indent}{_key(path[len(anchors[-1].base) :])} = {_toml(value)}")
    if parent:
        return _append_table(text, parent, {path[-1]: value})
    return _before_tables(text, nodes, f"{_key(path)} = {_toml(value)}")


def _within_inline(text: str, holder: Node, path: KeyPath, value: Any) -> str:
    inside = text[holder.value + 1 : holder.end - 1].rstrip()
    at = holder.value + 1 + len(inside)
    pair = f"{_key(path[len(holder.path) :])} = {_toml(value)}"
    if not inside:
        return f"{text[:at]} {pair} {text[holder.end - 1 :]}"
    return f"{text[:at]}{' ' if inside.endswith(',') else ', '}{pair}{text[at:]}"


def _before_tables(text: str, nodes: list[Node], line: str) -> str:
    """The first key of the top level: before the first table and the comment that belongs to it."""
    if not nodes:
        return _insert(text, len(text), line)
    at = _line_start(text, nodes[0].start)
    while at and text[(above := _line_start(text, at - 1)) : at].strip():
        at = above
    return _insert(text, at, line + _newline(text))


def _append_table(text: str, path: KeyPath, table: Mapping[str, Any]) -> str:
    newline = _newline(text)
    body = newline.join([f"[{_key(path)}]", *(f"{_key((key,))} = {_toml(value)}" for key, value in table.items())])
    gap = newline if text.strip() and not text.endswith(newline * 2) else ""
    if text and not text.endswith("\n"):
        gap += newline
    return f"{text}{gap}{body}{newline}"


def _insert(text: str, at: int, line: str) -> str:
    newline = _newline(text)
    before = newline if at and text[at - 1] != "\n" else ""
    return f"{text[:at]}{before}{line}{newline}{text[at:]}"


def _without(text: str, paths: frozenset[KeyPath]) -> str:
    """Tables and pairs at or below `paths` go with their lines; comments go only from between the lines of such a table."""
    while inline := _first_inline(text, paths):
        text = _cut_inline(text, inline)
    kept, at = [], 0
    for start, end in _line_ranges(text, paths):
        kept.append(text[at:start])
        at = end
    return "".join(kept) + text[at:]


def _is_below(node: Node, paths: frozenset[KeyPath]) -> bool:
    return any(node.path[:depth] in paths for depth in range(1, len(node.path) + 1))


def _first_inline(text: str, paths: frozenset[KeyPath]) -> Node | None:
    """The first pair to go that stands in an inline table which itself stays."""
    goes_whole = False
    for node in scan(text):
        if not node.is_nested:
            goes_whole = _is_below(node, paths)
        elif not goes_whole and _is_below(node, paths):
            return node
    return None


def _cut_inline(text: str, node: Node) -> str:
    after = match(GAP, text, node.end).end()
    if text[after] == ",":
        return text[: node.start] + text[match(GAP, text, after + 1).end() :]
    before = text[: node.start].rstrip()
    return before.removesuffix(",") + text[node.end :]


def _line_ranges(text: str, paths: frozenset[KeyPath]) -> Iterator[tuple[int, int]]:
    """Where to cut, in order: a table from its header to its last pair, and the lines of single pairs."""
    cuts: list[tuple[int, int]] = []
    in_table = False
    for node in [node for node in scan(text) if not node.is_nested]:
        start, end = _line_start(text, node.start), _line_end(text, node.end)
        goes = _is_below(node, paths)
        in_table = goes and (in_table or not node.is_pair)
        if goes and cuts and (start == cuts[-1][1] or (in_table and node.is_pair)):
            cuts[-1] = (cuts[-1][0], end)
        elif goes:
            cuts.append((start, end))
    return (_with_gap(text, start, end) for start, end in cuts)


def _with_gap(text: str, start: int, end: int) -> tuple[int, int]:
    """A block that stood alone between two blank lines, or the ends of the text, takes one of them along."""
    newline = _newline(text)
    if end == len(text) or text.startswith(newline, end):
        if text[:start].endswith(newline * 2):
            return start - len(newline), end
        if not start:
            return start, min(end + len(newline), len(text))
    return start, end


def _newline(text: str) -> str:
    return "\r\n" if text[: text.find("\n") + 1].endswith("\r\n") else "\n"


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    return text.find("\n", at) + 1 or len(text)
