"""What would stop an event loop happens in a thread: modules are loaded and certificates read there, and read once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kimi_auth.testing import Emulator

# `ssl` is loaded by asyncio itself. filelock has to be loaded by the thread that may fork; see `kimi_auth.store.lock.load`.
PROGRAM = """
import asyncio, json, os, ssl, sys, threading
from kimi_auth import Session, SilentView

loaded, read = set(), []
is_watched = False

def watch(event, args):
    if event == "import" and is_watched and threading.current_thread() is threading.main_thread():
        if args[0] not in sys.modules:
            loaded.add(args[0].partition(".")[0])

sys.addaudithook(watch)
makes = ssl.create_default_context

def create_default_context(*given, **named):
    read.append(threading.current_thread() is threading.main_thread())
    return makes(*given, **named)

ssl.create_default_context = create_default_context

class Client:
    api_key = ""

async def main(session):
    global is_watched
    is_watched = True
    {work}
    is_watched = False

session = Session(sys.argv[1], environ=os.environ)
asyncio.run(main(session))
print(json.dumps([sorted(loaded), read]))
"""

LOGIN = "await session.login(SilentView())"
WORK = {
    "login": LOGIN,
    "renewal": f"is_watched = False; {LOGIN}; is_watched = True; await session.access_token(refresh=True)",
    "models": f"{LOGIN}; await session.models.fetch(); await session.models.sync_all()",
    "verify": f"{LOGIN}; print(await session.models.verify(), file=sys.stderr); await session.models.verify()",
    "kept_fresh": f"{LOGIN}\n    async with session.kept_fresh(Client()): pass",
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(approve="auto", approve_after_s=0, interval_s=0) as running:
        yield running


def watched(emulator: Emulator, share_dir: Path, work: str) -> tuple[set[str], list[bool]]:
    """What the loop's thread loaded during `work`, in a new process, and which threads read certificates."""
    program = PROGRAM.replace("{work}", WORK[work])
    done = subprocess.run(
        [sys.executable, "-c", program, str(share_dir)],
        env={**os.environ, **emulator.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded, read = json.loads(done.stdout)
    return set(loaded), read


@pytest.mark.parametrize("work", WORK)
def test_an_event_loop_loads_and_reads_nothing_large(emulator: Emulator, tmp_path: Path, work: str) -> None:
    """No HTTP, no checks of data, no backend of anyio is loaded by the loop's thread; it never reads certificates, and the
    process reads them once for all its requests."""
    loaded, read = watched(emulator, tmp_path, work)
    assert not loaded & {
        "httpx",
        "httpcore",
        "h11",
        "anyio",
        "trio",
        "pydantic",
        "pydantic_core",
        "transitions",
        "certifi",
    }
    assert read == [False]


def test_the_measure_works(emulator: Emulator, tmp_path: Path) -> None:
    """A module that the loop's thread loads is seen."""
    WORK["by itself"] = "import httpx"
    try:
        assert "httpx" in watched(emulator, tmp_path, "by itself")[0]
    finally:
        del WORK["by itself"]
