"""Small files, handled with care: reads that never hang, writes that survive a power cut, private modes.

Everything here raises `OSError`: `Unfit` for a file that is not what it should be, else the system's own. `reason` says
either in plain words with a next step; each room makes its own kind of error of that, at its border.

A file is *ours* when it belongs to the effective user; root also takes the files of the directory's owner for ours, and
gives the ones that it makes to that owner, so that a `sudo` never locks a user out of the own login.
"""

from __future__ import annotations

from .reading import Found, read_bounded
from .unfit import NotAFile, NotOurs, TooLarge, Unfit, is_ours, reason, refuse_strange
from .writing import (
    FORGOTTEN_S,
    PRIVATE_DIRECTORY,
    PRIVATE_FILE,
    PROBE,
    PROBE_BYTES,
    create_durably,
    link_durably,
    make_directories,
    overwrite_durably,
    probe,
    remove,
    remove_durably,
    remove_forgotten,
    rename_durably,
    sync_directory,
    temporary,
    touch,
    write_durably,
)

__all__ = [
    "FORGOTTEN_S",
    "PRIVATE_DIRECTORY",
    "PRIVATE_FILE",
    "PROBE",
    "PROBE_BYTES",
    "Found",
    "NotAFile",
    "NotOurs",
    "TooLarge",
    "Unfit",
    "create_durably",
    "is_ours",
    "link_durably",
    "make_directories",
    "overwrite_durably",
    "probe",
    "read_bounded",
    "reason",
    "refuse_strange",
    "remove",
    "remove_durably",
    "remove_forgotten",
    "rename_durably",
    "sync_directory",
    "temporary",
    "touch",
    "write_durably",
]
