"""The text check of `make check`: plain words in docstrings, comments, messages, documents and machines.

    python tools/words.py [ROOT]

Prints one line for each finding: file, line, the words found, and what to write instead. Exit status 1 if there are any.
`tools/words_excepted.toml` lists the argued exceptions; one that matches nothing is a finding too.
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
EXCEPTED: Final = "tools/words_excepted.toml"

MESSAGES: Final = ("kimi_auth/**/*.py",)  # docstrings, comments, and every other string: it may reach a user
COMMENTS: Final = ("tests/**/*.py", "tools/**/*.py", "examples/**/*.py")  # docstrings and comments
WHOLE: Final = (
    "*.md", "docs/**/*.md", "machines/*", "examples/**/*.md", "examples/**/*.yml", "kimi_auth/**/*.toml",
    "kimi_auth/**/*.js", "kimi_auth/**/*.css", "tests/*.toml", "diagrams/hooks.toml", "pyproject.toml", "mkdocs.yml",
    "Makefile", ".github/**/*.yml", ".github/**/*.md",
)  # fmt: skip
SKIPPED: Final = frozenset({"node_modules", "words.py", "words_excepted.toml"})

VERBS: Final = (
    "is|isn't|was|wasn't|are|were|stands|stood|has|had|may|might|must|can|cannot|could|there (?:is|are|was|were)"
)
RULES: Final = {
    rf"what (?:else )?(?:{VERBS})": "name the thing: `what is stored` -> `the stored pair`",
    r"nobody(?:'s|'ll)?|somebody(?:'s)?|whoever|whomever|everybody(?:'s)?": "name the actor, or use the passive",
    r"troubles?": "error",
    r"weather": "transient error, or expected failure",
    r"mend(?:s|ed|ing|able)?": "fix",
    r"strangers?": "another host, another user, an unrelated file",
    r"heirs?": "staged pair",
    r"words": "message, text",
    r"places?": "location",
    r"pac(?:e|ed|ing)": "backoff",
    r"doubting|doubtful|uncertain|ambiguous": "in doubt",
    r"unclear": "unrecognized",
    r"flights|seats?|landing|booked|take_off": "single flight: call, waiter, result",
    r"surroundings|wiring": "ports, components, environment",
    r"judg(?:e|es|ed|ing)|weigh(?:s|ed|ing)?": "classify, check, compare",
    r"memos?": "cached catalogue",
    r"happenings|logbooks?": "environment move, walk file",
    r"survivors?": "equivalent mutant",
}  # fmt: skip


class Text(NamedTuple):
    """A run of prose: the line on which it begins in its file, and what it says."""

    line: int
    content: str


class Finding(NamedTuple):
    file: str
    line: int
    words: str
    around: str
    advice: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.words!r} in {self.around!r}: {self.advice}"


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
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and messages:
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
            if SKIPPED.intersection(file.relative_to(root).parts):
                continue
            name, source = file.relative_to(root).as_posix(), file.read_text("utf-8")
            if globs is WHOLE:
                yield name, Text(1, re.sub(r"(?m)^(\s*)#", r"\1 ", source))
                continue
            for text in comments(source):
                yield name, text
            for text in strings(ast.parse(source), messages=globs is MESSAGES):
                yield name, text


def findings(root: Path) -> Iterator[Finding]:
    """Every match of a rule, before exceptions."""
    rules = [
        (re.compile(rf"\b(?:{rule})\b".replace(" ", r"\s+"), re.IGNORECASE), advice) for rule, advice in RULES.items()
    ]
    for file, (first, content) in texts(root):
        for rule, advice in rules:
            for match in rule.finditer(content):
                around = content[max(match.start() - 40, 0) : match.end() + 40]
                line = first + content.count("\n", 0, match.start())
                yield Finding(file, line, " ".join(match.group().split()), " ".join(around.split()), advice)


def check(root: Path, excepted: list[dict[str, Any]]) -> Iterator[str]:
    """One line for each finding that no exception covers, and for each exception that covers none.

    An exception has `phrase` (a regular expression that matches the finding with 40 characters around it), `why`, and
    optionally `file` (a glob).
    """
    used: set[int] = set()
    for found in findings(root):
        covers = [
            number
            for number, row in enumerate(excepted)
            if Path(found.file).match(row.get("file", "*")) and re.search(row["phrase"], found.around, re.IGNORECASE)
        ]
        used.update(covers)
        if not covers:
            yield str(found)
    for number, row in enumerate(excepted):
        if number not in used or not row["why"]:
            yield f"{EXCEPTED}: {row['phrase']!r} excepts nothing, or has no reason: remove it"


def main(argv: list[str]) -> int:
    root = Path(argv[0]) if argv else ROOT
    data = tomllib.loads((root / EXCEPTED).read_text("utf-8"))
    lines = list(check(root, data["exception"]))
    print(*lines, sep="\n", end="\n" if lines else "")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
