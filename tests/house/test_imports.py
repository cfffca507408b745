"""Modules that each command loads: the cheap commands stay cheap."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from house.environments import CHECKOUT, PYTHONS, find_python, unmeasured
from kimi_auth.testing.emulator import Emulator

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
    assert "httpx" in loads("from kimi_auth.support.http_libraries import library_for; library_for()")[1]


def test_import_kimi_auth() -> None:
    """`import kimi_auth` loads the package and nothing of others."""
    assert loads("import kimi_auth")[1] == {"kimi_auth"}


def test_public_names_are_lazy() -> None:
    """Errors and Token come without a third-party package; every public name comes, and none loads an HTTP library."""
    assert loads("from kimi_auth import NotSignedIn, Token, __version__")[1] == {"kimi_auth"}
    loaded = loads("from kimi_auth import *")[1]
    assert "pydantic" in loaded
    assert not loaded & {"httpx", "httpx2"}


def test_drawing_a_machine() -> None:
    """`diagram NAME --format svg` loads what reads the command line, and nothing of others: no HTTP, no engine, no lock."""
    said, loaded = loads(PROGRAM, "diagram", "device_login", "--format", "svg")
    assert said.startswith("<!--")
    assert said.endswith("</svg>\n")
    assert {"typer"} <= loaded <= {"kimi_auth"} | with_requirements("typer")
    assert not loaded & {"pydantic", "rich"}


HTTP = {"httpx", "httpcore", "anyio", "h11", "certifi", "ssl", "asyncio"}
CHECKING = {"pydantic", "pydantic_core", "annotated_types"}
DRAWING = {"rich", "pygments", "markdown_it"}
LOCKING = {"filelock"}
WALKING = {"transitions", "kimi_auth.machine.engine", "kimi_auth.machine.library", "kimi_auth.machine.lint"}
"""The machines and their engine: a look at a stored token walks nothing."""
COSTLY = WALKING | {"dataclasses", "random", "secrets", "typer", "click"}
"""A dataclass takes 1 ms to declare, a named tuple a quarter of that."""
NOT_FOR_A_STORED_TOKEN = HTTP | CHECKING | DRAWING | LOCKING | {"importlib.metadata", "zipfile"}
OF_OURS = {"kimi_auth.review", "kimi_auth.proof", "kimi_auth.testing", "kimi_auth.clients", "kimi_auth.models.tomlscan"}
SESSION = "from kimi_auth import Session; print(Session().access_token_sync())"


def all_modules(action: str, *argv: str) -> set[str]:
    """Every module, ours and the standard library's too, that is there at the end of `action` in a new interpreter."""
    told = (
        "import atexit, sys; atexit.register(lambda: print('loaded:', *sys.modules, file=sys.stderr))\nimport runpy\n"
    )
    command = [sys.executable, "-c", told + action, *argv]
    environ = unmeasured()
    environ.pop("KIMI_AUTH_EDGES", None)  # a recorder has looks walked
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("loaded:")[2].split())


@pytest.mark.parametrize(
    ("action", "argv"),
    [
        (SESSION, ()),
        (PROGRAM, ("status",)),
        (PROGRAM, ("status", "--json")),
        (PROGRAM, ("status", "--platform", "kimi-code")),
        (PROGRAM, ("token", "--format", "kubectl")),
        (PROGRAM, ("token", "--min-ttl", "1", "--home", "kimi-cli")),
        (PROGRAM, ("run", "--", "true")),
        (PROGRAM, ("run", "--env", "OPENAI_API_KEY", "--", "true")),
        (PROGRAM, ("--help",)),
        (PROGRAM, ("token", "--help")),
        (PROGRAM, ("--version", "--verbose")),
    ],
    ids=[
        "session",
        "status",
        "status --json",
        "status --platform",
        "token --format kubectl",
        "token --home",
        "run",
        "run --env",
        "--help",
        "token --help",
        "--version",
    ],
)
@pytest.mark.usefixtures("record")
def test_what_answers_from_disk_knows_nothing_of_the_rest(action: str, argv: tuple[str, ...]) -> None:
    """A stored token, its status in a pipe, and the help: no HTTP, no check of other people's data, no drawing, no
    lock, no archive; and nothing of the rooms that serve no login."""
    loaded = all_modules(action, *argv)
    assert not loaded & NOT_FOR_A_STORED_TOKEN
    assert not loaded & (set() if "--help" in argv or "--verbose" in argv else COSTLY)
    assert not {name for name in loaded if name.startswith(tuple(OF_OURS))}


NOT_FOR_A_RENEWAL = CHECKING | {"asyncio", "concurrent", "typer"}
RENEWAL = "from kimi_auth.session import Session; Session(one_shot=True).access_token_sync(refresh=True)"


@pytest.mark.parametrize(
    ("action", "argv", "besides"),
    [(RENEWAL, (), {"kimi_auth.cli", "kimi_auth.credential.status"}), (PROGRAM, ("token", "--refresh"), set[str]())],
    ids=["session", "token --refresh"],
)
def test_a_renewal_of_a_command_has_no_event_loop(
    kimi_emulator: Emulator, action: str, argv: tuple[str, ...], besides: set[str]
) -> None:
    """One request of a command that ends soon: no asyncio, no Typer, nothing that checks, draws or changes config.toml, and
    nothing of the other endpoints or of running clients; a session's has nothing of the command line or of a status either."""
    kimi_emulator.sign_in()
    loaded = all_modules(action, *argv)
    assert {"httpx", "filelock", "kimi_auth.wire.oauth"} <= loaded
    assert not loaded & NOT_FOR_A_RENEWAL
    unneeded = {"kimi_auth.models.planning", "kimi_auth.wire.loop_clients", "kimi_auth.wire.located", *besides}
    rooms = "kimi_auth.review", "kimi_auth.proof", "kimi_auth.testing", "kimi_auth.clients"
    assert not loaded & unneeded
    assert not {name for name in loaded if name.startswith(rooms)}


@pytest.mark.usefixtures("record")
def test_a_renewal_is_what_loads_http() -> None:
    """The measure sees HTTP and the lock where they are needed: at a renewal, which fails here for want of a server."""
    code = (
        "import os\n"
        "from kimi_auth import KimiAuthError, Session\n"
        "os.environ['HTTPS_PROXY'] = 'http://127.0.0.1:9'\n"
        "try: Session().access_token_sync(refresh=True, timeout_s=10)\n"
        "except KimiAuthError: pass\n"
        "from kimi_auth.store import FileStore; from kimi_auth.clock import SystemClock; import pathlib\n"
        "store = FileStore(pathlib.Path.home() / '.kimi', clock=SystemClock())\n"
        "with store.locked(0): pass\n"
        "import kimi_auth.wire; kimi_auth.wire.OAuthClient\n"
    )
    assert {"httpx", "filelock"} <= all_modules(code)


@pytest.mark.usefixtures("record")
def test_commands_load_their_own() -> None:
    """No command waits for the packages of another one."""
    loaded = loads(PROGRAM, "logout", "--help")[1]
    assert "typer" in loaded
    assert not loaded & {"segno", "starlette", "uvicorn", "keyring"}


@pytest.mark.parametrize("argv", [("token",), ("token", "--min-ttl", "60"), ("token", "--platform", "kimi-code")])
def test_fast_lane(record: dict[str, object], argv: tuple[str, ...]) -> None:
    """`python -m kimi_auth token` with a fresh token prints it and loads nothing of others."""
    said, loaded = loads(PROGRAM, *argv)
    assert said == f"{record['access_token']}\n"
    assert loaded == {"kimi_auth"}


@pytest.mark.parametrize("version", PYTHONS)
def test_fast_lane_on_every_python(record: dict[str, object], version: str, outside: dict[str, str]) -> None:
    """Each Python that is here answers the fast lane's command lines from the checkout alone, without any package."""
    python = find_python(version, outside)
    if python is None:
        pytest.skip(f"there is no {version} here")
    for argv in (["token"], ["token", "--json", "--min-ttl", "60"], ["--version"]):
        code = (
            f"import sys; sys.path.insert(0, {str(CHECKOUT)!r})\n"
            "from kimi_auth.__main__ import main\n"
            f"status = main({argv!r})\n"
            "print(status, *sorted(name for name in sys.modules if name.startswith('kimi_auth')), file=sys.stderr)"
        )
        done = subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
        status, *ours = done.stderr.split()
        assert status == "0"
        assert set(ours) <= {
            "kimi_auth",
            "kimi_auth.quick_files",
            "kimi_auth.__main__",
            "kimi_auth.selection",
            "kimi_auth.token",
            "kimi_auth._version",
        }
        assert str(record["access_token"]) in done.stdout or argv == ["--version"]
