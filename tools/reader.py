"""Draw functions whose file a reader is to name from their job: do the names of rooms and modules say what lives there?

    python tools/reader.py --seed 7             twenty jobs, and the first sentence of each module; show both to one who has not seen the code
    python tools/reader.py --seed 7 --answers   the files

Drawn are functions whose docstring has at least 30 characters (a shorter one makes sense beside the name alone): public ones,
and private ones of at least eight lines. Left out is what says nothing about its file: methods of a Protocol, which say what
others do; double-underscore methods; functions inside of functions; properties of one statement. Same code and seed, same draw.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

PACKAGE: Final = Path(__file__).resolve().parents[1] / "kimi_auth"
PRIVATE_LINES_MIN: Final = 8
CHARACTERS_MIN: Final = 30


class Job(NamedTuple):
    """A function: its docstring and its location."""

    says: str
    module: str
    name: str


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or PACKAGE.name


def about(file: Path) -> str:
    """The first sentence of a file's docstring: a reader has opened each file once, and read its head."""
    says = " ".join((ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").split())
    return says.partition(". ")[0]


def jobs(file: Path) -> Iterator[Job]:
    """The functions of a file that may be drawn, methods included."""
    for node in functions(ast.parse(file.read_text("utf-8"))):
        if says := ast.get_docstring(node):
            says = " ".join(inspect.cleandoc(says).split())
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            is_private = node.name.startswith("_")
            if len(says) >= CHARACTERS_MIN and not (is_private and lines < PRIVATE_LINES_MIN):
                yield Job(says, module_of(file), node.name)


def functions(at: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions of a module and methods of its classes, without those that say nothing about their file."""
    for node in at.body:
        if isinstance(node, ast.ClassDef) and not any("Protocol" in ast.unparse(base) for base in node.bases):
            yield from functions(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not (
            is_special(node) or is_short_property(node)
        ):
            yield node


def is_special(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return node.name.startswith("__") and node.name.endswith("__")


def is_short_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is a property of one statement beside its docstring."""
    return any(ast.unparse(one) == "property" for one in node.decorator_list) and len(node.body) <= 2


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw functions whose file a reader is to name from their job.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--answers", action="store_true", help="print the files instead of the jobs")
    asked = parser.parse_args()
    files = sorted(PACKAGE.rglob("*.py"))
    drawn = random.Random(asked.seed).sample([job for file in files for job in jobs(file)], asked.count)
    for number, job in enumerate(drawn, 1):
        print(f"{number:2}. {f'{job.module} ({job.name})' if asked.answers else job.says}")
    if not asked.answers:
        print("\nIn which module is each? The modules:\n")
        print("\n".join(f"{module_of(file)}: {about(file)}" for file in files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
