"""The arguments of a session: contradictions, wrong types, and the form in which they are pickled."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kimi_auth.home import checked_label
from kimi_auth.selection import API_KEY

__all__ = ["checked_account", "checked_text", "directory", "given", "pickled"]


def directory(
    share_dir: str | os.PathLike[str] | None, home: str | os.PathLike[str] | None
) -> str | os.PathLike[str] | None:
    """The one of the arguments share_dir and home that is given, None for neither. Raises ValueError for both."""
    if share_dir is not None and home is not None:
        raise ValueError("share_dir and home are two names of one directory: give one of them")
    return share_dir if home is None else home


def checked_text(**arguments: object) -> None:
    """Raises TypeError, without the value, for an argument that is given and is no str."""
    for name, value in arguments.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")


def checked_account(account: str | None) -> str | None:
    """The argument `account`. Raises TypeError for one that is no str, NoSuchAccount for one that can be no label."""
    checked_text(account=account)
    return checked_label(account) if account else None


def given(**arguments: object) -> list[str]:
    """The names of the session's arguments that were given."""
    return [name for name, value in arguments.items() if value is not None]


def pickled(made: partial[Any], only_here: list[str]) -> tuple[Callable[[], object], tuple[()]]:
    """The arguments that a session is pickled as: how it was `made`. Raises TypeError where an argument exists in this
    process only, and for an `environ` with a key, which the pickle would hold."""
    if only_here:
        raise TypeError(f"a Session with {'=, '.join(only_here)}= cannot be pickled: make one in the other process")
    environ: Mapping[str, str] | None = made.keywords["environ"]
    kept = None if environ is None or environ is os.environ else dict(environ)
    if kept and kept.get(API_KEY):
        raise TypeError(
            f"a Session with {API_KEY} in environ= cannot be pickled: put the key into the environment of the other process"
        )
    return partial(made.func, *made.args, **{**made.keywords, "environ": kept}), ()
