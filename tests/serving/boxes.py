"""A sandbox of the tests: network, mounts and processes of its own. Of the host's network it has nothing, and of what the
test wrote only the two directories that the recipes mount: the socket's and the home's."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from kimi_auth.serving.relay import PORT

__all__ = ["BOX", "OBEY", "Box", "unshared"]

BOX = "/mnt"
"""Where a sandbox sees its `home` and its `run`, the directory of the socket."""

INSIDE = """
    mount --make-rprivate / && mount -t tmpfs none "$BOX" && mkdir "$BOX/home" "$BOX/run" || exit 99
    mount --bind "$HOME_OUTSIDE" "$BOX/home" && mount --bind "$SOCKET_OUTSIDE" "$BOX/run" || exit 99
    for hidden in $HIDDEN; do test ! -d "$hidden" || mount -t tmpfs none "$hidden" || exit 99; done
    cd "$BOX/home" && "$PYTHON" -c "$LOOPBACK_UP" || exit 99
    unset HOME_OUTSIDE SOCKET_OUTSIDE HIDDEN; export SPIED="$MARK"; unset MARK
    exec "$PYTHON" -W ignore -m kimi_auth serve relay "$BOX/run/kimi.sock" "$PORT" -- "$PYTHON" -u -c "$OBEY"
"""
LOOPBACK_UP = """
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_one:
    fcntl.ioctl(any_one, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
"""
OBEY = """
import json, subprocess, sys
for line in sys.stdin:
    done = subprocess.run(json.loads(line), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
"""


class Said(NamedTuple):
    """What a command in the sandbox came to."""

    status: int
    out: str
    err: str


class Box:
    """A sandbox that runs commands behind `kimi-auth serve relay`, one after the other. `hidden`: directories of the host that
    it must not see. `obey`: the program that reads them, `OBEY` or another one that answers lines as it does. `mark`: what SPIED
    says in the environment of every program in it, and of no other one."""

    def __init__(
        self, unshare: list[str], socket_dir: Path, home: Path, environ: Mapping[str, str], *hidden: Path, obey: str
    ) -> None:
        self.mark = secrets.token_hex()
        outside = {"HOME_OUTSIDE": str(home), "SOCKET_OUTSIDE": str(socket_dir), "HIDDEN": " ".join(map(str, hidden))}
        inside = {"BOX": BOX, "HOME": f"{BOX}/home", "PORT": str(PORT), "PYTHON": sys.executable, "MARK": self.mark}
        scripts = {"LOOPBACK_UP": LOOPBACK_UP, "OBEY": obey}
        self._process = subprocess.Popen(
            [*unshare, "sh", "-c", INSIDE],
            env={**environ, **inside, **outside, **scripts},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, *command: str) -> Said:
        """Runs a command to its end."""
        self.start(*command)
        return self.hear()

    def start(self, *command: str) -> None:
        """Begins a command; `hear` waits for its end."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Said:
        assert self._process.stdout
        return Said(*json.loads(self._process.stdout.readline()))

    def end(self) -> int:
        """Ends it; its exit status."""
        self._process.communicate()
        return self._process.returncode


def unshared() -> list[str]:
    """The command that gives a program network, mounts and processes of its own; without one the test is skipped."""
    found = shutil.which("unshare")
    if found is None or os.geteuid() != 0:
        pytest.skip("needs root and unshare: run as root, apt-get install util-linux")
    return [found, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
