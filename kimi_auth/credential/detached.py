"""Renews in a process of its own, so that the command that found the renewal due ends at once.

The process is spawned, never forked: threads and locks do not survive a fork, and a claim would name a parent that is
about to end. It has its own session (a closed terminal sends it no signal) and none of our descriptors (a shell that
reads our output sees its end), and it takes lock and claim itself.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kimi_auth.children import python_command
from kimi_auth.platforms import Platform

__all__ = ["can_outlive_us", "renew_detached"]

log = logging.getLogger("kimi_auth.credential")

PROGRAM = "kimi_auth.renewal"

INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the first PID namespace of a Linux system (PROC_PID_INIT_INO in include/linux/proc_ns.h)."""

NAMESPACE = Path("/proc/self/ns/pid")

KEPT = ("HOME", "USER", "LOGNAME", "PATH", "LANG", "TZ", "TMPDIR", "KIMI_AUTH_EDGES")
KEPT_BEGINNINGS = ("PYTHON", "SSL_CERT_", "LC_", "LD_", "DYLD_")
KEPT_ENDINGS = ("_proxy",)
"""Environment variables that the child inherits, beside those of its platform: for starting Python and for reaching the
server. Keys and tokens of other programs are not passed on."""


def can_outlive_us() -> bool:
    """True if a child survives this process. A container (a PID namespace other than the initial one) kills it together
    with the namespace's first process, which may be this one. Linux without a readable /proc counts as a container."""
    if not sys.platform.startswith("linux"):
        return True  # no other system here has PID namespaces
    try:
        return NAMESPACE.stat().st_ino == INITIAL_PID_NAMESPACE
    except OSError:
        return False


def renew_detached(share_dir: Path, platform: Platform, environ: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
    """Starts the process and does not wait for it. None if it cannot start or would not survive this process."""
    command = python_command(PROGRAM, platform.id)
    if command is None or not can_outlive_us():
        return None
    try:
        child = subprocess.Popen(
            command,
            cwd="/",
            env=environment(share_dir, platform, environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=True,
            start_new_session=True,
        )
    except OSError as error:
        log.info("no process for the renewal could be started: %s", error.strerror)
        return None
    with suppress(RuntimeError):  # no thread can start: the zombie stays until this process ends
        threading.Thread(target=child.wait, name="kimi-auth reaper", daemon=True).start()
    return child


def environment(share_dir: Path, platform: Platform, environ: Mapping[str, str]) -> dict[str, str]:
    """The child's environment. Relative paths become absolute, because the child runs in /."""
    of_platform = {*platform.api_base_env, *(platform.oauth.host_env if platform.oauth else ())}
    kept = {
        name: value
        for name, value in environ.items()
        if name in KEPT
        or name in of_platform
        or name.startswith(KEPT_BEGINNINGS)
        or name.lower().endswith(KEPT_ENDINGS)
    }
    for name in ("PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        if value := kept.get(name):
            kept[name] = os.pathsep.join(str(Path(part).absolute()) for part in value.split(os.pathsep))
    return {**kept, "KIMI_SHARE_DIR": str(share_dir.absolute())}
