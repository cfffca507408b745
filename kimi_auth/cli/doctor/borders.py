"""Disks on which programs of another system write too: Windows, the host of a virtual machine, other hosts."""

from __future__ import annotations

import re
from pathlib import Path

from kimi_auth import files
from kimi_auth.support.language import tr

__all__ = ["border", "release"]

WINDOWS = re.compile(r"9p|drvfs")
FOLDER = re.compile(r"9p|virtiofs|vboxsf|prl_fs|vmhgfs|fakeowner|fuse\.(vmhgfs-fuse|grpcfuse)")
NETWORK = re.compile(r"nfs4?|cifs|smb3|smbfs|ceph|afs|lustre|fuse\.(sshfs|glusterfs|s3fs|rclone)")
"""Names of file systems, as proc(5) has them."""


def border(mount: files.Mount, kernel: str) -> tuple[str, str] | None:
    """What it means for a home that it lies on `mount`, and the next step, "" for none; None for a disk of this system.
    `kernel`: what `release` says."""
    point, kind = mount.point, mount.kind
    if WINDOWS.fullmatch(kind) and "microsoft" in kernel.lower():
        words = tr(
            "{point} is a disk of Windows: a kimi-code of Windows takes no lock, and both can spend one refresh token",
            point=point,
        )
        return words, tr("keep a login of your own: kimi-auth login --home kimi-cli")
    if FOLDER.fullmatch(kind):
        words = tr(
            "{point} is a shared folder ({kind}): its other side sees kimi-code's lock, not ours",
            point=point,
            kind=kind,
        )
        return words, ""
    if NETWORK.fullmatch(kind):
        words = tr(
            "{point} is a network file system ({kind}): the clocks of its hosts must agree", point=point, kind=kind
        )
        return words, ""
    return None


def release() -> str:
    """The release of the kernel, which names Microsoft's on the border to Windows (WSL); "" where it is not said."""
    try:
        return Path("/proc/sys/kernel/osrelease").read_text("ascii", "replace")
    except OSError:
        return ""
