"""Runs a checker that is not ours, and keeps everything that it says."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["ended"]


def ended(
    command: Sequence[str], where: Path | str, patience_s: float, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `command` in the folder `where` to its end, with any status. Raises subprocess.TimeoutExpired after `patience_s`."""
    return subprocess.run(
        command,
        cwd=where,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=patience_s,
        check=False,
    )
