"""Where the server of a login keeps its files, and where its sockets are.

    <share dir>/kimi-auth/serving/<platform>/    grants, key, audit.log: for the owner only
    <sockets>/owner/kimi.sock                    the owner's socket
    <sockets>/<grant>/kimi.sock                  a grant's: this directory is what a sandbox gets to see

A directory is mounted, not the socket in it: a server that starts again makes a new socket, and a mount of the old one would
lead nowhere. Nothing but the socket lies there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kimi_auth.files import PRIVATE_DIRECTORY, make_directories
from kimi_auth.support.language import tr

from .records import GrantFiles

__all__ = ["OWNER", "Places"]

OWNER = "owner"
SOCKET = "kimi.sock"


class Places:
    """The directories of one login. `sockets`: where the sockets are, by default in its folder."""

    def __init__(self, share_dir: Path, platform: str, sockets: Path | None = None) -> None:
        self.folder: Path = share_dir / "kimi-auth" / "serving" / platform
        self.sockets: Path = sockets or self.folder / "sockets"
        self.audit: Path = self.folder / "audit.log"

    def grants(self) -> GrantFiles:
        """The grants."""
        return GrantFiles(self.folder)

    def socket(self, name: str) -> Path:
        """Where the socket of a grant is, or of `OWNER`."""
        return self.sockets / name / SOCKET

    def prepare(self, name: str, *, is_shared: bool) -> None:
        """Makes the directory for a socket of the login's server; `is_shared`: other users may enter it, and see nothing.
        Raises OSError."""
        directory = self.sockets / name
        make_directories(directory)
        for one in (self.sockets, directory):
            _refuse_shared(one)
        directory.chmod(0o711 if is_shared else PRIVATE_DIRECTORY)
        if is_shared and not self.sockets.is_relative_to(self.folder):
            self.sockets.chmod(0o711)


def _refuse_shared(directory: Path) -> None:
    """Raises OSError for a directory in which another user could put a socket of their own, or that is a link."""
    found = directory.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not is_ours or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(1, tr("it must be a directory of yours that no other user can write to"), str(directory))
