"""Programs of others in environments of their own, beside `.venv`: installed once, and again when the requirements change."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Mapping

import pytest
from filelock import FileLock
from servers.fixtures import unavailable

from house.environments import CHECKOUT, PROJECT
from house.interpreters import NEWER_MIN, answer, newer

KIMI_CLI = "kimi-cli==1.52.0"
COMMAND = "install Python 3.13 (pyenv install 3.13, or your system's package), then make prove"


def installed(name: str, base: Callable[[], str | None], environ: Mapping[str, str], *requirements: str) -> str:
    """The interpreter of the environment `.venv-NAME` with `requirements` and this checkout, made if it is not there.

    `base` finds the Python to make it with. Without one the test is skipped, as after a failed installation, and in CI it
    fails. Bytecode is written when a module is first used: compiling all of it would take longer than the tests.
    """
    folder = CHECKOUT / f".venv-{name}"
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = hashlib.sha256(repr((requirements, PROJECT["project"]["dependencies"])).encode()).hexdigest()
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if stamp.exists() and stamp.read_text() == wanted and answer([str(python), "-c", "print(1)"], environ):
            return str(python)
        if (found := base()) is None:
            unavailable(f"{requirements[0]} needs a Python of {'.'.join(map(str, NEWER_MIN))} or newer", COMMAND)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-compile"]
        for command in (
            [found, "-m", "venv", "--clear", str(folder)],
            [*pip, *requirements, "--editable", str(CHECKOUT)],
        ):
            done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = f"{requirements[0]} cannot be installed: {done.stderr.strip()[-500:]}"
                unavailable(reason, " ".join(command))
        stamp.write_text(wanted)
    return str(python)


@pytest.fixture(scope="session")
def pip_environ(outside: dict[str, str]) -> dict[str, str]:
    """The environment in which other environments are made."""
    return {name: value for name, value in outside.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}


@pytest.fixture(scope="session")
def kimi_cli_python(pip_environ: dict[str, str]) -> str:
    """A Python that has the real Kimi CLI, its kosong, and this checkout; without one: skipped, and failed when CI=true."""
    return installed("kimi-cli", lambda: next(newer(pip_environ), None), pip_environ, KIMI_CLI)
