"""Worker processes that run in parallel and end with their parent, however the parent ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, parent_process, resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Thread

__all__ = ["WORKERS", "side_by_side"]

WORKERS = min(os.cpu_count() or 1, 4)
"""One per processor, at most four: each may need a gigabyte."""


@contextmanager
def side_by_side(workers: int = WORKERS) -> Generator[ProcessPoolExecutor, None, None]:
    """A pool of fresh processes. Ctrl-C does not reach them: they end when the block ends early, for any reason."""
    others = set(active_children())
    with ProcessPoolExecutor(workers, mp_context=_Sheltering(), initializer=_end_with_parent) as pool:
        try:
            yield pool
        except BaseException:
            for child in set(active_children()) - others:
                child.terminate()  # the pool notices this and fails the pending work
            raise


class _Sheltered(SpawnProcess):
    """A process that starts, and so runs, with SIGINT blocked."""

    def start(self) -> None:
        resource_tracker.ensure_running()  # `start` would launch it and unblock SIGINT again
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Sheltering(SpawnContext):
    Process = _Sheltered


def _end_with_parent() -> None:
    Thread(target=_outlive_nobody, daemon=True).start()


def _outlive_nobody() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
