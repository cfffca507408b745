"""The revision that a proof was made of: its commit and the day of that commit, so that the same revision gives the same
figures."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["revision"]

CHECKOUT = Path(__file__).resolve().parents[2]
PROVED = ("machines", "kimi_auth/machine", "kimi_auth/proof")


def revision(checkout: Path = CHECKOUT) -> dict[str, str]:
    """`commit`, `date` (YYYY-MM-DD) and `edited` ("yes": the proved files differ from that commit); empty outside of a
    checkout, or without git."""
    try:
        commit, _, date = _git(checkout, "log", "-1", "--format=%H %cs").partition(" ")
        edited = _git(checkout, "status", "--porcelain", "--", *PROVED)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit[:12], "date": date, "edited": "yes" if edited else "no"}


def _git(checkout: Path, *command: str) -> str:
    done = subprocess.run(["git", "-C", str(checkout), *command], capture_output=True, text=True, check=True)
    return done.stdout.strip()
