"""A person's terminal for tests: a real pseudo terminal, a real shell with job control, and an emulator that shows it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress

import pyte
from house.patience import PATIENCE_S, OwnTime

__all__ = ["Screen"]


class Screen:
    """A window of `columns` by `lines` in which bash runs; `raw` is all that was ever written to it."""

    def __init__(self, columns: int, lines: int, env: Mapping[str, str]) -> None:
        self.shown = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.shown)
        self.raw = b""
        bash = shutil.which("bash")
        assert bash is not None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test runner in the background ignores it
            signal.signal(signal.SIGQUIT, signal.SIG_DFL)
            os.execve(bash, [bash, "--norc", "--noprofile", "--noediting", "-i"], {**env, "PS1": "$ "})
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    @property
    def text(self) -> str:
        """The window as lines, without blank ends."""
        return "\n".join(line.rstrip() for line in self.shown.display).rstrip()

    @property
    def cursor_is_shown(self) -> bool:
        return not self.shown.cursor.hidden

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows typed text, line by line."""
        flags = termios.tcgetattr(self.fd)[3]
        return bool(flags & termios.ECHO) and bool(flags & termios.ICANON)

    def until(self, is_so: Callable[[], bool]) -> None:
        """Reads output until it is so; AssertionError, with the window, where that does not come."""
        own = OwnTime()
        while not is_so():
            assert own.read() < PATIENCE_S / 2, self.text
            if select.select([self.fd], [], [], 0.1)[0]:
                self.read()

    def wait_for(self, text: str) -> None:
        self.until(lambda: text in self.text)

    def read(self) -> None:
        """Reads the output since the last call."""
        with suppress(OSError):  # the shell has ended
            data = os.read(self.fd, 65536)
            self.raw += data
            self._stream.feed(data)

    def close(self) -> None:
        with suppress(OSError):
            os.killpg(self.pid, signal.SIGHUP)
        os.close(self.fd)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
