"""The pytest plugin in a project of its own, in processes of its own: it works, and costs nothing where no test asks."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from kimi_auth import BearerAuth
from kimi_auth.testing import Emulator, StaticTokens

EXAMPLE = Path(__file__).parents[2] / "examples" / "fixtures_test.py"

# `kimi_auth` itself and its room `testing` are what the entry point's name loads; httpx and the others are not there.
INERT = """
import sys

HEAVY = ("httpx", "pydantic", "starlette", "uvicorn", "transitions", "filelock", "rich", "typer")
ALLOWED = {ALLOWED}

def test_inert():
    assert not [name for name in HEAVY if name in sys.modules]
    assert {name for name in sys.modules if name.startswith("kimi_auth")} == ALLOWED
"""
PLUGIN = {"kimi_auth", "kimi_auth.testing", "kimi_auth.testing.pytest_plugin"}


@pytest.fixture
def project(tmp_path: Path, outside: dict[str, str]) -> tuple[Path, dict[str, str]]:
    """A folder outside of the checkout, and an environment without this run's own settings."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-p no:cacheprovider'\n")
    kept = {"PATH": outside.get("PATH", os.defpath), "HOME": str(tmp_path), "COVERAGE_PROCESS_START": ""}
    return folder, kept


def pytest_in(project: tuple[Path, dict[str, str]], *argv: str) -> subprocess.CompletedProcess[str]:
    folder, environ = project
    command = [sys.executable, "-m", "pytest", "-q", *argv]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_the_example_passes_in_a_project_of_its_own(project: tuple[Path, dict[str, str]]) -> None:
    """Found by its entry point, without an import or a conftest; warnings are errors."""
    shutil.copy(EXAMPLE, project[0])
    done = pytest_in(project, "-W", "error", "-p", "no:randomly")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


@pytest.mark.parametrize(
    ("argv", "allowed"),
    [((), PLUGIN), (("-p", "no:kimi_auth"), set())],
    ids=["inert", "left out"],
)
def test_a_run_that_asks_for_nothing_loads_nothing(
    project: tuple[Path, dict[str, str]], argv: tuple[str, ...], allowed: set[str]
) -> None:
    """The plugin loads its own module and nothing else; `-p no:kimi_auth` not even that."""
    blocked = ("-p", "no:anyio", "-p", "no:hypothesispytest", "-p", "no:_hypothesis_pytestplugin", "-p", "no:cov")
    (project[0] / "test_inert.py").write_text(INERT.replace("{ALLOWED}", repr(allowed)))
    done = pytest_in(project, *blocked, *argv)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_the_extra_only_the_emulator_says_so(project: tuple[Path, dict[str, str]]) -> None:
    """`kimi_login` needs no extra; `kimi_emulator` names the command that adds it."""
    (project[0] / "conftest.py").write_text("import sys\nsys.modules['uvicorn'] = None\n")
    (project[0] / "test_it.py").write_text(
        "def test_login(kimi_login): assert kimi_login.session.access_token_sync() == 'access-1'\n"
        "def test_emulator(kimi_emulator): pass\n"
    )
    done = pytest_in(project)
    assert "1 passed, 1 error" in done.stdout
    assert "kimi-auth[emulator]" in done.stdout


def test_what_happens_to_a_login(project: tuple[Path, dict[str, str]]) -> None:
    """Each method of `Login` does what its name says, and each test has a login and a home of its own."""
    (project[0] / "test_it.py").write_text(
        "import os, subprocess, sys\n"
        "import pytest\n"
        "from kimi_auth import NotSignedIn, Revoked, Session\n"
        "def test_sign_out(kimi_login):\n"
        "    kimi_login.sign_out()\n"
        "    with pytest.raises(NotSignedIn): kimi_login.session.access_token_sync()\n"
        "    kimi_login.sign_in()\n"
        "    assert kimi_login.session.access_token_sync() == 'access-2'\n"
        "def test_expire(kimi_login, kimi_clock):\n"
        "    kimi_login.expire()\n"
        "    assert kimi_login.session.access_token_sync() == 'access-2'\n"
        "    assert kimi_login.server.counts['exchange'] == 1\n"
        "    assert kimi_login.clock is kimi_clock\n"
        "def test_a_program(kimi_emulator):\n"
        "    with pytest.raises(NotSignedIn): Session().access_token_sync()\n"
        "    kimi_emulator.sign_in()\n"
        "    command = [sys.executable, '-m', 'kimi_auth', 'token']\n"
        "    token = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()\n"
        "    assert token == Session().access_token_sync()\n"
        "def test_the_environment_is_put_back():\n"
        "    assert not [name for name in os.environ if name.startswith('KIMI_')]\n"
    )
    done = pytest_in(project, "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_setting_of_the_developer_reaches_a_test(project: tuple[Path, dict[str, str]]) -> None:
    """A key, another home or another host in the developer's environment: the tests use the emulator's login all the same."""
    project[1].update(
        KIMI_API_KEY="sk-kimi-of-the-developer",
        KIMI_BASE_URL="https://api.example/v1",
        KIMI_API_KEY_LENT="kimi-code 0123456789abcdef 0 0",
        KIMI_CODE_HOME="/nowhere",
        KIMI_OAUTH_HOST="https://auth.example",
        KIMI_CODE_OAUTH_KEY="oauth/other",
        KIMI_AUTH_ACCOUNT="other",
        KIMI_MODEL_NAME="kept",
    )
    (project[0] / "test_it.py").write_text(
        "import os\n"
        "from kimi_auth import Session\n"
        "def test_emulator(kimi_emulator):\n"
        "    kimi_emulator.sign_in()\n"
        "    session = Session.default()\n"
        "    assert session.api_origin.startswith('http://127.0.0.1:')\n"
        "    assert session.status().sources['credential'] == 'file'\n"
        "    assert session.access_token_sync() == Session().access_token_sync()\n"
        "    own = {name for name in os.environ if name.startswith('KIMI_')} - set(kimi_emulator.env)\n"
        "    assert own == {'KIMI_MODEL_NAME'}\n"
        "def test_login(kimi_login):\n"
        "    assert kimi_login.session.access_token_sync() == 'access-1'\n"
        "def test_the_environment_is_put_back():\n"
        "    assert os.environ['KIMI_CODE_HOME'] == '/nowhere'\n"
    )
    done = pytest_in(project, "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_source_of_one_token() -> None:
    """`StaticTokens` is a token source for `BearerAuth`; it notes refused bearers, and shows no token."""
    source = StaticTokens("token-of-the-test", api_origin="https://api.example")
    with httpx.Client(auth=BearerAuth(source), transport=httpx.MockTransport(_refuse)) as client:
        answer = client.get("https://api.example/models")
    assert answer.request.headers["Authorization"] == "Bearer token-of-the-test"
    assert source.rejections == ["token-of-the-test"]
    assert asyncio.run(source.access_token()) == source.access_token_sync()
    assert asyncio.run(source.rejected("other")) is None
    assert "token-of" not in repr(source)


def _refuse(_: httpx.Request) -> httpx.Response:
    return httpx.Response(401)


def test_an_emulator_signs_in_somewhere() -> None:
    """Without a share directory of its own it has to be named one."""
    with Emulator() as emulator, pytest.raises(ValueError, match="name the share directory"):
        emulator.sign_in()
