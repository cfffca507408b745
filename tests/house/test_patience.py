"""Limits measure progress: what hangs reaches them by itself, what only waits for a processor does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from house.patience import OwnTime, ended, heard, joined, met, until

SPIN = "while True: pass"
WORK = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
print(flush=True)
while time.process_time() < float(sys.argv[2]): pass
"""
HANGS = """
import subprocess, sys, threading
import pytest

@pytest.mark.timeout(1)
def test_sleeps(): threading.Event().wait()

@pytest.mark.timeout(1)
def test_spins():
    while True: pass

@pytest.mark.timeout(1)
def test_waits_for_a_child(): subprocess.run([sys.executable, "-c", "import time; time.sleep(3600)"])

@pytest.mark.timeout(1)
def test_spins_in_a_child(): subprocess.run([sys.executable, "-c", "while True: pass"])

@pytest.mark.timeout(1)
def test_is_quick(): pass

@pytest.mark.timeout(0)
def test_has_no_limit(): threading.Event().wait(1.5)
"""

needs_schedstat = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="needs /proc/PID/schedstat: without it all seconds count"
)


@contextmanager
def busy(cpu: int, count: int) -> Iterator[None]:
    """So many others who want this processor."""
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        for other in others:
            os.sched_setaffinity(other.pid, {cpu})
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@needs_schedstat
def test_waiting_for_a_processor_does_not_count() -> None:
    """Half a second of work, beside four others who want the same processor: hardly more of our own time than that."""
    cpu = min(os.sched_getaffinity(0))
    with busy(cpu, 4):
        began_s = time.monotonic()
        worker = subprocess.Popen([sys.executable, "-c", WORK, str(cpu), "0.5"], stdout=subprocess.PIPE)
        own = OwnTime(worker.pid)
        until(lambda tick_s: own.read() < 0 or _is_over(worker, tick_s))
        own_s, passed_s = own.read(), time.monotonic() - began_s
        worker.communicate()
    assert passed_s > 1.5, "nothing was in its way"
    assert own_s < passed_s / 2


def _is_over(process: subprocess.Popen[bytes], tick_s: float) -> bool:
    try:
        process.wait(tick_s / 10)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_sleeping_counts() -> None:
    """A tree of processes that sleeps has the time and does not use it."""
    own = OwnTime()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]) as sleeper:
        until(lambda tick_s: threading.Event().wait(tick_s) or own.read() > 0.5)
        sleeper.kill()


def test_a_kernel_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without schedstat each second counts."""
    monkeypatch.setattr("house.patience._listdir", lambda _: [])
    own, began_s = OwnTime(), time.monotonic()
    threading.Event().wait(0.2)
    assert 0.19 < own.read() <= time.monotonic() - began_s + 0.01


def test_every_wait_ends() -> None:
    """A gate, a thread, a process, its output: what comes is given, what does not come is named."""
    gate = threading.Event()
    waiter = threading.Thread(target=met, args=(gate,))
    waiter.start()
    gate.set()
    joined(waiter)
    with subprocess.Popen([sys.executable, "-c", "print(input())"], stdin=-1, stdout=-1, stderr=-1, text=True) as echo:
        assert heard(echo, "words") == ("words\n", "")
        assert ended(echo) == 0
    with pytest.raises(AssertionError, match=r"the answer did not happen in 0\.1 s of our own time"):
        until(lambda tick_s: threading.Event().wait(tick_s), "the answer", 0.1)


def test_what_hangs_fails_by_itself(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sleep, a loop, and a child of either kind reach the limit; the others do not, and the run goes on."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makepyprojecttoml(
        '[tool.pytest.ini_options]\naddopts = ["-p", "house.timeouts"]\ntimeout_method = "signal"'
    )
    pytester.makepyfile(HANGS)
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(passed=2, failed=4)
    done.stdout.fnmatch_lines(["*Failed: Timeout (>1.0s) from pytest-timeout*"])
