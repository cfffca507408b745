"""The other Pythons of this machine: some programs that ours is held against need a newer one than ours does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping

__all__ = ["NEWER_MIN", "answer", "is_newer", "newer"]

NEWER_MIN = (3, 12, 3)
"""The first in which the Kimi CLI can be imported: it has a frozen generic dataclass with slots."""

NAMES = ("python3.13", "python3.12")
PROBE = f"import sys, venv, ensurepip; print(sys.executable); sys.exit(sys.version_info < {NEWER_MIN})"


def newer(environ: Mapping[str, str]) -> Iterator[str]:
    """Interpreters of at least `NEWER_MIN` that run; pyenv has shims that run only when a version is named."""
    versions = answer(["pyenv", "versions", "--bare"], environ).split() if shutil.which("pyenv") else []
    for name in NAMES:
        named = [version for version in versions if version.startswith(name.removeprefix("python") + ".")]
        for more in ({}, *({"PYENV_VERSION": version} for version in reversed(named))):
            if found := is_newer(name, {**environ, **more}):
                yield found


def is_newer(python: str, environ: Mapping[str, str]) -> str:
    """The path of an interpreter that runs, is new enough and can make environments; "" for any other."""
    return answer([python, "-c", PROBE], environ)


def answer(command: list[str], environ: Mapping[str, str]) -> str:
    """What a command prints, "" if it is not there or fails."""
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
