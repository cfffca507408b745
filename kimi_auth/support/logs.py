"""Logging as a library does it: silent until the program configures a handler."""

from __future__ import annotations

import logging

__all__ = ["logger", "quiet"]

# Without a handler Python prints warnings of a library on the standard error of the program that uses it.
logging.getLogger("kimi_auth").addHandler(logging.NullHandler())


def logger(room: str) -> logging.Logger:
    """The logger `kimi_auth.<room>`."""
    return logging.getLogger(f"kimi_auth.{room}")


def quiet(name: str) -> None:
    """Raises the level of another package's logger to WARNING, unless the program has set one: `transitions` and
    `filelock` log each step, which would be most of a program's log at DEBUG."""
    other = logging.getLogger(name)
    if other.level == logging.NOTSET:
        other.setLevel(logging.WARNING)
