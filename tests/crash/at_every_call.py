"""Kills a piece of work before one of its calls to the file system."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

__all__ = ["killed_before"]

CALLS = ("rename", "replace", "unlink", "link", "mkdir", "write", "fsync")


def killed_before(step: int, work: Callable[[], object]) -> bool:
    """Does `work` in a process of its own that kills itself before its call number `step` to the file system; False where
    it came to its end before."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def counting(call: Any) -> Any:
            def counted(*args: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **options)

            return counted

        for name in CALLS:
            setattr(os, name, counting(getattr(os, name)))
        try:
            work()
        except BaseException:  # noqa: BLE001
            os._exit(3)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status != 0
