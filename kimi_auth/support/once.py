"""A lazily computed attribute: made once at the first access, safe for threads and for a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["once"]

Made = TypeVar("Made")

_making = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A fork waits for this lock: held by a thread that the child does not have, it would block the child for ever.
    os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release)


class once(Generic[Made]):  # noqa: N801 - it is used as a decorator
    """`functools.cached_property`, whose lock before Python 3.12 is not safe for a fork, and which has no lock since
    3.12."""

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
            made = vars(instance)  # the next access finds it there, before this descriptor
            if self._name not in made:
                made[self._name] = self._make(instance)
            value: Made = made[self._name]
            return value
