"""SIGINT, SIGTERM and SIGHUP end a server of ours in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kimi_auth.credential.signals import HELD

__all__ = ["ended_by_signals"]


@contextmanager
def ended_by_signals(stop: Callable[[], object]) -> Iterator[None]:
    """While the block runs, each of the signals calls `stop`, in the main thread. One that the shell set to be ignored (SIGINT of a
    background job, SIGHUP under nohup) stays ignored."""
    before = {number: old for number in HELD if (old := signal.getsignal(number)) is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, lambda *_: stop())
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
