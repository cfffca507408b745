"""Who may offer the UNIX socket of a database: the first process that binds its name answers, whichever user it runs as.

libpq can compare the user at the other end with the one that is expected (`requirepeer=postgres`). Without that, a directory
in which other users may make files proves nothing: one of them may bind the name before the server starts.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from kimi_auth import files
from kimi_auth.support.language import tr

__all__ = ["offered_by"]

PEOPLE_FROM_UID = 500 if sys.platform == "darwin" else 1000
"""Smaller ids are of services; a server's own directory below /tmp belongs to one."""


def offered_by(host: str) -> str:
    """Who beside the directory's owner may offer a socket in the directory `host`, for people; "" for none. A directory that is
    not there has none: nothing answers."""
    if host.startswith("@"):
        return tr("every user")  # an abstract name has no owner
    path = Path(os.path.realpath(host))
    try:
        found = path.stat()
        parents = [(one, one.stat()) for one in path.parents]
    except OSError:
        return ""
    if who := files.exposed_to(found, owner_too=True):
        return who
    below = found
    for _, parent in parents:
        who = files.exposed_to(parent, owner_too=True)
        if who and not (parent.st_mode & stat.S_ISVTX and _is_trusted(below)):
            return who
        below = parent
    return ""


def _is_trusted(found: os.stat_result) -> bool:
    """Whether a directory that anyone may have made is ours, or a service's."""
    return files.is_ours(found) or found.st_uid < PEOPLE_FROM_UID
