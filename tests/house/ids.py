"""Ids of parameters name them; they never hold their content.

pytest makes ids of bytes and strings by writing them out: what a test compresses, signs or dates would then change its
name, and two workers would have collected different tests.
"""

from __future__ import annotations

LONG = 40


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """`argname`, which pytest numbers, for bytes and for strings that do not read as a name."""
    if isinstance(val, bytes) or (isinstance(val, str) and not is_name(val)):
        return argname
    return None


def is_name(text: str) -> bool:
    return len(text) <= LONG and text.isascii() and text.isprintable()
