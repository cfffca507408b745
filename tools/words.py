"""The text check of `make check`: plain words in docstrings, comments, messages, documents and machines.

    python tools/words.py [ROOT]

Prints one line for each finding: file, line, the words found, and what to write instead. Exit status 1 if there are any.
`tools/words.toml` lists the rules and the argued exceptions; an exception that covers no finding is a finding itself.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
DATA: Final = "tools/words.toml"

MESSAGES: Final = ("kimi_auth/**/*.py",)  # docstrings, comments, and every other string: it may reach a user
COMMENTS: Final = ("tests/**/*.py", "tools/**/*.py", "examples/**/*.py")  # docstrings and comments
WHOLE: Final = (
    *("*.md", "docs/**/*.md", "machines/*", "kimi_auth/**/*.toml", "kimi_auth/**/*.js", "kimi_auth/**/*.css"),
    *("examples/**/*.md", "examples/**/*.yml", "tests/*.toml", "diagrams/hooks.toml", "pyproject.toml", "mkdocs.yml"),
    *("Makefile", ".github/**/*.yml", ".github/**/*.md"),
)
AROUND: Final = 80  # characters before and after a finding in which an exception's phrase may begin and end


class Text(NamedTuple):
    """A run of prose: the line on which it begins in its file, and what it says."""

    line: int
    content: str


class Finding(NamedTuple):
    """A match in `content`, which begins on line `first` of `file`."""

    file: str
    first: int
    content: str
    match: re.Match[str]

    def covered(self, phrase: str) -> bool:
        """Whether the regular expression `phrase` matches a stretch of the text that this finding is in."""
        start, end = self.match.span()
        begin = max(start - AROUND, 0)
        found = re.finditer(phrase.replace(" ", r"\s+"), self.content[begin : end + AROUND], re.IGNORECASE)
        return any(one.start() < end - begin and one.end() > start - begin for one in found)

    def said(self, advice: str) -> str:
        """The finding on one line."""
        start, end = self.match.span()
        line = self.first + self.content.count("\n", 0, start)
        around = " ".join(self.content[max(start - 40, 0) : end + 40].split())
        return f"{self.file}:{line}: {' '.join(self.match[0].split())!r} in {around!r}; write: {advice}"


def comments(source: str) -> Iterator[Text]:
    """Neighbouring comments are one text: a sentence goes on in the next line."""
    run, last = Text(0, ""), -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                yield run
                run = Text(token.start[0], "")
            run, last = Text(run.line, f"{run.content}{token.string.lstrip('# ')}\n"), token.start[0]
    yield run


def strings(tree: ast.Module, *, messages: bool) -> Iterator[Text]:
    """Docstrings, and with `messages` every other string; an f-string is one text, its values left out."""
    inside: set[int] = set()
    for node in ast.walk(tree):  # parents before children
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            inside.update(id(name) for name in ast.walk(node.value))  # names, not texts
        elif isinstance(node, ast.JoinedStr) and messages:
            inside.update(id(value) for value in node.values)
            parts = (str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield Text(node.lineno, "".join(parts))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(id(node.value))
            yield Text(node.lineno, str(node.value.value))
        elif messages and isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield Text(node.lineno, node.value)


def texts(root: Path) -> Iterator[tuple[str, Text]]:
    """Every text that the check reads, with its file's path below `root`."""
    for globs in (MESSAGES, COMMENTS, WHOLE):
        for file in sorted({file for glob in globs for file in root.glob(glob) if file.is_file()}):
            name, source = file.relative_to(root).as_posix(), file.read_text("utf-8")
            if "node_modules" in name:
                continue
            if globs is WHOLE:
                yield name, Text(1, re.sub(r"(?m)^(\s*)#", r"\1 ", source))
                continue
            for text in (*comments(source), *strings(ast.parse(source), messages=globs is MESSAGES)):
                yield name, text


def findings(root: Path, rules: list[dict[str, str]]) -> Iterator[tuple[Finding, str]]:
    """Every match of a rule, with the rule's advice, before exceptions."""
    families = "|".join(f"({rule['words']})" for rule in rules).replace(" ", r"\s+")
    pattern = re.compile(rf"\b(?:{families})\b", re.IGNORECASE)
    for file, (first, content) in texts(root):
        for match in pattern.finditer(content):
            yield Finding(file, first, content, match), rules[(match.lastindex or 1) - 1]["write"]


def check(root: Path, rules: list[dict[str, str]], exceptions: list[dict[str, str]]) -> Iterator[str]:
    """One line for each finding that no exception covers, and for each exception that covers none or has no reason."""
    used: set[int] = set()
    for found, advice in findings(root, rules):
        rows = {
            number
            for number, row in enumerate(exceptions)
            if Path(found.file).match(row.get("file", "*")) and found.covered(row["phrase"])
        }
        used |= rows
        if not rows:
            yield found.said(advice)
    for number, row in enumerate(exceptions):
        if number not in used or not row["why"]:
            yield f"{DATA}: {row['phrase']!r} covers no finding, or has no reason: remove it"


def load(root: Path = ROOT) -> dict[str, Any]:
    return tomllib.loads((root / DATA).read_text("utf-8"))


def main(argv: list[str]) -> int:
    root = Path(argv[0]) if argv else ROOT
    data = load(root)
    lines = list(check(root, data["rule"], data.get("exception", [])))
    print(*lines, sep="\n", end="\n" if lines else "")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
