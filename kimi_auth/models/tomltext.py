"""Changes to a TOML text that leave every other byte as it was.

An edit replaces a value, adds a line, adds a table at the end, or cuts lines out (`tomlsplice`), at offsets that a scanner
found (`tomlscan`). Neither is trusted: `edited` reads its result with `tomllib` and compares it with the edits applied to
plain data, so a layout that is not understood is an error and never a wrong file.
"""

from __future__ import annotations

import enum
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from kimi_auth.models.tomlscan import KeyPath
from kimi_auth.models.tomlsplice import TABLE_DEPTH, spliced
from kimi_auth.support.language import tr

__all__ = ["REMOVED", "Edit", "KeyPath", "applied", "diff", "edited", "loads"]


class _Removed(enum.Enum):
    REMOVED = "removed"


REMOVED: Final = _Removed.REMOVED


@dataclass(frozen=True, slots=True)
class Edit:
    """`path` gets `value`, or goes away with all below it when that is REMOVED. The value may be a secret: not in the repr."""

    path: KeyPath
    value: Any = field(repr=False)


def loads(text: str) -> dict[str, Any]:
    """A TOML text as plain data, before or after its edits. Raises `ValueError`, with line and column where they are known, or
    `RecursionError`."""
    return tomllib.loads(text)


def _same(one: Any, other: Any) -> bool:
    """Whether a change leaves a value of the TOML text equal, as TOML means it: `true` is not `1`, `1` is not `1.0`, and
    `nan` is `nan`."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or repr(one) == repr(other) == "nan"


def diff(before: Mapping[str, Any], after: Mapping[str, Any], path: KeyPath = ()) -> tuple[Edit, ...]:
    """The edits of a TOML text that make `after` from `before`, as deep as possible. A new empty table is no edit."""
    edits: list[Edit] = []
    for key in [*before, *(key for key in after if key not in before)]:
        here, old, new = (*path, key), before.get(key, REMOVED), after.get(key, REMOVED)
        if isinstance(new, Mapping) and (isinstance(old, Mapping) or (old is REMOVED and len(here) < TABLE_DEPTH)):
            edits += diff(old if isinstance(old, Mapping) else {}, new, here)
        elif not _same(old, new) and not (old is REMOVED and new == {}):
            edits.append(Edit(here, new))
    return tuple(edits)


def applied(data: Mapping[str, Any], edits: Iterable[Edit]) -> dict[str, Any]:
    """A copy of a TOML text's `data` with the edits done; tables on the way are made as needed."""
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


def edited(text: str, edits: Iterable[Edit], data: Mapping[str, Any] | None = None) -> str:
    """The TOML text with the edits done, none of them below another. Raises `ValueError` if the result would not say
    exactly that. `data`, what the text says, is parsed out of it where it is not given."""
    edits = tuple(edits)
    removed = frozenset(edit.path for edit in edits if edit.value is REMOVED)
    try:
        result = spliced(text, removed, ((edit.path, edit.value) for edit in edits if edit.value is not REMOVED))
        got, wanted = loads(result), applied(loads(text) if data is None else data, edits)
    except RecursionError:
        raise ValueError(tr("it is nested too deeply")) from None
    if not _same(_settled(got, edits), _settled(wanted, edits)):
        raise ValueError(tr("the edited text would not mean what it should"))
    return result


def _settled(data: dict[str, Any], edits: tuple[Edit, ...]) -> dict[str, Any]:
    """A TOML text's data without the empty tables above its edits: whether an empty `[models]` is left says nothing."""
    for path in (edit.path[:depth] for edit in edits for depth in range(len(edit.path) - 1, 0, -1)):
        table: Any = data
        for key in path[:-1]:
            table = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict) and table.get(path[-1]) == {}:
            del table[path[-1]]
    return data
