"""A new process that does one thing in an event loop, and says for how long nothing else could run there; see `bench.stalls`.

    python -m bench.looping THING SHARE_DIR

The heartbeat is a task that sleeps a millisecond, again and again: the longest gap between two beats is the longest stall,
with whatever the machine's other programs took of it. The CPU that this process used within a gap is its own part, as far as the
loop's thread did not wait for a processor, which other programs had.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.worker import tell
from kimi_auth import Session, SilentView

BEAT_S = 0.001


class _Client:
    """What `kept_fresh` serves."""

    api_key = ""


async def login(session: Session) -> None:
    await session.login(SilentView(), force=True)


async def renewal(session: Session) -> None:
    await session.access_token(refresh=True)


async def kept_fresh(session: Session) -> None:
    async with session.kept_fresh(client := _Client()):
        assert client.api_key


async def models(session: Session) -> None:
    await session.models.fetch()


async def verify(session: Session) -> None:
    await session.models.verify()


THINGS: dict[str, Callable[[Session], Awaitable[None]]] = {
    thing.__name__: thing for thing in (login, renewal, kept_fresh, models, verify)
}


class _Waited:
    """For how long the thread that made it has waited for a processor so far, in seconds; 0 where the system does not say.

    One call of the system for each answer: at each a thread that imports may take the interpreter for 5 ms, and that would be
    a stall of the measure's own making.
    """

    def __init__(self) -> None:
        found = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._file = os.open(found, os.O_RDONLY) if found.exists() else -1

    def now_s(self) -> float:
        return int(os.pread(self._file, 100, 0).split()[1]) / 1e9 if self._file >= 0 else 0.0


async def _stalled(thing: Callable[[Session], Awaitable[None]], session: Session) -> tuple[float, float]:
    """The longest gap between two beats while `thing` runs, in seconds beyond the beat's own; and the most that this
    process itself computed within one gap."""
    gap_s, own_s, is_over, waited = 0.0, 0.0, False, _Waited()

    async def beat() -> None:
        nonlocal gap_s, own_s
        waited_s, at_s, cpu_s = waited.now_s(), time.perf_counter(), time.process_time()
        while not is_over:
            await asyncio.sleep(BEAT_S)
            passed_s, used_s = time.perf_counter() - at_s - BEAT_S, time.process_time() - cpu_s
            stood_s = max(passed_s - (waited.now_s() - waited_s), 0.0)
            gap_s, own_s = max(gap_s, passed_s), max(own_s, min(stood_s, used_s))
            waited_s, at_s, cpu_s = waited.now_s(), time.perf_counter(), time.process_time()

    beating = asyncio.create_task(beat())
    await asyncio.sleep(20 * BEAT_S)  # the loop's own first steps
    gap_s = own_s = 0.0
    await thing(session)
    is_over = True
    await beating
    return gap_s, own_s


def main() -> None:
    name, share_dir = sys.argv[1], Path(sys.argv[2])
    session = Session(share_dir, environ=os.environ)
    gap_s, own_s = asyncio.run(_stalled(THINGS[name], session))
    tell(gap_s=gap_s, own_s=own_s)


if __name__ == "__main__":
    main()
