"""Signals that would end the process wait until a renewal is on disk, and are raised again after it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from kimi_auth.flows.flight import ask_for_the_end

__all__ = ["HELD", "hold_signals"]

HELD = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals that are held: what a terminal, a service manager and a closed window send."""


@contextmanager
def hold_signals(on_signal: Callable[[int], None] | None = None) -> Generator[None, None, None]:
    """Notes SIGINT, SIGTERM and SIGHUP while the block runs and sends them to this process again after it.

    Only in the main thread, and only those whose disposition is the default one: a host program's own handlers stay in
    charge, and for them an end in mid-flight counts as SIGKILL, which the claim on disk covers. `on_signal` is called
    for each signal that is noted, from the handler: it may write one line.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)
        ask_for_the_end()
        if on_signal is not None:
            on_signal(number)

    usual = {signal.SIG_DFL, signal.default_int_handler}
    taken: list[tuple[int, Any]] = []
    try:
        for number in HELD:
            if (handler := signal.getsignal(number)) in usual:
                taken.append((number, handler))
                signal.signal(number, note)
        yield
    finally:
        try:
            _give_back(taken)
        finally:
            ask_for_the_end(is_asked=False)
            _give_back(taken)  # the rest, where a host's own handler has raised in the middle
        for number in noted[:1]:
            os.kill(os.getpid(), number)


def _give_back(taken: list[tuple[int, Any]]) -> None:
    """SIGINT comes last: only its usual handler can raise here, and then nothing is left to do."""
    while taken:
        signal.signal(*taken[-1])
        taken.pop()
