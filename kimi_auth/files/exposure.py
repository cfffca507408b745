"""Tells who else may write to a directory."""

from __future__ import annotations

import os

from kimi_auth.support.language import tr

__all__ = ["GROUP", "OTHERS", "exposed_to", "group_name"]

OTHERS, GROUP = 0o002, 0o020


def exposed_to(found: os.stat_result, *, owner_too: bool = False) -> str:
    """The others who may write to the directory, for people; "" if none are known. `owner_too`: its owner is none of them."""
    mode = found.st_mode
    if mode & OTHERS:
        return tr("every user")
    if mode & GROUP and not _is_group_ours(found.st_gid, {found.st_uid} if owner_too else set()):
        return tr("the group {name}", name=group_name(found.st_gid))
    return ""


def _is_group_ours(gid: int, besides: set[int]) -> bool:
    """True if no one else may write by this group: it has no known member except me, root and `besides`."""
    import grp  # only for a group-writable directory: a directory service may be slow
    import pwd

    me = os.geteuid()
    try:
        listed = grp.getgrgid(gid).gr_mem
    except KeyError:
        # A group without a name: a container runtime assigned it for volumes.
        return gid in {os.getegid(), *os.getgroups()}
    try:
        uids = {pwd.getpwnam(name).pw_uid for name in listed}
    except KeyError:
        return False
    uids |= {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == gid}
    return uids <= {me, 0} | besides


def group_name(gid: int) -> str:
    """The name of a group that may write, for people; its number if it has none."""
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
