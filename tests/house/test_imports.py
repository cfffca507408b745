"""What is loaded when: the cheap doors stay cheap."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

MEASURE = """
import runpy, sys
before = set(sys.modules)
try:
    {action}
finally:
    new = {{name.partition(".")[0] for name in sys.modules.keys() - before}}
    print(*sorted(new - set(sys.stdlib_module_names)), file=sys.stderr)
"""

PROGRAM = "runpy.run_module('kimi_auth', run_name='__main__', alter_sys=True)"


def loads(action: str, *argv: str) -> tuple[str, set[str]]:
    """What `action` printed in a new interpreter, and the top-level packages outside of the standard library it loaded."""
    command = [sys.executable, "-c", MEASURE.format(action=action), *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, {
        name for name in done.stderr.split() if not name.startswith("_")
    }  # `_…`: the interpreter's own


def with_requirements(*packages: str) -> set[str]:
    """The modules of these packages, and of all that they require on every system."""
    wanted: set[str] = set()
    new = set(packages)
    while new:
        wanted |= new
        needs = [need for package in new for need in requires(package) or () if ";" not in need]
        new = {one_spelling(re.split(r"[^\w.-]", need)[0]) for need in needs} - wanted
    return {
        module
        for module, owners in packages_distributions().items()
        if wanted & {one_spelling(name) for name in owners}
    }


def one_spelling(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.fixture
def record(home: Path) -> dict[str, object]:
    """A login with time to spare, stored where this test's share dir is."""
    record: dict[str, object] = {
        "access_token": "access-of-the-test",
        "refresh_token": "refresh-of-the-test",
        "expires_at": time.time() + 900,
        "expires_in": 900,
        "scope": "",
        "token_type": "Bearer",
    }
    file = home / ".kimi" / "credentials" / "kimi-code.json"
    file.parent.mkdir(parents=True, mode=0o700)
    file.write_text(json.dumps(record))
    file.chmod(0o600)
    return record


def test_the_measure_works() -> None:
    """Loading a third-party package is seen."""
    assert "httpx" in loads("import kimi_auth.wire")[1]


def test_import_kimi_auth() -> None:
    """`import kimi_auth` loads the package and nothing of others."""
    assert loads("import kimi_auth")[1] == {"kimi_auth"}


def test_public_names_are_lazy() -> None:
    """Errors and Token come without a third-party package; every public name comes."""
    assert loads("from kimi_auth import NotSignedIn, Token, __version__")[1] == {"kimi_auth"}
    assert "httpx" in loads("from kimi_auth import *")[1]


def test_drawing_a_machine() -> None:
    """`diagram NAME --format svg` loads pydantic and what draws the command line, and nothing of others: no HTTP, no
    engine, no lock."""
    said, loaded = loads(PROGRAM, "diagram", "device_login", "--format", "svg")
    assert said.startswith("<!--")
    assert said.endswith("</svg>\n")
    assert {"pydantic", "typer"} <= loaded <= {"kimi_auth"} | with_requirements("pydantic", "typer")


@pytest.mark.parametrize(
    ("argv", "strangers"),
    [
        (("--version",), {"pydantic", "httpx", "tomlkit", "transitions", "filelock", "starlette", "uvicorn"}),
        (("status",), {"segno", "starlette", "uvicorn", "keyring"}),
    ],
)
@pytest.mark.usefixtures("record")
def test_commands_load_their_own(argv: tuple[str, ...], strangers: set[str]) -> None:
    """No command waits for the packages of another one."""
    loaded = loads(PROGRAM, *argv)[1]
    assert "typer" in loaded
    assert not loaded & strangers


def test_fast_lane(record: dict[str, object]) -> None:
    """`python -m kimi_auth token` with a fresh token prints it and loads nothing of others."""
    said, loaded = loads(PROGRAM, "token")
    assert said == f"{record['access_token']}\n"
    assert loaded == {"kimi_auth"}
