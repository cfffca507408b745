"""The throw-away environment `.venv-bench`: kimi-auth and its peers on one interpreter, so that one run compares them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["CHECKOUT", "ENVIRONMENT", "is_inside", "made"]

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = CHECKOUT / ".venv-bench"
PEERS = Path(__file__).with_name("peers.txt")

PYTHON_MIN = (3, 12, 3)  # the first in which the Kimi CLI can be imported: it has a frozen generic dataclass with slots
PYTHONS = ("python3.13", "python3.12")
PROBE = f"import sys, venv, ensurepip; print(sys.executable); sys.exit(sys.version_info < {PYTHON_MIN})"


def is_inside() -> bool:
    """True in a process of that environment."""
    return Path(sys.prefix).resolve() == ENVIRONMENT


def made() -> Path | None:
    """Its interpreter, installed now if need be; None, and said why on standard error, where that cannot be done.

    A peer that cannot be installed is left out, and tried again the next time.
    """
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "installed"
    wanted = hashlib.sha256(PEERS.read_bytes() + (CHECKOUT / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text("ascii") == wanted and _answer([str(python), "-c", "print(1)"], environ):
        return python
    base = next(_pythons(environ), sys.executable)
    _say(f"making {ENVIRONMENT.name} and installing kimi-auth and its peers (about a minute, once)")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    ours = ["--editable", f"{CHECKOUT}[emulator]"]
    if not (
        _done([base, "-m", "venv", "--clear", str(ENVIRONMENT)], environ)
        and _done([*pip, "--upgrade", "pip>=25.1"], environ)  # the same as in .venv: it writes leaner console scripts
        and _done([*pip, *ours], environ)
    ):
        _say("measuring kimi-auth alone, in the environment at hand")
        return None
    if _done([*pip, *ours, "--requirement", str(PEERS)], environ):
        stamp.write_text(wanted, "ascii")
    else:
        for peer in _peers():
            _done([*pip, *ours, peer], environ)
    return python


def _peers() -> list[str]:
    lines = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in PEERS.read_text("utf-8").splitlines())
    return [line for line in lines if line]


def _pythons(environ: dict[str, str]) -> Iterator[str]:
    """Interpreters that run and are new enough for every peer; pyenv has shims that run only when a version is named."""
    versions = _answer(["pyenv", "versions", "--bare"], environ).split() if shutil.which("pyenv") else []
    for name in PYTHONS:
        named = [version for version in versions if version.startswith(name.removeprefix("python") + ".")]
        for more in ({}, *({"PYENV_VERSION": version} for version in reversed(named))):
            if found := _answer([name, "-c", PROBE], {**environ, **more}):
                yield found


def _answer(command: list[str], environ: dict[str, str]) -> str:
    """What a command prints, "" if it is not there or fails."""
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _done(command: list[str], environ: dict[str, str]) -> bool:
    """Runs a command; one that fails is shown with its last words."""
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        _say(f"{' '.join(command)}: {words}")
    return done.returncode == 0


def _say(words: str) -> None:
    print(f"bench: {words}", file=sys.stderr, flush=True)
