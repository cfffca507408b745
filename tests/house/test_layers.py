"""Rooms import downwards only, and each third-party package has its rooms: read from the source, not from what runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp

import kimi_auth

PACKAGE = Path(kimi_auth.__file__).parent

THIRD_PARTY = {
    "PyInstaller": {"__pyinstaller"},
    "brotli": {"wire"},
    "filelock": {"store", "models"},
    "aiohttp": {"clients"},  # types only
    "anthropic": {"clients"},
    "certifi": {"wire"},
    "cryptography": {"store"},
    "httpx": {"support", "clients", "cli"},  # types only, but for the demo, which is a client like any other
    "httpx2": {"support", "clients"},  # types only
    "idna": {"clients"},
    "keyring": {"store"},
    "psycopg": {"store"},
    "pydantic": {"platforms", "models"},
    "requests": {"clients"},  # types only
    "pytest": {"testing"},
    "rich": {"cli"},
    "segno": {"cli"},
    "h11": {"serving"},
    "starlette": {"serving", "testing"},
    "transitions": {"machine"},
    "typer": {"cli"},
    "uvicorn": {"serving"},
    "websockets": {"clients"},
    "zstandard": {"wire"},
}
"""Which rooms may import what: a package that is to be replaced one day is imported by one room."""


def test_arrows_point_down() -> None:
    """The contracts in pyproject.toml hold: no room imports a neighbour or anything above it, no modules form a circle."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_packages_stay_in_their_rooms() -> None:
    """Only cli draws on terminals, only the emulator serves HTTP, and so on; nothing undeclared is imported, and no room
    imports the names of `kimi_auth` itself, which are above all rooms."""
    graph = grimp.build_graph("kimi_auth", include_external_packages=True, cache_dir=None)
    outside = {name for name in graph.modules if name.partition(".")[0] != "kimi_auth"}
    found = {
        name: {importer.split(".")[1] for importer in graph.find_modules_that_directly_import(name)}
        for name in {"kimi_auth", *outside}
        if name not in sys.stdlib_module_names and not name.startswith("_")  # `_sha2`: the interpreter's own
    }
    assert found.pop("kimi_auth") == set()
    assert found == THIRD_PARTY


def test_rooms_are_packages() -> None:
    """Every folder with source has an `__init__.py`, which says what the room is for; tools skip those without."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder.name for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


LINES_MAX = 300
LONG = {
    "wire/tables.py": 500,  # data: one row for each answer
    "store/postgres/sql.py": 450,  # data: statements
}
"""Modules that may be longer, and why."""


def test_modules_stay_short() -> None:
    """A module has at most 300 lines, but for data."""
    lines = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name: found for name, found in lines.items() if found > LONG.get(name, LINES_MAX)} == {}
