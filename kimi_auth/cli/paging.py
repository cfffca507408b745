"""A pager for a long picture on a terminal: `$PAGER`, else `less`, and none where the text fits or a program reads it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

from kimi_auth.cli.terminal import Terminal, is_tty

__all__ = ["paged"]

USUAL = "less"
LESS = "FRX"
"""Quits when it fits on one screen, shows colours, leaves the text behind (as git sets it)."""


@contextmanager
def paged(out: Terminal) -> Generator[None, None, None]:
    """What rich draws inside goes through the pager if it is longer than the screen. Lines of text do not."""
    if not (out.is_lively and is_tty(sys.stdin)):
        yield
        return
    with out.console.capture() as captured:
        yield
    text = captured.get()
    if text.count("\n") < out.console.size.height or not _shown(text):
        out.drawn(text)


def _shown(text: str) -> bool:
    """Whether the pager took the text."""
    command = shlex.split(os.environ.get("PAGER", USUAL))
    if not command:
        return False
    environ = {"LESS": LESS, **os.environ}
    usual = signal.getsignal(signal.SIGINT)
    try:
        # An interrupt is the pager's: it ends a search, not the reading.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environ) as pager, suppress(BrokenPipeError):
            pager.communicate(text.encode())
    except OSError:
        return False
    finally:
        signal.signal(signal.SIGINT, usual)
    return True
