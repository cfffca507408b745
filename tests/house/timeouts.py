"""The limits of pytest-timeout, in own seconds (`house.patience`) instead of a clock's.

`timeout` in pyproject.toml, `@pytest.mark.timeout` and `--timeout` mean what they say on an idle machine; a busy one does
not bring them nearer.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pytest_timeout import is_debugging, timeout_sigalrm

from house import patience

WATCHES = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """A process of its own watches: a thread would make every `fork` of a test one of a program with threads."""

    def passed(*_: object) -> None:
        __tracebackhide__ = True
        if not (is_debugging() and not settings.disable_debugger_detection):
            timeout_sigalrm(item, settings)

    signal.signal(signal.SIGALRM, passed)
    _say(item.config, settings.timeout)
    return True


def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    _say(item.config, 0.0)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)  # one that was late
    return True


def _say(config: pytest.Config, limit_s: float) -> None:
    stdin = _watch(config).stdin
    assert stdin is not None
    with suppress(BrokenPipeError):
        stdin.write(f"{limit_s}\n".encode())


def _watch(config: pytest.Config) -> subprocess.Popen[bytes]:
    """The watching process, started with the first test."""
    process = config.stash.get(WATCHES, None)
    if process is None:
        program = [sys.executable, "-I", "-S", patience.__file__, str(patience.os.getpid())]
        process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0, cwd=Path("/"))
        config.stash[WATCHES] = process
        config.add_cleanup(lambda: _end(process))
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
