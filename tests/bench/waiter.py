"""A process that waits for what another one holds, and says when it came; see `bench.hand_over`.

Orders: `flock` waits in the kernel for the lock file, `lock` for the store's lock, `pair` and `late` for a token
that replaces the stored, expired one; `cpu` says how many seconds of processor time this process has used.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.surroundings import file_store
from bench.worker import orders, tell
from kimi_auth import Session


def main() -> None:
    share_dir = Path(sys.argv[1])
    store, session = file_store(share_dir), Session(share_dir)

    def flock() -> float:
        descriptor = os.open(store.lock_paths[0], os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        came_s = time.monotonic()
        os.close(descriptor)
        return came_s

    def lock() -> float:
        with store.locked(None):
            return time.monotonic()

    def pair() -> float:
        session.access_token_sync()
        return time.monotonic()

    def wait(call: Callable[[], float]) -> None:
        tell(came_s=call())

    session.access_token_sync()  # everything that is loaded lazily
    tell(ready=os.getpid())
    ways = {"flock": flock, "lock": lock, "pair": pair, "late": pair}
    for order in orders():
        if order == "cpu":
            tell(cpu_s=time.process_time())
        else:
            threading.Thread(target=wait, args=(ways[order],), daemon=True).start()


if __name__ == "__main__":
    main()
