"""Modules that are loaded in a thread disturb neither the program's other threads nor a child that it forks meanwhile."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kimi_auth.support.imports import NEVER, YOUNG, undisturbed

SLOW = """
import threading
may_end = threading.Event()
may_end.wait()
value = 1
"""
PROGRAM = """
import asyncio, gc, os, sys
from kimi_auth.loading import load

began = gc.get_threshold()
os.register_at_fork(before=lambda: sys.modules["slow"].may_end.set())  # the last one, so it runs first

async def main():
    loading = asyncio.create_task(load("slow"))
    while not hasattr(sys.modules.get("slow"), "may_end"):
        await asyncio.sleep(0)
    child = os.fork()
    if not child:
        import slow
        os._exit(0 if slow.value == 1 and gc.get_threshold() == began and gc.isenabled() else 1)
    await loading
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

sys.exit(asyncio.run(main()) or gc.get_threshold() != began)
"""


def test_a_fork_waits_for_a_module_that_is_being_loaded(tmp_path: Path) -> None:
    """A child that is forked while a thread loads a module can use it, and collects garbage as its parent does."""
    (tmp_path / "slow.py").write_text(SLOW)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


COLLECTED = """
import asyncio, gc, os, sys
from kimi_auth import Session, SilentView

full = []
gc.callbacks.append(lambda phase, info: full.append(info) if (phase, info["generation"]) == ("start", 2) else None)

async def main(session):
    await session.login(SilentView())
    await session.access_token(refresh=True)
    await session.models.verify()

gc.collect()
full.clear()
gc.set_threshold(700, 10, 6)  # after seven collections of the middle generation: as if the program had run for a while
asyncio.run(main(Session(sys.argv[1], environ=os.environ)))
print(len(full))
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="collections are incremental since Python 3.14")
def test_no_collection_of_all_objects_stops_a_loop(tmp_path: Path) -> None:
    """All that a login, a renewal and a request for the models load brings no full collection, which stops every thread."""
    from kimi_auth.testing import Emulator

    with Emulator(approve="auto", approve_after_s=0, interval_s=0) as emulator:
        done = subprocess.run(
            [sys.executable, "-c", COLLECTED, str(tmp_path)],
            env={**os.environ, **emulator.env},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


@pytest.fixture
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize(("theirs", "meanwhile"), [((700, 10, 10), YOUNG), ((50_000, 5, 5), 50_000), ((0, 10, 10), 0)])
def test_the_program_s_own_thresholds_come_back(thresholds: None, theirs: tuple[int, int, int], meanwhile: int) -> None:
    """Collection is never made more frequent, stays off where a program turned it off, and is as before after an error."""
    gc.set_threshold(*theirs)
    with suppress(ImportError), undisturbed():
        assert gc.get_threshold() == (meanwhile, theirs[1], NEVER)
        raise ImportError
    assert gc.get_threshold() == theirs


def test_thresholds_that_a_program_sets_meanwhile_stay(thresholds: None) -> None:
    """Another thread's `gc.set_threshold` while modules are loaded is the program's last word."""
    with undisturbed():
        gc.set_threshold(50_000, 50, 100)
    assert gc.get_threshold() == (50_000, 50, 100)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="collections are incremental since Python 3.14")
def test_a_full_collection_that_is_due_waits(thresholds: None) -> None:
    """A program that has run for a while brings a count at its limit: modules that are loaded do not make it a collection of all."""
    gc.set_threshold(700, 10, 10)
    gc.collect()
    for _ in range(12):
        gc.collect(1)
    assert gc.get_count()[2] > 10
    full: list[int] = []

    def watch(phase: str, info: dict[str, int]) -> None:
        if (phase, info["generation"]) == ("start", 2):
            full.append(1)

    gc.callbacks.append(watch)
    try:
        with undisturbed():
            kept = [[number] for number in range(100_000)]
            seen = len(full)
    finally:
        gc.callbacks.remove(watch)
    assert (len(kept), seen) == (100_000, 0)
