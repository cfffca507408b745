"""Two locks at once: ours, then another program's. The second is tried once under the first and never waited for under
it: a busy one lets go of both, so that no process of ours waits for us while we wait for a peer."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from .layout import PeerLock
from .lock import Hold

__all__ = ["both"]

log: logging.Logger = logging.getLogger("kimi_auth.store")

POLLS_S = ((1.0, 0.05), (math.inf, 0.25))
"""(For so many seconds, poll every so many.) proper-lockfile, the peer's, tries every 0.5 s."""


@contextmanager
def both(
    ours: Callable[[float | None], AbstractContextManager[Hold | None]],
    peer: PeerLock,
    patience_s: float | None,
    give_up: Callable[[], bool] | None,
) -> Iterator[Hold | None]:
    """Holds our lock and the peer's, or neither (None). `ours(patience_s)` takes the first one; the patience, in seconds
    (0: one try; None: no limit), is for both together. Raises StorageError if one of them can never be taken."""
    began_s, is_told = time.monotonic(), False
    while True:
        waited_s = time.monotonic() - began_s
        left_s = None if patience_s is None else max(patience_s - waited_s, 0.0)
        with ours(left_s) as hold:
            if hold is None:
                yield None
                return
            if theirs := peer.take():
                hold.peer = theirs
                try:
                    yield hold
                finally:
                    theirs.release()
                return
        if left_s == 0.0 or (give_up is not None and give_up()):
            yield None
            return
        if not is_told:
            log.debug("waiting, without a lock of ours: %s", peer.holder())
            is_told = True
        pause_s = next(pause_s for until_s, pause_s in POLLS_S if waited_s < until_s)
        time.sleep(pause_s if left_s is None else min(pause_s, left_s))
