"""Both clocks keep the promises of `Clock`; the virtual one jumps only when no task can run."""

from __future__ import annotations

import asyncio
import ctypes
import re
import runpy
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house.patience import NO_LIMIT_S

from kimi_auth.clock import Clock, SystemClock, VirtualClock
from kimi_auth.support import system

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The async tests run on asyncio."""
    return "asyncio"


def reading(clock: Clock) -> tuple[float, float, float]:
    """Wall, monotonic and boot time, in seconds."""
    return clock.wall_s(), clock.monotonic_s(), clock.boottime_s()


@pytest.fixture
def clock() -> VirtualClock:
    """A virtual clock whose three times are easy to tell apart."""
    return VirtualClock(wall_s=5_000.0, monotonic_s=100.0, boottime_s=300.0)


# --- the machine's clocks ---------------------------------------------------------------------------------------------


def test_system_clock_reads_the_machine() -> None:
    """Its times are the time module's, in its units."""
    before = time.time(), time.monotonic()
    wall_s, monotonic_s, boottime_s = reading(SystemClock())
    assert before[0] <= wall_s <= time.time()
    assert before[1] <= monotonic_s <= time.monotonic()
    assert boottime_s >= monotonic_s - 0.1


def test_system_clock_without_a_boot_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without CLOCK_BOOTTIME gets monotonic time instead."""
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert runpy.run_path(system.__file__)["BOOTTIME"] == time.CLOCK_MONOTONIC


def test_system_clock_names_the_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The boot id is a line without its line end, and "" where the kernel does not say."""
    assert re.fullmatch(r"[0-9a-f-]{36}|", SystemClock().boot_id())
    monkeypatch.setattr(Path, "read_text", _no_such_file)
    assert SystemClock().boot_id() == ""


class DarwinLibrary:
    """libSystem as far as it is asked."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def sysctlbyname(self, name: bytes, value: Any, size: Any, _new: object, _new_size: object) -> int:
        if name != self._name:
            return -1
        value.value = b"8A2F4E0C-0000-4000-8000-123456789ABC"
        return 0


@pytest.mark.parametrize(
    ("library", "boot_id"),
    [
        (DarwinLibrary(b"kern.bootsessionuuid"), "8A2F4E0C-0000-4000-8000-123456789ABC"),
        (DarwinLibrary(b"kern.other"), ""),
        (object(), ""),
        (None, ""),
    ],
)
def test_system_clock_names_the_boot_of_a_mac(
    monkeypatch: pytest.MonkeyPatch, library: object | None, boot_id: str
) -> None:
    """Without /proc the boot session is asked for; a system that has neither says nothing."""

    def load(_name: object) -> object:
        if library is None:
            raise OSError
        return library

    monkeypatch.setattr(Path, "read_text", _no_such_file)
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert SystemClock().boot_id() == boot_id


def _no_such_file(path: Path, _encoding: str) -> str:
    raise FileNotFoundError(path)


def test_system_clock_sleeps() -> None:
    """Both sleeps come back; the real time they take is the time module's affair."""
    SystemClock().sleep(0)
    asyncio.run(SystemClock().sleep_async(0))


# --- virtual time by hand ---------------------------------------------------------------------------------------------

MOVES: list[tuple[str, Callable[[VirtualClock], None], tuple[float, float, float]]] = [
    ("nothing", lambda clock: None, (5_000.0, 100.0, 300.0)),
    ("advance", lambda clock: clock.advance(7), (5_007.0, 107.0, 307.0)),
    ("sleep", lambda clock: clock.sleep(7), (5_007.0, 107.0, 307.0)),
    ("sleep below zero", lambda clock: clock.sleep(-7), (5_000.0, 100.0, 300.0)),
    ("suspend", lambda clock: clock.suspend(60), (5_060.0, 100.0, 360.0)),
    ("wall forward", lambda clock: clock.set_wall(9_000), (9_000.0, 100.0, 300.0)),
    ("wall back", lambda clock: clock.set_wall(1_000), (1_000.0, 100.0, 300.0)),
    ("reboot", lambda clock: clock.reboot("b2"), (5_000.0, 0.0, 0.0)),
]


@pytest.mark.parametrize(("move", "after"), [pytest.param(*row[1:], id=row[0]) for row in MOVES])
def test_what_moves_which_clock(
    clock: VirtualClock, move: Callable[[VirtualClock], None], after: tuple[float, float, float]
) -> None:
    """Each event of a machine's life moves the clocks that it moves in reality, and no other."""
    move(clock)
    assert reading(clock) == after


@pytest.mark.parametrize("move", ["advance", "suspend"])
@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_time_never_passes_backwards(clock: VirtualClock, move: str, seconds: float) -> None:
    """A negative step is the test's mistake, and leaves the clock as it was."""
    with pytest.raises(ValueError, match="backwards"):
        getattr(clock, move)(seconds)
    assert reading(clock) == (5_000.0, 100.0, 300.0)


def test_reboot_names_another_boot(clock: VirtualClock) -> None:
    """The boot id changes with the boot, and only with it."""
    first = clock.boot_id()
    clock.advance(1)
    assert clock.boot_id() == first
    clock.reboot("another")
    assert clock.boot_id() == "another"


# --- virtual time by itself -------------------------------------------------------------------------------------------


async def test_sleepers_wake_in_the_order_of_their_deadlines(clock: VirtualClock) -> None:
    """Ten days pass without waiting, each sleeper sees exactly its own deadline, equal ones keep their order."""
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep_async(seconds)
        seen.append((name, clock.monotonic_s() - 100.0))

    day_s = 86_400.0
    await asyncio.gather(sleeper("late", 10 * day_s), sleeper("a", day_s), sleeper("b", day_s), sleeper("now", 0))
    assert seen == [("now", 0.0), ("a", day_s), ("b", day_s), ("late", 10 * day_s)]
    assert clock.wall_s() == 5_000.0 + 10 * day_s


async def test_time_waits_for_everybody_who_can_run(clock: VirtualClock) -> None:
    """A task that still has steps to make makes all of them at one instant, however many they are."""
    instants: set[float] = set()

    async def worker() -> None:
        for _ in range(1_000):
            await asyncio.sleep(0)
            instants.add(clock.monotonic_s())

    working = asyncio.create_task(worker())
    await clock.sleep_async(60)
    assert working.done()
    assert instants == {100.0}


async def test_time_waits_for_what_a_sleeper_does_next(clock: VirtualClock) -> None:
    """Two tasks that sleep in turns see the same sequence of instants as on a real clock."""
    seen: list[float] = []

    async def every(seconds: float, times: int) -> None:
        for _ in range(times):
            await clock.sleep_async(seconds)
            seen.append(clock.monotonic_s() - 100.0)

    await asyncio.gather(every(3, 4), every(4, 3))
    assert seen == [3, 4, 6, 8, 9, 12, 12]


async def test_time_waits_for_the_loop_to_hear_a_socket(clock: VirtualClock) -> None:
    """What one task writes in the last moment is read by another before time jumps."""
    heard: list[tuple[bytes, float]] = []
    here, there = socket.socketpair()

    async def write() -> None:
        there.send(b"word")

    with here, there:
        asyncio.get_running_loop().add_reader(here, lambda: heard.append((here.recv(4), clock.monotonic_s())))
        writing = asyncio.create_task(write())
        await clock.sleep_async(60)
        await writing
        asyncio.get_running_loop().remove_reader(here)
    assert heard == [(b"word", 100.0)]


async def test_quiet_s_lets_a_thread_answer_first() -> None:
    """With `quiet_s`, time stands still while a worker thread answers within it."""
    clock = VirtualClock(monotonic_s=100.0, quiet_s=NO_LIMIT_S)
    instants: list[float] = []

    async def ask() -> None:
        for _ in range(3):
            instants.append(await asyncio.to_thread(clock.monotonic_s))

    asking = asyncio.create_task(ask())
    napping = asyncio.create_task(clock.sleep_async(60))
    await asking
    napping.cancel()
    assert instants == [100.0] * 3
    assert clock.monotonic_s() == 100.0


async def test_quiet_s_is_real_time() -> None:
    """After that long a silence time jumps, to the deadline and no further."""
    clock = VirtualClock(monotonic_s=100.0, quiet_s=0.01)
    began_s = time.monotonic()
    await clock.sleep_async(60)
    assert time.monotonic() - began_s >= 0.01
    assert clock.monotonic_s() == 160.0


async def test_cancelled_sleeper_leaves_no_deadline(clock: VirtualClock) -> None:
    """Time does not stop at the deadline of a task that has ended."""
    left = asyncio.create_task(clock.sleep_async(5))
    await asyncio.sleep(0)
    left.cancel()
    await clock.sleep_async(60)
    assert left.cancelled()
    assert clock.monotonic_s() == 160.0


async def test_advance_wakes_sleepers(clock: VirtualClock) -> None:
    """A task whose deadline is passed by hand wakes up, at the time set by hand."""
    sleeper = asyncio.create_task(clock.sleep_async(60))
    await asyncio.sleep(0)
    clock.advance(3_600)
    clock.advance(1)
    await sleeper
    assert clock.monotonic_s() == 3_701.0


async def test_sleep_in_a_thread_wakes_tasks() -> None:
    """A worker thread that sleeps past a task's deadline wakes the task."""
    clock = VirtualClock(monotonic_s=100.0, quiet_s=NO_LIMIT_S)
    sleeper = asyncio.create_task(clock.sleep_async(60))
    await asyncio.sleep(0)
    await asyncio.to_thread(clock.sleep, 600)
    await sleeper
    assert clock.monotonic_s() == 700.0


async def test_suspend_wakes_nobody(clock: VirtualClock) -> None:
    """Sleep is measured on the monotonic clock, which stops: a nap of 10 s takes an hour of wall time."""
    napping = asyncio.create_task(clock.sleep_async(10))
    await asyncio.sleep(0)
    clock.suspend(3_600)
    assert not napping.done()
    await napping
    assert reading(clock) == (8_610.0, 110.0, 3_910.0)


async def test_no_task_survives_a_reboot(clock: VirtualClock) -> None:
    """A reboot under a sleeping task is the test's mistake."""
    napping = asyncio.create_task(clock.sleep_async(10))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="sleeping"):
        clock.reboot("b2")
    await napping
    clock.reboot("b2")
    assert clock.boot_id() == "b2"


def test_one_loop_after_the_other(clock: VirtualClock) -> None:
    """The same clock serves the next event loop, also when the last one ended in mid-sleep."""

    async def leave_a_sleeper() -> asyncio.Task[None]:
        task = asyncio.create_task(clock.sleep_async(1_000))
        await asyncio.sleep(0)
        return task

    assert asyncio.run(leave_a_sleeper()).cancelled()
    asyncio.run(clock.sleep_async(60))
    assert clock.monotonic_s() == 160.0


def test_sleeper_on_a_closed_loop_is_nobody(clock: VirtualClock) -> None:
    """Time that passes a sleeper whose loop was closed under it does not fail."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(clock.sleep_async(60))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    clock.advance(600)
    assert not task.done()
    asyncio.run(clock.sleep_async(60))
    assert clock.monotonic_s() == 760.0
    task.get_coro().close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_threads_lose_no_second() -> None:
    """Moves from many threads add up."""
    clock = VirtualClock(monotonic_s=0.0)

    def tick() -> None:
        for _ in range(500):
            clock.advance(1)

    threads = [threading.Thread(target=tick) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.monotonic_s() == 2_000.0
