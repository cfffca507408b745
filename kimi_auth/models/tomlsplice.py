"""Changes to a TOML text in one pass: one scan finds the offsets, and the new text is put together once.

Why by hand: tomlkit 0.15 was tried. Adding and removing a table gave the same bytes in 0 of 12 files, a BOM breaks it,
inline `providers` raise, and after `providers.mine.type = "x"` a new table swallows the keys that follow it. Why in one
pass: with a scan for each edit, 500 changed models took 7 s under the config's lock, for which others wait 10 s.

Nothing here is trusted: `tomltext.edited` reads the result with `tomllib` and compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import starmap
from typing import Any

from kimi_auth.models.tomlscan import GAP, KeyPath, Node, match, scan
from kimi_auth.models.tomlvalue import key_text, pair_text, value_text

__all__ = ["TABLE_DEPTH", "spliced"]

TABLE_DEPTH = 2
"""New tables become `[a.b]` blocks down to here (`[providers.x]`); deeper tables are written inline."""

Splice = tuple[int, int, str]
"""From and to which offset of the text something else comes, and that."""


def spliced(text: str, removed: frozenset[KeyPath], put: Iterable[tuple[KeyPath, Any]]) -> str:
    """The text, spliced in one pass, without `removed` and all below them, and with the values of `put`, of whose paths
    none is below another.

    Raises `ValueError` for a layout that cannot be edited, and for a value that TOML does not have.
    """
    nodes = scan(text)
    if removed and (cuts := list(_inline_cuts(text, nodes, removed))):
        text = _joined(text, cuts)
        nodes = scan(text)
    if removed:
        text, nodes = _without_lines(text, nodes, removed)
    added = _Additions(text, nodes)
    for path, value in put:
        added.put(path, value)
    return added.text()


def _joined(text: str, splices: Iterable[Splice]) -> str:
    """The text with the splices, which are in order; where two overlap, the text between them is gone once."""
    parts: list[str] = []
    at = 0
    for start, end, new in splices:
        parts += (text[at:start], new)
        at = end
    return "".join(parts) + text[at:]


# -- what goes -----------------------------------------------------------------------------------------------------------


def _is_below(node: Node, paths: frozenset[KeyPath]) -> bool:
    return any(node.path[:depth] in paths for depth in range(1, len(node.path) + 1))


def _inline_cuts(text: str, nodes: list[Node], paths: frozenset[KeyPath]) -> list[Splice]:
    """The pairs to cut out of a TOML text that stand in an inline table which itself stays, each with the comma that belongs to it."""
    cuts: list[Splice] = []
    goes_whole, at = False, 0
    for node in nodes:
        if not node.is_nested:
            goes_whole = _is_below(node, paths)
        elif not goes_whole and node.start >= at and _is_below(node, paths):
            start, at = node.start, match(GAP, text, node.end).end()
            if text[at] == ",":
                at = match(GAP, text, at + 1).end()
            else:  # the last one takes the comma before it along, and leaves the space after it
                start, at = _before_comma(text, start, cuts), node.end
            cuts.append((start, at, ""))
    return cuts


def _before_comma(text: str, at: int, cuts: list[Splice]) -> int:
    """Where the space before a splice at `at` begins, and a comma before that; cuts on the way are taken out: this one
    holds them."""
    while True:
        floor = cuts[-1][1] if cuts else 0
        at = floor + len(text[floor:at].rstrip())
        if at > floor or not cuts:
            return at - (text[at - 1] == ",")
        at = cuts.pop()[0]


def _without_lines(text: str, nodes: list[Node], paths: frozenset[KeyPath]) -> tuple[str, list[Node]]:
    """The text without the tables and pairs at or below `paths`, and the nodes that are left, at their new offsets.
    Comments go only from between the lines of such a table."""
    cuts = [(*_with_gap(text, start, end), "") for start, end in _line_ranges(text, nodes, paths)]
    left: list[Node] = []
    gone = at = done = 0
    for node in nodes:
        while done < len(cuts) and cuts[done][1] <= node.start:
            start, end, _ = cuts[done]
            gone, at, done = gone + end - max(start, at), end, done + 1
        if not _is_below(node, paths):
            left.append(
                replace(node, start=node.start - gone, value=node.value - gone, end=node.end - gone) if gone else node
            )
    return _joined(text, cuts), left


def _line_ranges(text: str, nodes: list[Node], paths: frozenset[KeyPath]) -> list[tuple[int, int]]:
    """The lines to cut, in order: a table from its header to its last pair, and the lines of single pairs."""
    cuts: list[tuple[int, int]] = []
    in_table = False
    for node in nodes:
        if node.is_nested:
            continue
        goes = _is_below(node, paths)
        in_table = goes and (in_table or not node.is_pair)
        if not goes:
            continue
        start, end = _line_start(text, node.start), _line_end(text, node.end)
        if cuts and (start == cuts[-1][1] or (in_table and node.is_pair)):
            cuts[-1] = (cuts[-1][0], end)
        else:
            cuts.append((start, end))
    return cuts


def _with_gap(text: str, start: int, end: int) -> tuple[int, int]:
    """A block of cut lines that stood alone between two blank lines, or the ends of the text, takes one of them along."""
    newline = _newline(text)
    if end == len(text) or text.startswith(newline, end):
        if text.endswith(newline * 2, 0, start):
            return start - len(newline), end
        if not start:
            return start, min(end + len(newline), len(text))
    return start, end


# -- what comes ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    """A new line: a header, or a pair that is relative to `base`. `after` are the lines below it, the newest last: each
    of them came right below this one."""

    text: str
    base: KeyPath
    indent: str = ""
    after: list[_Line] = field(default_factory=list)


class _Additions:
    """Additions to a text, gathered first: dictionaries say where each value goes, and they know the new lines, too."""

    def __init__(self, text: str, nodes: list[Node]) -> None:
        self._text = text
        self._newline = _newline(text)
        self._is_empty = not nodes
        self._first_line = _before_comment(text, nodes[0].start) if nodes else len(text)
        self._pairs: dict[KeyPath, Node] = {}
        self._inline: dict[KeyPath, Node] = {}
        self._anchors: dict[KeyPath, Node | _Line] = {}
        for node in nodes:
            if node.is_pair:
                self._pairs.setdefault(node.path, node)
            if node.is_inline_table:
                self._inline[node.path] = node
            if not (node.is_nested or node.is_array):
                for depth in range(len(node.base), len(node.path) + 1):
                    self._anchors[node.path[:depth]] = node
        self._values: list[Splice] = []
        self._inside: dict[int, tuple[Node, list[str]]] = {}
        self._below: dict[int, list[_Line]] = {}
        self._tables: list[list[_Line]] = []
        self._top: _Line | None = None

    def put(self, path: KeyPath, value: Any) -> None:
        """Splices a value: instead of the old one, in the inline table of its path, below its siblings, or in a new table."""
        parent = path[:-1]
        if (pair := self._pairs.get(path)) is not None:
            self._values.append((pair.value, pair.end, value_text(value)))
        elif (holder := self._holder(path)) is not None:
            _, inside = self._inside.setdefault(holder.start, (holder, []))
            inside.append(pair_text(path[len(holder.path) :], value))
        elif isinstance(value, Mapping) and len(path) <= TABLE_DEPTH:
            self._append(path, value)
        elif (anchor := self._anchors.get(parent)) is not None:
            self._follow(anchor, path, value)
        elif parent:
            self._append(parent, {path[-1]: value})
        else:
            self._begin(path, value)

    def _holder(self, path: KeyPath) -> Node | None:
        """The innermost inline table above the path."""
        above = (self._inline.get(path[:depth]) for depth in range(1, len(path) + 1))
        return max((node for node in above if node is not None), key=lambda node: node.start, default=None)

    def _follow(self, anchor: Node | _Line, path: KeyPath, value: Any) -> None:
        """Splices a line right below the last of its siblings: below the header of their table, or (dotted) where that is made."""
        if isinstance(anchor, _Line):
            indent, after = anchor.indent, anchor.after
        else:
            indent = self._text[_line_start(self._text, anchor.start) : anchor.start]
            after = self._below.setdefault(_line_end(self._text, anchor.end), [])
        line = self._line(pair_text(path[len(anchor.base) :], value), anchor.base, indent)
        after.append(line)
        for depth in range(len(anchor.base), len(path) + 1):
            # Where another line is the last one, it is below the anchor, so below this one.
            if self._anchors.get(path[:depth], anchor) is anchor:
                self._anchors[path[:depth]] = line

    def _append(self, path: KeyPath, table: Mapping[str, Any]) -> None:
        """A new table at the end of the text."""
        lines = [self._line(f"[{key_text(path)}]", path)]
        lines += (self._line(pair_text((key,), value), path) for key, value in table.items())
        self._anchors[path] = lines[-1]
        self._anchors |= {(*path, key): line for key, line in zip(table, lines[1:], strict=True)}
        self._tables.append(lines)

    def _begin(self, path: KeyPath, value: Any) -> None:
        """Splices the first key of the top level: before the first table and the comment that belongs to it."""
        line = self._line(pair_text(path, value), ())
        self._anchors |= {(): line, path: line}
        if self._is_empty and not self._tables:
            self._below[len(self._text)] = [line]
        else:
            self._top = line

    def _line(self, words: str, base: KeyPath, indent: str = "") -> _Line:
        return _Line(f"{indent}{words}{self._newline}", base, indent)

    def text(self) -> str:
        """The TOML text with all changes, put together once."""
        splices = [*self._values, *starmap(self._filled, self._inside.values())]
        splices += ((at, at, self._ended(at) + "".join(_in_order(lines))) for at, lines in self._below.items())
        top = "".join(_in_order([self._top])) + self._newline if self._top else ""
        if not self._is_empty:
            splices.append((self._first_line, self._first_line, top))
            top = ""
        text = _joined(self._text, sorted(splices))
        if not self._tables:
            return text
        gap = self._newline if text.strip() and not text.endswith(self._newline * 2) else ""
        if text and not text.endswith("\n"):
            gap += self._newline
        return f"{text}{gap}{top}" + self._newline.join("".join(_in_order(lines[::-1])) for lines in self._tables)

    def _ended(self, at: int) -> str:
        return self._newline if at and self._text[at - 1] != "\n" else ""

    def _filled(self, holder: Node, pairs: list[str]) -> Splice:
        """The pairs in an inline table, after those that are in it."""
        inside = self._text[holder.value + 1 : holder.end - 1].rstrip()
        at, joined = holder.value + 1 + len(inside), ", ".join(pairs)
        if not inside:
            return at, holder.end - 1, f" {joined} "
        return at, at, f"{' ' if inside.endswith(',') else ', '}{joined}"


def _in_order(lines: list[_Line]) -> Iterator[str]:
    """The lines, the last one first, each with those that follow it: not by recursion, for each may follow the one before."""
    waiting = [*lines]
    while waiting:
        line = waiting.pop()
        yield line.text
        waiting += line.after


# -- lines -------------------------------------------------------------------------------------------------------------------


def _before_comment(text: str, at: int) -> int:
    """The start of the line at `at`, or of the first of the lines right above it, up to a blank one."""
    at = _line_start(text, at)
    while at and text[(above := _line_start(text, at - 1)) : at].strip():
        at = above
    return at


def _newline(text: str) -> str:
    return "\r\n" if text[: text.find("\n") + 1].endswith("\r\n") else "\n"


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    return text.find("\n", at) + 1 or len(text)
