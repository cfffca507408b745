"""The home directory that `~` means."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

__all__ = ["expanded"]


def expanded(path: str | Path) -> Path:
    """`path` with its `~` replaced. An empty HOME is no HOME: the user database answers then, where Python would say "/".

    Raises RuntimeError for a home that is not known.
    """
    text = os.fspath(path)
    if os.environ.get("HOME") != "" or not (text == "~" or text.startswith("~/")):
        return Path(text).expanduser()
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir + text[1:])
    except KeyError:
        raise RuntimeError("Could not determine home directory.") from None
