"""What an object makes when it is first asked for it, once, whichever threads ask, and however the process forks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["once"]

Made = TypeVar("Made")

_making = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A fork waits until nothing is being made: its child would wait for ever for a thread that it does not have.
    os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release)


class once(Generic[Made]):  # noqa: N801 - it is used as a decorator
    """`functools.cached_property`, which before Python 3.12 locks without a word to those who fork, and after not at all."""

    def __init__(self, make: Callable[[Any], Made]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> once[Made]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Made: ...
    def __get__(self, instance: object | None, owner: type) -> once[Made] | Made:
        if instance is None:
            return self
        with _making:
            made = vars(instance)  # asked before this descriptor the next time
            if self._name not in made:
                made[self._name] = self._make(instance)
            value: Made = made[self._name]
            return value
