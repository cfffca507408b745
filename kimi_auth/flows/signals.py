"""Signals that would end the process wait until a renewal is on disk, and are raised again after it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

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
        if on_signal is not None:
            on_signal(number)

    usual = {signal.SIG_DFL, signal.default_int_handler}
    before = {number: signal.getsignal(number) for number in HELD}
    taken = {number: handler for number, handler in before.items() if handler in usual}
    for number in taken:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
        for number in noted[:1]:
            os.kill(os.getpid(), number)
