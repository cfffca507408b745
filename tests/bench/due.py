"""What a shell waits for when a renewal is due: `T=$(kimi-auth token)`, held against a token with time to spare."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.report import Table, number
from bench.surroundings import LIFE_S, sign_in_at
from bench.turns import Row, Turn, medians
from kimi_auth.testing.emulator import Emulator, Fault

__all__ = ["table"]

SHELL = 'T=$("$@") && test -n "$T"'
ANYWHERE = """
import sys
{patch}
from kimi_auth.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
OUTSIDE_OF_A_CONTAINER = "from kimi_auth.credential import detached; detached.can_outlive_us = lambda: True"
"""In a container no process is left behind, and there would be nothing to measure."""

SILENT_S = 600.0
DUE = "renewal due, the server answers after {} s"


def table(folder: Path, *, quick: bool = False) -> Table:
    """Milliseconds until the shell goes on. Each renewal is ended before the next turn."""
    with Emulator(approve_after_s=0, interval_s=0) as emulator:
        rows = [
            Row("time to spare", _turn(emulator, folder / "spare", LIFE_S, None)),
            *(
                Row(name, _turn(emulator, folder / f"due-{index}", LIFE_S / 5, latency_s))
                for index, (name, latency_s) in enumerate(
                    ((DUE.format(0), 0.0), (DUE.format(5), 5.0), ("renewal due, the server is silent", SILENT_S))
                )
            ),
        ]
        seconds = medians(rows, 1 if quick else 11)
    plain_s = seconds[rows[0].name]
    figures = [(row.name, number(seconds[row.name] * 1e3), number((seconds[row.name] - plain_s) * 1e3)) for row in rows]
    notes = ["The time that a shell waits, from start to end; the target is 50 ms beyond a token with time to spare."]
    return Table("A token in a shell while a renewal is due", ("", "ms", "beyond"), figures, notes)


def _turn(emulator: Emulator, share_dir: Path, left_s: float, latency_s: float | None) -> Turn:
    patch = "" if latency_s is None else OUTSIDE_OF_A_CONTAINER
    command = ["sh", "-c", SHELL, "sh", sys.executable, "-c", ANYWHERE.format(patch=patch), "token"]
    environ = {**os.environ, **emulator.env, "KIMI_SHARE_DIR": str(share_dir)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def turn(times: int) -> float:
        spent_s = 0.0
        for _ in range(times):
            with _server(emulator, latency_s), _ended(environ):
                sign_in_at(emulator, share_dir, left_s=left_s)
                began_s = time.perf_counter()
                subprocess.run(command, env=environ, check=True)
                spent_s += time.perf_counter() - began_s
        return spent_s

    turn(1)  # writes the bytecode
    return turn


@contextmanager
def _server(emulator: Emulator, latency_s: float | None) -> Iterator[None]:
    emulator.state.clear_faults()
    if latency_s:
        emulator.state.inject(Fault("token", "refresh_token", latency_s=latency_s, times=None))
    yield
    emulator.state.clear_faults()


@contextmanager
def _ended(environ: Mapping[str, str]) -> Iterator[None]:
    """Afterwards the renewals of this share dir are ended, and their files removed: a claim would change the next turn."""
    yield
    share_dir = Path(environ["KIMI_SHARE_DIR"])
    mark = f"KIMI_SHARE_DIR={share_dir}".encode()
    for process in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in process.read_bytes().split(b"\0"):
                os.kill(int(process.parent.name), signal.SIGKILL)
                _wait_for_end(process.parent)
    for file in (share_dir / "credentials").iterdir():
        file.unlink()


def _wait_for_end(process: Path) -> None:
    with suppress(OSError):
        while (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
            time.sleep(0.001)
