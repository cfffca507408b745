"""Whose hands a command works with: as root in another user's directory it becomes that user, before it touches anything.

Under sudo, or from a service's cron job, root would otherwise follow what that user has put there: links, and names that
change between a look and a use. The ids are given up for good; what a command starts (`run`) has them, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from kimi_auth import files
from kimi_auth.errors import ConfigError, StorageError
from kimi_auth.support.language import tr

__all__ = ["become_owner", "keep_others_out", "settle"]

READERS = frozenset({"status", "doctor", "platforms"})
WRITERS = frozenset(
    {"login", "logout", "token", "run", "models", "adopt", "lend", "serve", "me", "usage", "accounts", "store"}
)
"""Commands that work on the share directory; a writer may change modes there."""

FINDERS = READERS | {"token", "run", "lend"}
"""Commands that may take kimi-code's home where only that one holds a login."""


def settle(command: str, environ: Mapping[str, str], home: str = "") -> None:
    """Before a command of the share directory runs: whose hands it has, and that others are kept out. `home`: the value of
    `--home`, "" for none."""
    if command not in READERS | WRITERS:
        return
    from kimi_auth.chosen_login import share_dir_of  # loads what drawing a machine does without

    try:
        share_dir = share_dir_of(environ, home, reads=command in FINDERS)
    except ConfigError:
        return  # the command says it in its own form
    become_owner(share_dir)
    if command in WRITERS:
        keep_others_out(share_dir)


def become_owner(share_dir: Path) -> None:
    """As root, becomes the user whom root has given the share directory, or the one above it in which it is to be made.
    Raises StorageError where that is not possible, or would hand a login to a user who has laid the directory out."""
    if os.geteuid() != 0:
        return
    owner = _owner(share_dir)
    if owner is None:
        return
    uid, gid, place = owner
    loaded = {str(found) for module in list(sys.modules.values()) if (found := getattr(module, "__file__", None))}
    program = [path for path in loaded if os.access(path, os.R_OK)]
    try:
        os.setgroups(_groups(uid, gid))
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise StorageError(
            tr(
                "{directory} belongs to uid {uid}, and this process may not become that user: {reason}",
                directory=place,
                uid=uid,
                reason=error.strerror,
            ),
            hint=tr("run it as that user: sudo -u '#{uid}' kimi-auth ...", uid=uid),
        ) from None
    if hidden := next((path for path in program if not os.access(path, os.R_OK)), ""):
        raise StorageError(
            tr(
                "{directory} belongs to uid {uid}, who may not read this program: {hidden}",
                directory=place,
                uid=uid,
                hidden=hidden,
            ),
            hint=tr("install it where that user can use it, then: sudo -u '#{uid}' kimi-auth ...", uid=uid),
        )
    if not os.access(place, os.X_OK):
        raise StorageError(
            tr(
                "{directory} belongs to uid {uid}, who cannot reach it: a directory above it is closed to that user",
                directory=place,
                uid=uid,
            ),
            hint=tr("run as that user with a HOME of its own, or mount the directory where that user can reach it"),
        )


def keep_others_out(share_dir: Path) -> None:
    """Takes away what others may do in the directories of a login that are mine, before a command touches anything."""
    files.close(share_dir)
    for name in ("credentials", "kimi-auth"):
        files.tighten(share_dir / name)


def _owner(share_dir: Path) -> tuple[int, int, Path] | None:
    """The user and group to become, and the directory that says so; None where everything on the way is root's."""
    for place, found in _on_the_way(share_dir):
        if not (files.is_ours(found) or files.is_outside(found.st_uid)) and files.keeps_modes(found.st_dev):
            return found.st_uid, _primary(found), place
    return None


def _on_the_way(share_dir: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The directories that root goes through, from the root to the share directory, as far as they are there. In one
    that all may write to, one laid out by another user is not entered: that user would be given the login."""
    whole = Path(os.path.abspath(share_dir))  # noqa: PTH100 - links stay: each is checked when it is followed
    is_open = False
    for place in (*reversed(whole.parents), whole):
        try:
            found = place.stat()
        except OSError:
            return
        if is_open and not files.is_ours(found):
            raise StorageError(
                tr(
                    "{directory} belongs to uid {uid}, who may have planted it: every user may write to {parent}",
                    directory=place,
                    uid=found.st_uid,
                    parent=place.parent,
                ),
                hint=tr("use a directory that root owns: export KIMI_SHARE_DIR=/a/directory"),
            )
        is_open = found.st_uid == 0 and files.exposed_to(found) != ""
        yield place, found


def _primary(found: os.stat_result) -> int:
    import pwd

    try:
        return pwd.getpwuid(found.st_uid).pw_gid
    except KeyError:
        return found.st_gid


def _groups(uid: int, gid: int) -> list[int]:
    import pwd

    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]
