"""Renews in a process of its own, so that the command that found the renewal due ends at once.

The process is spawned: it has its own session (a closed terminal sends it no signal) and none of our descriptors (a
shell that reads our output sees its end), and it takes lock and claim itself. The fast lane of `kimi-auth token` starts
it too, so this module imports nothing that a bare interpreter has not loaded: `subprocess` alone takes as long as Python.
"""

from __future__ import annotations

import os
import sys

from kimi_auth.selection import SHARE_DIR_VARIABLES
from kimi_auth.support.children import python_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["can_outlive_us", "renew_detached"]

PROGRAM = "kimi_auth.renewal"

INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the first PID namespace of a Linux system (PROC_PID_INIT_INO in include/linux/proc_ns.h)."""

NAMESPACE = "/proc/self/ns/pid"
DESCRIPTORS = "/dev/fd"

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
        return os.stat(NAMESPACE).st_ino == INITIAL_PID_NAMESPACE  # noqa: PTH116
    except OSError:
        return False


def renew_detached(
    share_dir: str,
    login: str,
    environ: Mapping[str, str],
    variables: Collection[str],
    home_variable: str = SHARE_DIR_VARIABLES[0],
) -> int | None:
    """Starts the renewal of the `login` (`<platform>@<account>`, `<platform>` where there are no accounts) and returns its pid without waiting for it. None if it would not
    survive this process, or no Python can be started; raises OSError if the system starts no process.

    `variables`: the environment variables that the platform's addresses are read from; `home_variable`: the one that names
    `share_dir` and says whose home it is.
    """
    command = python_command(PROGRAM, login)
    if command is None or not can_outlive_us():
        return None
    return spawn(command, environment(share_dir, environ, variables, home_variable))


def spawn(command: list[str], environ: Mapping[str, str]) -> int:
    """Starts the process that renews and outlives us, in its own session, streams at /dev/null. Returns its pid; raises OSError."""
    streams = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    inherited = [(os.POSIX_SPAWN_CLOSE, number) for number in _inherited()]
    return os.posix_spawn(command[0], command, environ, file_actions=[*streams, *inherited], setsid=True)


def environment(
    share_dir: str, environ: Mapping[str, str], variables: Collection[str], home_variable: str = SHARE_DIR_VARIABLES[0]
) -> dict[str, str]:
    """The environment of the process that renews. Relative paths become absolute, because it runs in /."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in KEPT or name in variables or name.startswith(KEPT_BEGINNINGS) or name.lower().endswith(KEPT_ENDINGS)
    }
    for name in ("PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        if value := kept.get(name):
            kept[name] = os.pathsep.join(_absolute(part) for part in value.split(os.pathsep))
    return {**kept, home_variable: _absolute(share_dir)}


def _absolute(path: str) -> str:
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH117, PTH118


def _inherited() -> list[int]:
    """Descriptors beyond the standard streams that a child would inherit: a shell's pipes, not files that Python opened."""
    return [number for number in map(int, os.listdir(DESCRIPTORS)) if number > 2 and _is_inheritable(number)]  # noqa: PTH208


def _is_inheritable(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:  # the directory's own, closed by now
        return False
