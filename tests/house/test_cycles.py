"""No two modules of a room need each other: a reader can read those below a module first, and then it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import kimi_auth

PACKAGE = Path(kimi_auth.__file__).parent


def needs(package: Path) -> dict[str, set[str]]:
    """By module, dotted: the modules of the same package that are loaded when it is."""
    files = {_name(file.relative_to(package.parent)): file for file in sorted(package.rglob("*.py"))}
    return {
        name: {
            found
            for node in _at_run_time(ast.parse(file.read_text("utf-8")).body)
            for asked in _asked(node, name if file.name == "__init__.py" else name.rpartition(".")[0])
            if (found := _module(asked, files)) and found != name
        }
        for name, file in files.items()
    }


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that need each other in a circle, the first one again at the end; none is an order in which all can load."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(name) for name in reversed(error.args[1])]
    return []


def _name(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _at_run_time(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is loaded; imports for the type checker alone, or in a function, do not."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _at_run_time(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            for inner in ("body", "handlers", "orelse", "finalbody"):
                for part in getattr(node, inner, ()):
                    yield from _at_run_time(part.body if isinstance(part, ast.ExceptHandler) else [part])
        else:
            yield node


def _asked(node: ast.stmt, folder: str) -> list[str]:
    """The dotted names that a statement imports; `folder` is the package in which it stands."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    above = folder.split(".")[: len(folder.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    return [f"{base}.{alias.name}" for alias in node.names]


def _module(name: str, files: dict[str, Path]) -> str:
    """The module that `name` is or is in, "" for one of another package."""
    while name and name not in files:
        name = name.rpartition(".")[0]
    return name


def test_modules_can_be_read_in_order() -> None:
    """There is an order in which every module comes after those that it needs."""
    assert circle(needs(PACKAGE)) == []


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Writes the files of a package and gives its folder."""

    def put(files: dict[str, str]) -> Path:
        for name, text in files.items():
            file = tmp_path / "house" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path / "house"

    return put


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("from . import b", "from .a import x", True),
        ("import house.room.b", "from house.room import a", True),
        ("from ..room.b import x", "try:\n    from .a import x\nexcept ImportError:\n    x = 0", True),
        ("from .b import x", "class C:\n    from .a import x", True),
        ("from .b import x", "try:\n    x = 0\nexcept ImportError:\n    from . import a", True),
        ("from .b import x", "def f():\n    from .a import x", False),
        ("from .b import x", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import x", False),
        ("from .b import x", "if TYPE_CHECKING:\n    pass\nelse:\n    from . import a", True),
        ("from .b import x", "import a", False),
    ],
)
def test_circles_are_seen(write: Callable[[dict[str, str]], Path], one: str, other: str, found: bool) -> None:
    """Two modules that load each other are found, however it is written; an import inside a function is no circle."""
    folder = write({"__init__.py": "", "room/__init__.py": "", "room/a.py": one, "room/b.py": other})
    said = circle(needs(folder))
    assert bool(said) == found
    assert set(said) == ({"house.room.a", "house.room.b"} if found else set())


def test_a_package_needs_its_modules(write: Callable[[dict[str, str]], Path]) -> None:
    """A module that asks its own package for what another module has goes round in a circle, too."""
    folder = write({"__init__.py": "from .a import x", "a.py": "from house import y", "b.py": ""})
    assert circle(needs(folder))[0] in {"house", "house.a"}
