"""Sentences for people, in English or in Chinese.

`tr("{host} did not answer", host=host)` marks a sentence and fills it in. The result is a `str` of English text: logs, JSON,
events, files and programs get exactly that. It remembers its template and its values, from which `spoken` makes the
same sentence in another language. Only the edge, where a terminal is written, calls `spoken`.

`tools/catalogue.py` collects the templates for `kimi_auth/locale/`; placeholders are those of `str.format`, by name.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from gettext import NullTranslations
    from typing import Self, SupportsIndex

__all__ = [
    "LANGUAGES",
    "Kept",
    "Sentence",
    "counted",
    "joined",
    "listed",
    "recalled",
    "said_by",
    "selected",
    "spoken",
    "tr",
]

LANGUAGES = ("en", "zh")
"""The first one is that of the source, and the one that is spoken where no other is asked for."""

DOMAIN = "kimi_auth"

RECALLED_DEEP = 4
"""Our sentences have no more parts inside one another; text that a server wrote may look as if it had a hundred."""

_catalogues: dict[str, NullTranslations] = {}

_FULL_WIDTH = frozenset("，。、；：？！（）")
"""Marks that bring their own space."""


class Sentence(str):
    """English text that can be said in another language. `template` is its entry in the catalogue; `values` fill the
    template's placeholders, and may be sentences themselves; `swaps` are pairs of commands to exchange, old and new."""

    __slots__ = ("swaps", "template", "values")
    template: str
    values: Mapping[str, object] | None
    swaps: tuple[tuple[str, str], ...]

    def __new__(
        cls, template: str, values: Mapping[str, object] | None = None, swaps: tuple[tuple[str, str], ...] = ()
    ) -> Self:
        said = super().__new__(cls, _filled(template, values, swaps))
        said.template, said.values, said.swaps = template, values, swaps
        return said

    def format(self, *_: object, **values: object) -> Sentence:
        """The sentence of a template that was marked as data, filled in. Values that it has already stay."""
        return Sentence(
            self.template, {**(self.values or {}), **{n: _kept(it) for n, it in values.items()}}, self.swaps
        )

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> Sentence:
        """Exchanges a command in a sentence, which is the same in every language; always all of them."""
        return Sentence(self.template, self.values, (*self.swaps, (old, new)))

    def removesuffix(self, suffix: str, /) -> Sentence:
        """Cuts the end off a sentence's template, in English: without an entry of its own, the rest is not translated."""
        return Sentence(self.template.removesuffix(suffix), self.values, self.swaps)

    def __add__(self, other: str) -> Sentence:
        return joined("", (self, other))

    def __radd__(self, other: str) -> Sentence:
        return joined("", (other, self))

    def __reduce__(self) -> tuple[object, ...]:
        return Sentence, (self.template, self.values, self.swaps)


class Kept(str):
    """A sentence that a store kept as text. `recall` gives the sentence, and is called where another language is spoken."""

    recall: Callable[[str], str]

    @classmethod
    def by(cls, recall: Callable[[str], str], text: str) -> Self:
        kept = cls(text)
        kept.recall = recall
        return kept


def tr(template: str, **values: object) -> Sentence:
    """Marks `template`, a literal, for the catalogue; `values` fill its placeholders. Without values it is the text itself, or
    a template to be filled in with `format`."""
    return Sentence(template).format(**values) if values else Sentence(template)


def joined(separator: str, parts: Iterable[str]) -> Sentence:
    """The parts as one sentence. `separator` and each part may be one."""
    values = {f"part{number}": part for number, part in enumerate(parts)}
    return Sentence("{separator}".join(f"{{{name}}}" for name in values), {**values, "separator": separator})


def listed(names: Iterable[str]) -> str:
    """A sentence's list: names one after the other, "a, b, c"; Chinese has a mark of its own between the members of a list."""
    members = tuple(names)
    if len(members) < 2:
        return members[0] if members else ""
    half = len(members) // 2  # one inside the other, a thousand names would be a thousand calls deep
    return tr("{names}, {name}", names=listed(members[:half]), name=listed(members[half:]))


def recalled(text: str, templates: Iterable[str], patterns: Mapping[str, str], deep: int = RECALLED_DEEP) -> str:
    """The sentence for people whose English is `text`: made by the first of `templates` that can make it, from values that
    are recalled in turn, `deep` of them inside one another; templates have no format specifications. `patterns` are those
    of values that stand side by side. `text` itself where none can."""
    import re
    from string import Formatter

    known = tuple(templates)
    for template in known:
        parts = [
            re.escape(literal) + (f"(?P<{name}>{patterns.get(name, '.*?')})" if name else "")
            for literal, name, _, _ in Formatter().parse(template)
        ]
        found = re.fullmatch("".join(parts), text, re.DOTALL)
        if found and deep:
            values = {name: recalled(it, known, patterns, deep - 1) for name, it in found.groupdict().items()}
            return Sentence(template).format(**values)
    return text


def said_by(error: BaseException) -> str:
    """The message of an exception; a sentence where it was raised with one (`str` would make plain text of it)."""
    return error.args[0] if error.args and isinstance(error.args[0], Sentence | Kept) else str(error)


def counted(number: int, one: Sentence, many: Sentence) -> Sentence:
    """`one`, or `many` with its `{number}`: "one change", "2 changes". Chinese has one form and two entries."""
    return one if number == 1 else many.format(number=number)


def spoken(text: str, language: str) -> str:
    """`text` in `language`: as it is where that is English, where it is no sentence, or where the catalogue lacks it."""
    if language != LANGUAGES[0] and isinstance(text, Kept):
        text = text.recall(str(text))
    if language == LANGUAGES[0] or not isinstance(text, Sentence):
        return text
    template = _catalogue(language).gettext(text.template) if text.template else ""
    values = text.values and {
        name: spoken(value, language) if isinstance(value, str) else value for name, value in text.values.items()
    }
    return _swapped(template if values is None else _spaced(template, values), text.swaps)


def selected(environ: Mapping[str, str]) -> str:
    """The language that the environment asks for, in the order of GNU gettext: the first of LC_ALL, LC_MESSAGES and LANG that
    is set names a locale; unless that is C, the first language of LANGUAGE that we speak comes before it."""
    named = next(filter(None, map(environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    first = [] if named.partition(".")[0] in {"C", "POSIX"} else environ.get("LANGUAGE", "").split(":")
    asked = (name.replace("-", "_").partition(".")[0].partition("_")[0].lower() for name in (*first, named))
    return next((language for language in asked if language in LANGUAGES), LANGUAGES[0])


def _filled(template: str, values: Mapping[str, object] | None, swaps: tuple[tuple[str, str], ...]) -> str:
    return _swapped(template if values is None else template.format(**values), swaps)


def _swapped(text: str, swaps: tuple[tuple[str, str], ...]) -> str:
    for old, new in swaps:
        text = text.replace(old, new)
    return text


def _spaced(template: str, values: Mapping[str, object]) -> str:
    """The template filled in, with the spaces of Chinese text around each value: one between a Chinese and a Latin character, none
    between two Chinese ones or beside a full-width mark. Which of them a value begins and ends with, its template cannot know."""
    from string import Formatter

    said = ""
    for literal, field, spec, conversion in Formatter().parse(template):
        said = _beside(said, literal)
        if field is not None:
            whole = f"{{{field}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}"
            said = _beside(said, whole.format(**values))
    return said


def _beside(left: str, right: str) -> str:
    before, after = left.removesuffix(" "), right.removeprefix(" ")
    ends = before[-1:] + after[:1]
    spaces = len(left) - len(before) + len(right) - len(after)
    if len(ends) < 2 or spaces > 1 or ends.isspace():
        return left + right
    if all(map(_is_chinese, ends)) or not _FULL_WIDTH.isdisjoint(ends):
        return before + after
    if any(map(_is_chinese, ends)) and any(map(_is_latin, ends)):
        return f"{before} {after}"
    return left + right


def _is_chinese(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"


def _is_latin(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character in "/~")


def _kept(value: object) -> object:
    """A value as a sentence keeps it: a number, which may have a format, or text."""
    if isinstance(value, BaseException):
        return said_by(value)
    return value if isinstance(value, str | int | float) else str(value)


def _catalogue(language: str) -> NullTranslations:
    """The Chinese sentences, read when they are first needed; from a zip file, too. Without its file, everything stays English."""
    if language not in _catalogues:
        import gettext
        import io
        import pkgutil

        try:
            raw = pkgutil.get_data("kimi_auth", f"locale/{language}/LC_MESSAGES/{DOMAIN}.mo")
        except OSError:
            raw = None
        _catalogues[language] = gettext.GNUTranslations(io.BytesIO(raw)) if raw else gettext.NullTranslations()
    return _catalogues[language]
