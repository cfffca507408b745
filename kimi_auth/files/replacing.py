"""Checks that a file can be replaced before an irreversible step; a rename cannot be tried without doing it."""

from __future__ import annotations

import os
import stat

from kimi_auth.support.language import tr

from .mounts import is_protected, mount_of_its_own
from .reach import Location, Where, reached
from .unfit import Fixed

__all__ = ["refuse_fixed"]

_MOUNT_IT = tr("mount the directory that holds it instead of the file: {directory}")


def refuse_fixed(where: Where) -> None:
    """Raises `Fixed` unless a rename onto the file would replace it. A missing file passes. Writes nothing."""
    try:
        with reached(where) as place:
            why, hint = _why_fixed(place)
    except FileNotFoundError:
        return
    if why:
        raise Fixed(place.path, why, hint)


def _why_fixed(place: Location) -> tuple[str, str]:
    if point := mount_of_its_own(place.name, place.directory):
        words = tr("is a mount of its own ({point}), so it cannot be replaced by a new file", point=point)
        return words, _MOUNT_IT
    found, around = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False), os.fstat(place.directory)
    if found.st_nlink == 0:
        return tr("is not in its directory any more"), _MOUNT_IT
    me = os.geteuid()
    if around.st_mode & stat.S_ISVTX and me not in {0, found.st_uid, around.st_uid}:
        words = tr(
            "belongs to uid {uid} in a sticky directory, so it cannot be replaced by a new file", uid=found.st_uid
        )
        return words, tr("move it out of the way, then try again: {path}")
    if is_protected(place.name, place.directory):
        return tr("is protected from changes (chattr +i or +a)"), tr(
            "remove the flag: sudo chattr -ia {path} {directory}"
        )
    return "", ""
