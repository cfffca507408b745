"""Safe access to small files: reads that never hang, writes that survive a power cut, private modes.

Every function raises `OSError`: `Unfit` for a file that fails the rules, else the system's own error. `reason` explains
either with a next step; each package turns that into its own type of error at its border.

A file is *ours* if it belongs to the effective user or to root. The directories and links on its path are checked
before they are entered (`walk`). For root, a file in another user's directory is not ours: a command becomes that user
first (`kimi_auth.cli.privileges`), a library refuses.
"""

from __future__ import annotations

from .exposure import exposed_to
from .homes import expanded
from .modes import PRIVATE_DIRECTORY, close, make_directories, tighten
from .mounts import Mount, keeps_modes, mount_at
from .reach import Location, Where, followed, is_directory, names, path_of, reached, remarks, stat_at
from .reading import Found, read_bounded
from .replacing import refuse_fixed
from .steps import PRIVATE_FILE
from .unfit import Exposed, Fixed, NotAFile, NotOurs, TooLarge, Unfit, is_ours, is_outside, reason, refuse_strange
from .writing import (
    FORGOTTEN_S,
    PROBE,
    PROBE_BYTES,
    create,
    create_durably,
    link_durably,
    overwrite_durably,
    probe,
    remove,
    remove_durably,
    remove_forgotten,
    rename,
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
    "Exposed",
    "Fixed",
    "Found",
    "Location",
    "Mount",
    "NotAFile",
    "NotOurs",
    "TooLarge",
    "Unfit",
    "Where",
    "close",
    "create",
    "create_durably",
    "expanded",
    "exposed_to",
    "followed",
    "is_directory",
    "is_ours",
    "is_outside",
    "keeps_modes",
    "link_durably",
    "make_directories",
    "mount_at",
    "names",
    "overwrite_durably",
    "path_of",
    "probe",
    "reached",
    "read_bounded",
    "reason",
    "refuse_fixed",
    "refuse_strange",
    "remarks",
    "remove",
    "remove_durably",
    "remove_forgotten",
    "rename",
    "rename_durably",
    "stat_at",
    "sync_directory",
    "temporary",
    "tighten",
    "touch",
    "write_durably",
]
