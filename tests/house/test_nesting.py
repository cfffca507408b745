"""JSON and TOML of others may be nested deeper than Python's stack: what reads them expects RecursionError."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import kimi_auth

PACKAGE = Path(kimi_auth.__file__).parent
READERS = {"json.loads", "json.load", "tomllib.loads", "tomllib.load"}
EXPECTED = {"RecursionError", "Exception", "BaseException"}

OWN = {
    "cli/demo.py": "its own emulator and its own share dir",
    "machine/recorder.py": "what the tests of this project measured",
    "models/tomlscan.py": "one key, whose text has no values in it",
    "models/tomltext.py": "its callers expect it, as its docstring says",
    "platforms/spec.py": "the package's own builtin.toml",
    "proof/scenarios.py": "the package's own scenarios.toml",
    "proof/walks.py": "the figures that this project made",
}
"""The modules that read what no other party wrote, and why."""


def unexpected(source: str) -> list[int]:
    """The lines that read JSON or TOML outside of a `try` that expects RecursionError."""
    return sorted(_unexpected(ast.parse(source), is_expected=False))


def _unexpected(node: ast.AST, *, is_expected: bool) -> Iterator[int]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        is_expected = False
    if isinstance(node, ast.Call) and ast.unparse(node.func) in READERS and not is_expected:
        yield node.lineno
    guarded = node.body if isinstance(node, ast.Try) and _expects(node) else []
    for child in ast.iter_child_nodes(node):
        yield from _unexpected(child, is_expected=is_expected or child in guarded)


def _expects(block: ast.Try) -> bool:
    caught = [handler.type for handler in block.handlers]
    return None in caught or any(
        isinstance(part, ast.Name) and part.id in EXPECTED for kind in caught if kind for part in ast.walk(kind)
    )


def test_every_reader_expects_it() -> None:
    """A file, an answer or a variable that is nested without end is as good as any other that cannot be read."""
    found = {
        str(file.relative_to(PACKAGE))
        for file in sorted(PACKAGE.rglob("*.py"))
        if "testing" not in file.parts and unexpected(file.read_text("utf-8"))
    }
    assert found == set(OWN)


def test_a_reader_that_does_not_is_seen() -> None:
    """Outside of a `try`, in one that expects something else, and in a function that is only made inside of one."""
    assert unexpected("json.loads(x)") == [1]
    assert unexpected("try:\n    json.loads(x)\nexcept ValueError:\n    tomllib.loads(y)") == [2, 4]
    assert unexpected("try:\n    f = lambda: json.loads(x)\nexcept RecursionError:\n    pass") == [2]
    for handler in ("except:", "except RecursionError:", "except (ValueError, RecursionError) as error:"):
        assert unexpected(f"try:\n    json.loads(x)\n{handler}\n    pass") == []
