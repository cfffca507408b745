"""Limits that measure progress: seconds in which the processes of a test could have run, whatever else the machine does.

A busy machine lets a process wait for a processor. Linux counts that wait for each thread (`/proc/PID/task/TID/schedstat`),
so it can be left out: what remains is the time in which the tree of processes ran, or slept of its own accord. A test that
hangs sleeps or spins, and reaches its limit as soon on a busy machine as on an idle one; a test that is only slow does not.

Run as a program, it watches the process that started it: a line on standard input sets a limit in such seconds (0: none),
and SIGALRM says that it was passed.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import AnyStr, TypeVar

__all__ = ["NO_LIMIT_S", "PATIENCE_S", "TICK_S", "Meeting", "OwnTime", "ended", "heard", "joined", "met", "until"]

PATIENCE_S = 60.0
"""How long a test waits for a process or thread that has nothing to wait for: own seconds, never a measure of anything."""

NO_LIMIT_S = 3600.0
"""For a call that wants a number of seconds: the limit of the test itself (`house.timeouts`) is reached before."""

TICK_S = 0.25
T = TypeVar("T")

# Bound here: tests replace these functions, and freezegun the clocks that it knows.
_listdir, _open, _read, _close = os.listdir, os.open, os.read, os.close
_clock = time.clock_gettime


class OwnTime:
    """A stopwatch for the process `pid` and its descendants, without `but`; it counts from now, in own seconds.

    Where the kernel has no schedstat all seconds count. It must be read every now and then: a thread that began and ended
    between two readings is not seen.
    """

    def __init__(self, pid: int | None = None, but: int = 0) -> None:
        self._pid, self._but = pid or os.getpid(), but
        self._lock = threading.Lock()
        self._own_s = 0.0
        self._threads = self._look()
        self._at_s = _clock(time.CLOCK_MONOTONIC)

    def read(self) -> float:
        """The own seconds since this watch was made."""
        with self._lock:
            threads, at_s = self._look(), _clock(time.CLOCK_MONOTONIC)
            passed_s = at_s - self._at_s
            ran_s = waited_s = 0.0
            for thread, (ran_ns, waited_ns, is_ready) in threads.items():
                ran_before, waited_before, _ = self._threads.get(thread, (0, 0, False))
                ran_s += max(0, ran_ns - ran_before) / 1e9
                waited_s += max(0, waited_ns - waited_before) / 1e9
                if is_ready and (ran_ns, waited_ns) == (ran_before, waited_before):
                    waited_s += passed_s  # a wait is counted when it ends, and this one has not
            # Several threads wait at the same time: then it is what ran that counts.
            self._own_s += max(passed_s - waited_s, min(passed_s, ran_s))
            self._threads, self._at_s = threads, at_s
            return self._own_s

    def _look(self) -> dict[str, tuple[int, int, bool]]:
        """Of each thread of the tree, the nanoseconds that it ran and that it waited for a processor, and if it could run."""
        found = {}
        for pid in _tree(self._pid, self._but):
            try:
                for thread in _listdir(f"/proc/{pid}/task"):
                    ran, waited, _ = _text(f"/proc/{pid}/task/{thread}/schedstat").split()
                    state = _text(f"/proc/{pid}/task/{thread}/stat").rpartition(")")[2].split()[0]
                    found[thread] = (int(ran), int(waited), state == "R")
            except (OSError, ValueError, IndexError):
                continue  # it has ended, or this kernel does not say
        return found


def _tree(root: int, but: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    try:
        names = [name for name in _listdir("/proc") if name.isdigit()]
    except OSError:
        return
    for name in names:
        try:
            parent = _text(f"/proc/{name}/stat").rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            continue
        children.setdefault(int(parent), []).append(int(name))
    left = [root]
    while left:
        pid = left.pop()
        if pid != but:
            yield pid
            left += children.get(pid, [])


def _text(path: str) -> str:
    descriptor = _open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(descriptor, 4096).decode("ascii", "replace")
    finally:
        _close(descriptor)


# --- waiting, in own seconds -----------------------------------------------------------------------------------------


def until(ready: Callable[[float], T], what: str = "it", patience_s: float = PATIENCE_S) -> T:
    """Calls `ready` with the seconds that it may wait until it gives something true; that."""
    own = OwnTime()
    while not (found := ready(TICK_S)):
        if own.read() > patience_s:
            raise AssertionError(f"{what} did not happen in {patience_s:g} s of our own time")
    return found


def met(gate: threading.Event) -> bool:
    """Waits for a gate; True."""
    return until(gate.wait, "a gate's opening")


def joined(thread: threading.Thread) -> None:
    """Waits for a thread's end."""

    def has_ended(tick_s: float) -> bool:
        thread.join(tick_s)
        return not thread.is_alive()

    until(has_ended, f"the end of {thread.name}")


def ended(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> int:
    """Waits for a process's end; its exit status, negative for a signal."""

    def has_ended(tick_s: float) -> bool:
        try:
            process.wait(tick_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    until(has_ended, f"the end of process {process.pid}")
    return process.returncode


def heard(
    process: subprocess.Popen[AnyStr], said: AnyStr | None = None, *, lasts_s: float = 0.0
) -> tuple[AnyStr, AnyStr]:
    """Says `said`, waits for a process's end, and gives what came from its standard output and error. `lasts_s`: how long the process
    works on purpose, sleep included."""

    words = [said]  # given once: `communicate` goes on with them by itself, and takes none a second time

    def has_ended(tick_s: float) -> tuple[AnyStr, AnyStr] | None:
        try:
            return process.communicate(words.pop() if words else None, timeout=tick_s)
        except subprocess.TimeoutExpired:
            return None

    found = until(has_ended, f"the end of process {process.pid}", PATIENCE_S + lasts_s)
    assert found is not None
    return found


class Meeting:
    """So many threads wait for each other, once: `threading.Barrier`, in own seconds."""

    def __init__(self, parties: int) -> None:
        self._missing = parties
        self._lock = threading.Lock()
        self._all_here = threading.Event()

    def wait(self) -> None:
        with self._lock:
            self._missing -= 1
            if not self._missing:
                self._all_here.set()
        met(self._all_here)


# --- the watch over a whole test -------------------------------------------------------------------------------------


def watch(pid: int) -> None:
    """Sends SIGALRM to `pid` when its tree has used up the limit that standard input names, until that is closed."""
    own, limit_s, rest = OwnTime(pid, os.getpid()), 0.0, b""
    while os.getppid() == pid:
        if select.select([0], [], [], TICK_S if limit_s else None)[0]:
            said = os.read(0, 4096)
            if not said:
                return
            *lines, rest = (rest + said).split(b"\n")
            if lines:
                own, limit_s = OwnTime(pid, os.getpid()), float(lines[-1])
        elif limit_s and own.read() > limit_s:
            limit_s = 0.0
            os.kill(pid, signal.SIGALRM)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal is for pytest
    watch(int(sys.argv[1]))
