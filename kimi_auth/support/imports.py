"""Modules are loaded in a thread while a program's other threads run: no full collection stops these, and a fork waits."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from . import once  # noqa: F401 - of two hooks before a fork the later one runs first: this module's

__all__ = ["undisturbed"]

YOUNG, NEVER = 2_000, 1_000_000
"""So many new objects are looked at together while modules are loaded, 700 at other times; and so many collections of the middle
generation come before one of all objects, as the count that the program brings along may be at its limit."""

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
    program that has turned collection off finds it off meanwhile and afterwards, and thresholds that it sets meanwhile stay.

    An attribute of `support.once` may be made inside; in the making of one, no such block may begin: a fork takes the locks of
    both, this one first.
    """
    with _loading:
        found = gc.get_threshold()
        young, middle, _ = found
        ours = young and max(young, YOUNG), middle, NEVER  # 0: the program wants none
        gc.set_threshold(*ours)
        try:
            yield
        finally:
            if gc.get_threshold() == ours:
                gc.set_threshold(*found)
