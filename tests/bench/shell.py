"""What a shell script pays for a token: whole processes, from start to end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.report import NONE, Table, number
from bench.surroundings import file_store, pair, sign_in
from bench.turns import Row, calls, medians

__all__ = ["table"]

GITHUB_HOSTS = "github.com:\n    oauth_token: gho_bench\n    user: bench\n    git_protocol: https\n"


def table(folder: Path, *, quick: bool = False) -> Table:
    """Milliseconds of a process, and what it takes beyond Python's own start."""
    share_dir = folder / "shell"
    token = sign_in(file_store(share_dir), pair()).access_token
    environ = {**os.environ, "KIMI_SHARE_DIR": str(share_dir)}
    script = Path(sys.executable).with_name("kimi-auth")
    rows = [
        Row("python -c pass", _process([sys.executable, "-c", "pass"], environ, "")),
        Row("kimi-auth token", _process([str(script), "token"], environ, token)),
        Row("python -m kimi_auth token", _process([sys.executable, "-m", "kimi_auth", "token"], environ, token)),
        Row("kimi-auth token --min-ttl 1 (the full program)", _process([str(script), "token", "--min-ttl", "1"], environ, token)),
        _github(folder),
    ]  # fmt: skip
    seconds = medians(rows, 1 if quick else 31)
    start_s = seconds[rows[0].name]
    lines = [
        (
            row.name,
            number(seconds[row.name] * 1e3) if row.turn else NONE,
            number((seconds[row.name] - start_s) * 1e3) if row.turn and row is not rows[0] else NONE,
        )
        for row in rows
    ]
    notes = [f"{row.name} is missing: {row.remark}." for row in rows if row.turn is None]
    return Table("A token in a shell script: whole processes", ("", "ms", "beyond Python's start"), lines, notes)


def _github(folder: Path) -> Row:
    """The GitHub CLI with a login in its file; a program of Go, so Python's start is not part of it."""
    name = "gh auth token"
    gh = shutil.which("gh")
    if gh is None:
        return Row(name, None, "the GitHub CLI is not installed")
    home = folder / "gh"
    home.mkdir()
    (home / "hosts.yml").write_text(GITHUB_HOSTS, "utf-8")
    environ = {**os.environ, "GH_CONFIG_DIR": str(home), "GH_NO_UPDATE_NOTIFIER": "1", "GH_TELEMETRY": "0"}
    for variable in ("GH_TOKEN", "GITHUB_TOKEN", "GH_HOST"):
        environ.pop(variable, None)
    try:
        return Row(name, _process([gh, "auth", "token"], environ, "gho_bench"))
    except AssertionError as other:
        return Row(name, None, str(other))


def _process(command: list[str], environ: dict[str, str], prints: str) -> Callable[[int], float]:
    """The turn of a process that must print this line."""

    def run(stdout: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, env=environ, stdout=stdout, stderr=subprocess.PIPE, check=False)

    done = run(subprocess.PIPE)
    assert done.stdout.decode().strip() == prints, f"it ended with {done.returncode} and did not print its token"
    return calls(run)
