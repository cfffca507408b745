"""The throw-away environment `.venv-bench`: kimi-auth and its peers on one interpreter, so that one run compares them."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from house.interpreters import answer, newer

__all__ = ["CHECKOUT", "ENVIRONMENT", "is_inside", "made"]

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = CHECKOUT / ".venv-bench"
PEERS = Path(__file__).with_name("peers.txt")


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
    if stamp.exists() and stamp.read_text("ascii") == wanted and answer([str(python), "-c", "print(1)"], environ):
        return python
    base = next(newer(environ), sys.executable)
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


def _done(command: list[str], environ: dict[str, str]) -> bool:
    """Runs a command; one that fails is shown with its last output."""
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        _say(f"{' '.join(command)}: {words}")
    return done.returncode == 0


def _say(words: str) -> None:
    print(f"bench: {words}", file=sys.stderr, flush=True)
