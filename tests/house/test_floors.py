"""The lowest versions that pyproject.toml allows are versions that work: a complete life on them, without a warning."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from house.environments import PROJECT, Environment, make_environment, wheel

EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
DIRECT = [*PROJECT["project"]["dependencies"], *(needed for extra in EXTRAS.values() for needed in extra)]
LIFE = """
login --no-browser
login --no-browser --force
token
token --refresh
token --min-ttl 60 --json
run -- true
status
status --json
models
models sync
models list --json
doctor
doctor --json
diagram
diagram token_refresh --format mermaid
diagram device_login --format svg
demo
logout
logout --json
"""
EVERY_MODULE = """
import importlib, pkgutil
import kimi_auth
for found in pkgutil.walk_packages(kimi_auth.__path__, "kimi_auth."):
    if not found.name.endswith("__main__") and not found.name.endswith(".pytest_plugin") and "__pyinstaller." not in found.name:
        importlib.import_module(found.name)
"""
EVERY_EXTRA = """
import os
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
from kimi_auth.cli.qr import draw_qr
from kimi_auth.store.keyring import SystemKeyring
assert "█" in str(draw_qr("https://auth.kimi.com/device?user_code=ABCD-EFGH"))
assert SystemKeyring().read("absent") is None
"""
COMMANDS = "from kimi_auth.cli.program import program; print(*program().commands)"


def lowest(requirements: Iterable[str]) -> list[str]:
    """Each requirement as a pin of the lowest version that it allows."""
    found = [re.match(r"([\w.-]+)>=([\d.]+)(?:,|$)", requirement) for requirement in requirements]
    assert all(found), "every dependency names its floor first"
    return [f"{match[1]}=={match[2]}" for match in found if match]


@contextmanager
def emulator(environment: Environment) -> Iterator[dict[str, str]]:
    """The variables that name a server of this environment's own."""
    program = [str(environment.folder / "bin" / "kimi-auth"), "emulator", "--approve", "auto", "--approve-after", "0"]
    errors = environment.folder / "emulator.stderr"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [*program, "--interval", "0"], env=environment.environ, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready, errors.read_text()
        yield json.loads(ready)["env"]
    finally:
        process.terminate()
        process.communicate()
    assert errors.read_text() == ""


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_a_life_on_the_lowest_versions(dist: Path, tmp_path: Path, outside: dict[str, str]) -> None:
    """Sign in, tokens, models, doctor, every command's help, pictures, sign out: exit 0 and nothing on standard error."""
    environment = make_environment(
        sys.executable, tmp_path / "venv", outside, f"{wheel(dist)}[{','.join(EXTRAS)}]", *lowest(DIRECT)
    )
    python, program = environment.folder / "bin" / "python", environment.folder / "bin" / "kimi-auth"
    said = {}

    def run(*command: str, environ: dict[str, str] = environment.environ) -> str:
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
        said[command[1:]] = (done.returncode, done.stderr)
        return done.stdout

    names = run(str(python), "-I", "-c", COMMANDS).split()
    assert len(names) > 8, said
    run(str(python), "-I", "-c", EVERY_MODULE)
    run(str(python), "-I", "-c", EVERY_EXTRA)
    for name in ("--help", "--version", *(f"{name} --help" for name in names)):
        assert run(str(program), *name.split()) != ""
    with emulator(environment) as where:
        for line in LIFE.strip().splitlines():
            run(
                str(program),
                *line.split(),
                environ={**environment.environ, **where, "KIMI_SHARE_DIR": str(tmp_path / "share")},
            )
    assert {command: how for command, how in said.items() if how != (0, "")} == {}
