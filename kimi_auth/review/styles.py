"""The style sheets of pictures and pages: one table of colours, light and dark. Paper is always light."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["PAGE", "PICTURE", "SHAPES", "css"]

Rule = tuple[str, str, str, str]
"""A selector, a property, its value in the light and in the dark."""

_INK, _QUIET, _LINE = ("#1b2330", "#e6e9ef"), ("#5b6676", "#a3adbb"), ("#8b95a3", "#7b8594")
_PAPER = ("#ffffff", "#12161d")
_GOOD, _BAD, _PLAIN = ("#1a7f37", "#4cc266"), ("#c62828", "#ff7b72"), ("#5b6676", "#a3adbb")
_BLUE, _VIOLET = ("#1f4fd8", "#7aa2ff"), ("#7a3fc4", "#c297ff")

_KINDS = {
    "walked": _GOOD,
    "checker": _VIOLET,
    "unwalked": _BAD,
    "traced": _BLUE,
    "added": _BLUE,
    "removed": _BAD,
    "changed": _VIOLET,
}
"""The kinds of mark that an overlay gives an edge or a state. In a drawing, green, red and grey are the tones of rest states
and amber is a held resource: a change needs colours of its own, or a good end looks new."""

PICTURE: tuple[Rule, ...] = (
    (".paper", "fill", *_PAPER),
    (".m text", "fill", *_INK),
    (".m .quiet", "fill", *_QUIET),
    (".m .lock", "fill", "#8a5a00", "#e3b457"),
    (".box", "fill", *_PAPER),
    (".box", "stroke", "#3b4656", "#8c97a6"),
    (".held .box", "fill", "#fff6de", "#2a2414"),
    (".held .box", "stroke", "#b58105", "#b58b2b"),
    (".within .paper, .region", "fill", "#fffaf0", "#191711"),
    (".region", "stroke", "#dcb75a", "#6b5724"),
    (".frame", "fill", "#f4f6f9", "#1a2029"),
    (".frame", "stroke", "#b8c1cc", "#46505d"),
    (".good .box", "fill", "#e3f6e8", "#10281a"),
    (".good .box, .good .ring", "stroke", *_GOOD),
    (".bad .box", "fill", "#fdeaea", "#2f1719"),
    (".bad .box, .bad .ring", "stroke", *_BAD),
    (".plain .box", "fill", "#eef1f5", "#1c232d"),
    (".plain .box, .plain .ring", "stroke", *_PLAIN),
    (".edge path", "stroke", *_LINE),
    (".edge .tip, .dot", "fill", *_LINE),
    (".happy path", "stroke", *_INK),
    (".happy .tip", "fill", *_INK),
    *(
        rule
        for kind, colour in _KINDS.items()
        for rule in (
            (f".edge.{kind} path", "stroke", *colour),
            (f".edge.{kind} .tip, .m .note.{kind}, .m .line.{kind}", "fill", *colour),
            (f".state.{kind} .box, .state.{kind} .ring", "stroke", *colour),
        )
    ),
    (".been path", "stroke", *_VIOLET),
    (".been .tip", "fill", *_VIOLET),
    (".lit path, .addressed path", "stroke", *_BLUE),
    (".lit .tip, .addressed .tip", "fill", *_BLUE),
    (".state.lit .box", "stroke", *_BLUE),
    (".state.lit .box", "fill", "#e8efff", "#1b2740"),
)

SHAPES = (
    ".m{font:11px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace}"
    ".m .title{font-size:17px;font-weight:700}.m .name{font-size:13px;font-weight:700}.m .small{font-size:10px}"
    ".box,.ring{stroke-width:1.4}.ring{fill:none}.region,.frame{stroke-width:1;stroke-dasharray:5 4}"
    ".edge path{fill:none;stroke-width:1.2}.happy path{stroke-width:2}"
    ".m .note{font-weight:700}.m .happy text{font-weight:700}"
    ".pale path,.pale .tip{opacity:.4}.pale text{opacity:.75}"
    ".traced path,.unwalked path,.added path,.changed path{stroke-width:2.4}"
    ".state.traced .box,.state.added .box,.state.changed .box,.state.lit .box{stroke-width:2.8}"
    ".edge.lit path,.edge.addressed path{stroke-width:3}.edge.been path{stroke-width:2.2}.m a text{text-decoration:underline}"
)

PAGE: tuple[Rule, ...] = (
    ("body", "background", *_PAPER),
    ("body", "color", *_INK),
    (".muted, nav a", "color", *_QUIET),
    ("a, nav a[aria-current]", "color", *_BLUE),
    ("th, td, tr, nav, header, details, .lens, .card, .now", "border-color", "#d9dee5", "#2d3540"),
    ("button, input, textarea", "border-color", "#b8c1cc", "#46505d"),
    ("thead th", "background", "#f4f6f9", "#1a2029"),
    ("tr.lit td, tr.lit th, tr.addressed td, tr.addressed th, button:hover", "background", "#e8efff", "#1b2740"),
    (".disk .changed", "background", "#fff6de", "#2a2414"),
    (".now", "border-color", *_BLUE),
    (".tag", "background", "#eef1f5", "#1c232d"),
    ("table .walked", "color", *_GOOD),
    ("table .checker", "color", *_VIOLET),
    ("table .unwalked", "color", *_BAD),
    (".good", "color", *_GOOD),
    (".bad", "color", *_BAD),
    ("nav, .lens", "background", *_PAPER),
)


def css(rules: Iterable[Rule]) -> str:
    """The rules as a style sheet that follows the reader's choice of light or dark on a screen."""
    rules = tuple(rules)
    return f"{_sheet(rules, 2)}@media screen and (prefers-color-scheme:dark){{{_sheet(rules, 3)}}}"


def _sheet(rules: tuple[Rule, ...], column: int) -> str:
    sheet: dict[str, list[str]] = {}
    for rule in rules:
        sheet.setdefault(rule[0].replace(", ", ","), []).append(f"{rule[1]}:{rule[column]}")
    return "".join(f"{selector}{{{';'.join(lines)}}}" for selector, lines in sheet.items())
