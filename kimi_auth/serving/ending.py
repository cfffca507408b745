"""SIGINT, SIGTERM and SIGHUP end a server of ours in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kimi_auth.credential.signals import HELD

__all__ = ["ended_by_signals"]


@contextmanager
def ended_by_signals(stop: Callable[[], object]) -> Iterator[None]:
    """While the block runs, each of the signals calls `stop`, in the main thread. Under nohup a closed terminal is ignored as ever; SIGINT,
    which a shell script lets its background jobs ignore, is not, for the script may send it to end what it started."""
    before = {number: signal.getsignal(number) for number in HELD}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]
    try:
        for number in before:
            signal.signal(number, lambda *_: stop())
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
