"""Modules are loaded in a thread while a program's other threads run: no full collection stops these, and a fork waits."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["undisturbed"]

YOUNG = 2_000
"""So many new objects are looked at together while modules are loaded; 700 at other times."""

_loading = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A child that is forked in the middle has half of a module, whose lock a thread holds that the child does not have: its own
    # import of that module would wait for ever.
    os.register_at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release)


@contextmanager
def undisturbed() -> Iterator[None]:
    """While the block loads modules, garbage is looked for less often in this process, and a fork waits for the block's end.

    Loading httpx makes 50,000 objects that stay. With CPython's own thresholds (700 new objects, ten times, ten times) that is a
    collection of all objects in the middle, which stops every thread for 20 to 30 ms; with these it is four of 20,000 each. A
    program that has turned collection off finds it off meanwhile and afterwards.

    Inside, no attribute of `support.once` may be made: a fork waits for the locks of both, one after the other.
    """
    with _loading:
        young, *older = gc.get_threshold()
        gc.set_threshold(young and max(young, YOUNG), *older)  # 0: the program wants none
        try:
            yield
        finally:
            gc.set_threshold(young, *older)
