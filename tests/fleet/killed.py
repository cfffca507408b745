"""Processes that are ended with SIGKILL at one file-system step of a login or a logout: the n-th, for every n.

    python killed.py        and then, a line of JSON each:
    {"call": "login", "share_dir": "…", "kill_at": 7}  →  {"steps": [… "os.rename config.toml"], "state": "", "status": -9}
    {"call": "logout", "share_dir": "…"}               →  {"steps": [… "fcntl.flock config.lock"], "state": "absent", "status": 0}

Each order is obeyed by a process of its own, forked from this one so that nothing has to be loaded again. A step is whatever
the states of `PHASE` are about to do to a file of the share dir that belongs to the config; a write counts twice, since half
of it may be there. The process stands still at its step until it is killed: no test sleeps, and no two runs differ.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from kimi_auth.clock import SystemClock
from kimi_auth.login.view import SilentView
from kimi_auth.machine import Observers, Transition, recorder_from_environ
from kimi_auth.session import Session

__all__ = ["PHASE", "RANDOM"]

PHASE = {"device_login.checking_store", "device_login.configuring", "token_lifecycle.unconfiguring"}
"""The steps of the machines that deal with config.toml."""

AUDITED = {
    "open": (0, None),
    "os.chmod": (0, None),
    "os.link": (1, 3),
    "os.mkdir": (0, 2),
    "os.remove": (0, 1),
    "os.rename": (1, 3),
    "os.rmdir": (0, 1),
    "os.truncate": (0, None),
    "fcntl.flock": (0, None),
}
"""The interpreter's own audit events that are steps, and which of their arguments name the file and its directory."""

ELSEWHERE = ("credentials", "kimi-auth/walks")
"""The files apart from the config's: the credential has tests of its own, and a recorded walk is read by people
only."""

RANDOM = re.compile(r"\.[0-9a-f]{12}\.tmp$")


class Clock(SystemClock):
    """The person approves at once, and the server is asked at once."""

    async def sleep_async(self, seconds: float) -> None:
        await super().sleep_async(min(seconds, 0.001))


class Steps:
    """Counts the steps of this process, and stands still at the one where it is to be killed."""

    def __init__(self, share_dir: Path, kill_at: int, report: int) -> None:
        self.share_dir = share_dir.resolve()
        self.kill_at = kill_at
        self.report = report
        self.taken: list[str] = []
        self.armed = False
        self._pwrite, self._fsync, self._open = os.pwrite, os.fsync, os.open
        os.pwrite, os.fsync, os.open = self._pwrite_in_two, self._counted_fsync, self._opened  # type: ignore[assignment]
        self._directory: int | None = None
        sys.addaudithook(self._audited)

    def entered(self, machine: str, state: str, _activity: str) -> None:
        self.armed = f"{machine}.{state}" in PHASE

    def moved(self, _transition: Transition) -> None:
        self.armed = False

    def step(self, event: str, file: object) -> None:
        name = self._name(file) if self.armed else ""
        if not name:
            return
        self.taken.append(f"{event} {name}")
        if len(self.taken) == self.kill_at:
            self.armed = False
            self.tell("")
            threading.Event().wait()

    def tell(self, state: str) -> None:
        os.write(self.report, json.dumps({"steps": self.taken, "state": state}).encode())

    def _audited(self, event: str, args: tuple[Any, ...]) -> None:
        if self.armed and (at := AUDITED.get(event)) is not None:
            name, directory = at
            below = self._directory if directory is None else args[directory]
            self._directory = None
            if event == "open" and args[2] & getattr(os, "O_PATH", 0):
                return  # a look at a directory on the way changes nothing
            self.step(event, self._whole(args[name], below))

    def _opened(self, path: Any, *args: Any, dir_fd: int | None = None) -> int:
        self._directory = dir_fd  # the event does not say it
        return self._open(path, *args, dir_fd=dir_fd)

    @staticmethod
    def _whole(file: Any, directory: int | None) -> Any:
        is_below = isinstance(file, str) and directory is not None and directory >= 0
        return os.path.realpath(f"/proc/self/fd/{directory}") + f"/{file}" if is_below else file

    def _pwrite_in_two(self, descriptor: int, data: memoryview, offset: int) -> int:
        self.step("write" if offset == 0 else "write the rest", descriptor)
        return self._pwrite(descriptor, data[: len(data) // 2] if offset == 0 and len(data) > 1 else data, offset)

    def _counted_fsync(self, descriptor: int) -> None:
        self.step("fsync", descriptor)
        self._fsync(descriptor)

    def _name(self, file: object) -> str:
        """The file's path in the share dir, "" if it is elsewhere; "*" instead of a random part."""
        self.armed = False  # the calls made here are no steps
        try:
            path = Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else Path(os.fspath(file))  # type: ignore[call-overload]
            path = path.parent.resolve() / path.name
        finally:
            self.armed = True
        if not path.is_relative_to(self.share_dir):
            return ""
        name = path.relative_to(self.share_dir).as_posix()
        return "" if name.startswith(ELSEWHERE) else RANDOM.sub(".*.tmp", name)


def obey(order: dict[str, Any], report: int) -> None:
    """The whole login or logout, in this process."""
    share_dir = Path(order["share_dir"])
    steps = Steps(share_dir, order.get("kill_at", 0), report)
    session = Session(share_dir, clock=Clock(), observe=Observers(steps, recorder_from_environ()))
    if order["call"] == "sync":
        state = asyncio.run(session.sync_models()).reason
    elif order["call"] == "logout":
        state = session.logout_sync().state
    else:
        state = asyncio.run(session.login(SilentView(), force=order.get("force", True))).state
    steps.tell(state)


def in_a_process(order: dict[str, Any]) -> dict[str, Any]:
    """Forks, waits until the child stands at its step or has ended, and kills it where it stands."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            obey(order, write)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    said = b""
    while not said.endswith(b"}") and (part := os.read(read, 65_536)):
        said += part
    answer: dict[str, Any] = json.loads(said or b"{}")
    if len(answer.get("steps", ())) == order.get("kill_at"):
        os.kill(pid, signal.SIGKILL)
    answer["status"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(read)
    return answer


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(in_a_process(json.loads(line))), flush=True)
