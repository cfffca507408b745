"""Texts that no file of the project may hold: paths of one machine, notes to self, addresses of package registries."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

# Written so that this file does not find itself.
FORBIDDEN = {
    "a package registry's host name": r"pypi\.(?:org)|python(?:hosted)\.org|npm(?:js)\.(?:org|com)|yarn(?:pkg)\.com|proxy\.golang\.(?:org)",
    "a path of one machine": r"(?<![\w.<])/(?:work|root|Users)/|(?<![\w.])/home/(?!user\b)[a-z]+/",
    "a note to self": r"\b(?:TO[D]O|FIX[M]E|XX[X]|HAC[K])\b",
    "an unwritten document": r"\b(?:DESI[G]N|PROTOCO[L]|COMPA[T]|WIR[E]|MODEL[S])\.md\b",
    "an issue number": r"(?i)\b(?:issue|bug|ticket|pull request|pr)\s+#\d+|\(#\d+\)",
}
LEFT_BY_TOOLS = re.compile(r"(^|/)(\.(?!ci/|gitignore$)|node_modules|__pycache__|build/|dist/|htmlcov)")
BINARY = {".mo", ".png", ".gif", ".ico", ".woff2"}


def files() -> Iterator[Path]:
    """What git tracks or would track; in an unpacked source archive, everything but what tools left there."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        found = {CHECKOUT / name for name in listed.stdout.split("\0") if name}
    else:
        found = {file for file in CHECKOUT.rglob("*") if not LEFT_BY_TOOLS.search(str(file.relative_to(CHECKOUT)))}
    return (file for file in sorted(found) if file.is_file() and file.suffix not in BINARY)


def findings(text: str) -> list[str]:
    """The findings in a text, one line each."""
    return [
        f"{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r} is {kind}"
        for kind, pattern in FORBIDDEN.items()
        for match in re.finditer(pattern, text)
    ]


def test_no_forbidden_words() -> None:
    """No file holds one of them."""
    found = [f"{file.relative_to(CHECKOUT)}:{line}" for file in files() for line in findings(file.read_text("utf-8"))]
    assert found == []


def test_files_are_found() -> None:
    """The search sees the source, the machines and the pages for people."""
    names = {str(file.relative_to(CHECKOUT)) for file in files()}
    assert {"kimi_auth/session.py", "machines/token_refresh.toml", "README.md", "Makefile", ".ci/run"} <= names
    assert not [name for name in names if "node_modules" in name]


@pytest.mark.parametrize(
    "text",
    [
        "see pypi" + ".org",
        "https://registry.npm" + "js.org/x",
        "cp /wo" + "rk/main",
        "in /ro" + "ot/.cache",
        "# TO" + "DO: later",
        "as DESIGN" + ".md says",
        "fixes issue " + "#123",
    ],
)
def test_they_are_seen(text: str) -> None:
    """Each kind is found, with its line."""
    (line,) = findings(f"fine\n{text}\n")
    assert line.startswith("2: ")
