"""The catalogues of messages: `make check` looks whether they are whole, `make messages` brings them up to date.

    python tools/catalogue.py            one line for each finding; exit status 1 if there are any
    python tools/catalogue.py --update   adds new templates, drops those that no code has, compiles, then the same

A sentence is marked with `tr("template", name=value)` (`kimi_auth.support.language`). Findings: a sentence without a mark; a mark whose
template is no literal, or whose values do not fit it; a template without a translation, or with a fuzzy one, or with
other placeholders than its own, or with half-width marks in Chinese text; names that are joined with ", " instead of
`listed`; an entry that no code has; a compiled catalogue (.mo) that says something else.
"""

from __future__ import annotations

import ast
import gettext
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT: Final = Path(__file__).resolve().parents[1]
MARK: Final = "tr"
CATALOGUES: Final = "locale/*/LC_MESSAGES/kimi_auth.po"

ENGLISH: Final = {
    "proof",
    "review",
    "testing",
    "machine",
    "compat",
    "language.py",
    "demo.py",
    "pictures.py",
    "memory.py",
}
"""Rooms and modules whose sentences stay English: reviewers and authors of machines and tests read them, or an old program."""

SAYING: Final = {"Check", "Notice", "Usage", "Findings", "BadParameter", "say", "line", "_tell", "UnsendableError"}
"""Calls whose arguments are sentences, beside every class that ends in a `KimiAuthError`."""

COMMAND: Final = re.compile(
    r"\s*(kimi-auth|chmod|rm|unset|export|mv|uv|pip|pipx|sudo|machines|X:X in|Xkimi-auth|X --force)\b"
)
"""A command line, which is the same in every language, or a line of names."""

HALF_WIDTH: Final = re.compile(
    r"[\u4e00-\u9fff][,;:?!()]|[,;:?!()][\u4e00-\u9fff]|[,;](?=\S)|[，。；：？！（）、] | [，。；：？！（）、]"
)
"""A mark of Latin text in a Chinese translation, or a blank beside a full-width one, which brings its own space."""


def trees(package: Path) -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(package.rglob("*.py")):
        yield file, ast.parse(file.read_text("utf-8"))


def marked(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every mark, with its template; "" for one that is no literal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == MARK:
            first = node.args[0] if len(node.args) == 1 else None
            yield node, first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def placeholders(template: str) -> set[str]:
    """`{name!r:.0f}` for each of them: a translation may move them, not change them."""
    return {
        f"{{{name}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}}}"
        for _, name, spec, conversion in Formatter().parse(template)
        if name is not None
    }


def ill_marked(name: str, tree: ast.AST) -> Iterator[str]:
    for call, template in marked(tree):
        if not template:
            yield f"{name}:{call.lineno}: {MARK}() takes one literal, the template"
            continue
        wanted = {re.split(r"[!:}]", one[1:])[0] for one in placeholders(template)}
        given = {str(keyword.arg) for keyword in call.keywords}
        if given and given != wanted:
            yield f"{name}:{call.lineno}: {MARK}({template!r}) is given {sorted(given)}, not {sorted(wanted)}"
        if any(ast.unparse(keyword.value).startswith("', '.join(") for keyword in call.keywords):
            yield f"{name}:{call.lineno}: names are joined with listed(), which knows the marks of each language"


def unmarked(name: str, tree: ast.AST, errors: set[str]) -> Iterator[str]:
    """Sentences in the source that are no mark's: a text with a blank, where a person is told something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            told = [*node.args] if called in SAYING | errors else []
            told += [keyword.value for keyword in node.keywords if keyword.arg == "hint"]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and _target_of(node) == "default_hint" and node.value:
            told = [node.value]
        else:
            continue
        for one in told:
            for text in (one.body, one.orelse) if isinstance(one, ast.IfExp) else (one,):
                if _is_sentence(text):
                    yield f"{name}:{text.lineno}: not marked: {ast.unparse(text)}"


def _target_of(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    return target.id if isinstance(target, ast.Name) else ""


def _is_sentence(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        return " " in text and re.search(r"[a-z]{2}", text) is not None and not COMMAND.match(text)
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and " " in node.value.strip()
        and not COMMAND.match(node.value)
    )


def error_classes(package: Path) -> set[str]:
    """The names of the classes that end in `KimiAuthError`, as far as their bases are named in the package."""
    bases = {
        node.name: {getattr(base, "id", getattr(base, "attr", "")) for base in node.bases}
        for _, tree in trees(package)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"KimiAuthError"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found


def templates(package: Path) -> dict[str, list[str]]:
    """Each template of the source, with the files that have it."""
    found: dict[str, list[str]] = {}
    for file, tree in trees(package):
        name = file.relative_to(package.parent).as_posix()
        for _, template in marked(tree):
            if template and name not in found.setdefault(template, []):
                found[template].append(name)
    return found


def source_findings(package: Path) -> Iterator[str]:
    errors = error_classes(package)
    for file, tree in trees(package):
        name = file.relative_to(package.parent).as_posix()
        yield from ill_marked(name, tree)
        if not ENGLISH & set(file.relative_to(package).parts):
            yield from unmarked(name, tree, errors)


def catalogue_findings(name: str, catalogue: Catalog, known: dict[str, list[str]]) -> Iterator[str]:
    for template, files in known.items():
        entry = catalogue.get(template)
        if entry is None or not entry.string:
            yield f"{name}: no translation: {template!r} ({files[0]})"
        elif entry.fuzzy:
            yield f"{name}: fuzzy: {template!r}"
        elif placeholders(str(entry.string)) != placeholders(template):
            yield f"{name}: other placeholders: {template!r} -> {entry.string!r}"
        elif HALF_WIDTH.search(str(entry.string)):
            yield f"{name}: half-width marks, or a blank beside a full-width one: {entry.string!r}"
    for entry in catalogue:
        if entry.id and entry.id not in known:
            yield f"{name}: no code has it: {entry.id!r}"


def compiled_findings(file: Path, catalogue: Catalog) -> Iterator[str]:
    """Compares messages, not bytes: those depend on the version of Babel."""
    compiled = file.with_suffix(".mo")
    said = {entry.id: str(entry.string) for entry in catalogue if entry.id and entry.string and not entry.fuzzy}
    if not compiled.exists():
        yield f"{compiled.name} is missing: make messages"
        return
    there = gettext.GNUTranslations(io.BytesIO(compiled.read_bytes()))
    if any(there.gettext(template) != text for template, text in said.items()):
        yield f"{compiled.name} is not what {file.name} says: make messages"


def read(file: Path) -> Catalog:
    with file.open("rb") as stream:
        return read_po(stream, locale=file.parents[1].name, ignore_obsolete=True)


def update(file: Path, known: dict[str, list[str]]) -> None:
    """The entries of `known` in the order of their text, with the translations that are there, and the compiled file."""
    before = read(file)
    after = Catalog(
        locale=file.parents[1].name,
        header_comment=before.header_comment,
        project="kimi-auth",
        version="",
        msgid_bugs_address="",
        creation_date=before.creation_date,
        revision_date=before.revision_date,
        last_translator="The kimi-auth maintainers",
        language_team="zh",
        fuzzy=False,
    )
    for template in sorted(known):
        entry = before.get(template)
        after.add(
            template,
            entry.string if entry else "",
            locations=[(name, None) for name in known[template]],
            flags=entry.flags if entry else (),
        )
    with file.open("wb") as stream:
        write_po(stream, after, width=0, include_lineno=False)
    with file.with_suffix(".mo").open("wb") as stream:
        write_mo(stream, after)


def findings(root: Path) -> Iterator[str]:
    package = root / "kimi_auth"
    known = templates(package)
    yield from source_findings(package)
    for file in sorted(package.glob(CATALOGUES)):
        catalogue, name = read(file), file.relative_to(root).as_posix()
        yield from catalogue_findings(name, catalogue, known)
        yield from compiled_findings(file, catalogue)


def main(argv: list[str]) -> int:
    root = Path(argv[-1]) if argv and argv[-1] != "--update" else ROOT
    if "--update" in argv:
        known = templates(root / "kimi_auth")
        for file in sorted((root / "kimi_auth").glob(CATALOGUES)):
            update(file, known)
    found = list(findings(root))
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
