"""Rooms import downwards only, and each third-party package has its rooms: read from the source, not from what runs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import kimi_auth

PACKAGE = Path(kimi_auth.__file__).parent

RANKS = (
    {"text", "lazily", "loops", "system"},
    {"machine", "token", "errors", "clock", "files", "children", "once", "_version"},
    {"store", "wire"},
    {"clients", "platforms", "browser"},
    {"credential", "models"},
    {"login"},
    {"components"},
    {"session"},
    {"review", "proof", "testing"},
    {"cli", "compat", "renewal"},
    {"__init__", "__main__", "__pyinstaller"},
)
"""From the ground up. A room imports from the ranks below its own and from itself, never from its neighbours."""

THIRD_PARTY = {
    "PyInstaller": {"__pyinstaller"},
    "brotli": {"wire"},
    "filelock": {"store", "models"},
    "httpx": {"wire", "clients", "cli"},  # cli: the demo is a client like any other
    "keyring": {"store"},
    "pydantic": {"platforms", "models"},
    "rich": {"cli"},
    "segno": {"cli"},
    "starlette": {"testing"},
    "tomlkit": {"models"},
    "transitions": {"machine"},
    "typer": {"cli"},
    "uvicorn": {"testing"},
    "zstandard": {"wire"},
}
"""Which rooms may import what: a package that is to be replaced one day stands in one place."""


class Import(NamedTuple):
    """One import: the file and line where it stands, the room it is in, and the dotted name that it asks for."""

    place: str
    room: str
    name: str


def imports(package: Path) -> Iterator[Import]:
    """Every import in the source of `package`, wherever in a file it stands, absolute names only."""
    for file in sorted(package.rglob("*.py")):
        inside = file.relative_to(package)
        room = inside.parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            for name in _names(node, (package.name, *inside.parts[:-1])):
                yield Import(f"{package.name}/{inside}:{getattr(node, 'lineno', 0)}", room, name)


def _names(node: ast.AST, folder: tuple[str, ...]) -> list[str]:
    """What a node imports. `from x import y` counts as x.y, for y may be a module."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(level=0, module=str(module)):
            return [f"{module}.{alias.name}" for alias in node.names]
        case ast.ImportFrom(level=level, module=module):
            base = [*folder[: len(folder) - level + 1], *([module] if module else [])]
            return [".".join([*base, alias.name]) for alias in node.names]
        case ast.Call(
            func=ast.Name("import_module") | ast.Attribute(attr="import_module"), args=[ast.Constant(str(module)), *_]
        ):
            return [module]
    return []


def wrong_arrows(package: Path) -> list[str]:
    """Imports between rooms that go up or sideways, and rooms that no rank knows, one line each."""
    rank = {room: number for number, rooms in enumerate(RANKS) for room in rooms}
    wrong = []
    for place, room, name in imports(package):
        top, _, inside = name.partition(".")
        if top != package.name:
            continue
        first = inside.partition(".")[0]
        target = first if first in rank or _is_room(package, first) else "__init__"
        unknown = {room, target} - rank.keys()
        if unknown:
            wrong.append(f"{place}: no rank knows {', '.join(sorted(unknown))}")
        elif target != room and rank[target] >= rank[room]:
            wrong.append(f"{place}: {room} must not import {target} ({name})")
    return wrong


def _is_room(package: Path, name: str) -> bool:
    return bool(name) and ((package / name).is_dir() or (package / f"{name}.py").is_file())


def wrong_packages(package: Path) -> list[str]:
    """Third-party imports outside of the rooms that may have them, one line each."""
    found = []
    for place, room, name in imports(package):
        top = name.partition(".")[0]
        if (
            top == package.name or top in sys.stdlib_module_names or top.startswith("_")
        ):  # `_sha2`: the interpreter's own
            continue
        if room not in THIRD_PARTY.get(top, set()):
            found.append(f"{place}: {room} must not import {top}")
    return found


def test_arrows_point_down() -> None:
    """No room of the package imports a neighbour or anything above it."""
    assert wrong_arrows(PACKAGE) == []


def test_packages_stay_in_their_rooms() -> None:
    """Only cli draws on terminals, only the emulator serves HTTP, and so on; nothing undeclared is imported."""
    assert wrong_packages(PACKAGE) == []


def test_ranks_name_what_there_is() -> None:
    """Every file and folder of the package has a rank, and every rank a file or folder."""
    there = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert there == set().union(*RANKS)


def test_rooms_are_packages() -> None:
    """Every folder with source has an `__init__.py`, which says what the room is for; tools skip those without."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder.name for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes one file of an otherwise empty package and gives the package's folder."""

    def put(name: str, text: str) -> Path:
        file = tmp_path / "house" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path / "house"

    return put


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "store/a.py",
            "import house.credential",
            ["house/store/a.py:1: store must not import credential (house.credential)"],
        ),
        (
            "store/a.py",
            "from house import credential",
            ["house/store/a.py:1: store must not import credential (house.credential)"],
        ),
        ("store/a.py", "from house.wire import x", ["house/store/a.py:1: store must not import wire (house.wire.x)"]),
        ("store/a.py", "from ..wire import x", ["house/store/a.py:1: store must not import wire (house.wire.x)"]),
        ("store/a.py", "from .. import wire", ["house/store/a.py:1: store must not import wire (house.wire)"]),
        ("store/in/a.py", "from ...cli import x", ["house/store/in/a.py:1: store must not import cli (house.cli.x)"]),
        ("token.py", "import house.errors", ["house/token.py:1: token must not import errors (house.errors)"]),
        (
            "credential/a.py",
            "from house import Session",
            ["house/credential/a.py:1: credential must not import __init__ (house.Session)"],
        ),
        ("cli/a.py", "import house", ["house/cli/a.py:1: cli must not import __init__ (house)"]),
        (
            "cli/a.py",
            "import_module('house.compat')",
            ["house/cli/a.py:1: cli must not import compat (house.compat)"],
        ),
        (
            "store/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.session import Session\n",
            ["house/store/a.py:3: store must not import session (house.session.Session)"],
        ),
        ("store/a.py", "def f():\n    import house.cli", ["house/store/a.py:2: store must not import cli (house.cli)"]),
        ("attic/a.py", "import house.token", ["house/attic/a.py:1: no rank knows attic"]),
        ("store/a.py", "import house.token, os\nfrom . import b\nfrom .b import c\nfrom ..errors import d", []),
        ("__init__.py", "from .session import Session", []),
        ("compat/a.py", "from house.platforms.registry import get", []),
    ],
)
def test_wrong_arrows_are_seen(write: Callable[[str, str], Path], file: str, text: str, said: list[str]) -> None:
    """Every way to write an import up or sideways is found; imports down and at home are not."""
    assert wrong_arrows(write(file, text)) == said


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("credential/a.py", "from rich.text import Text", ["house/credential/a.py:1: credential must not import rich"]),
        ("session.py", "import typer", ["house/session.py:1: session must not import typer"]),
        ("wire/a.py", "def f():\n    import requests", ["house/wire/a.py:2: wire must not import requests"]),
        ("cli/a.py", "import os, rich, typer\nfrom . import b", []),
    ],
)
def test_wrong_packages_are_seen(write: Callable[[str, str], Path], file: str, text: str, said: list[str]) -> None:
    """A package in a room that must not know it is found, and so is one that nobody declared."""
    assert wrong_packages(write(file, text)) == said
