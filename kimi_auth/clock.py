"""Time as an argument: what the flows read instead of the `time` module, so that a test can hold it still."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Four clocks and two ways to sleep. Every number is in seconds."""

    def wall_s(self) -> float:
        """Unix time: for what is stored and compared between machines; may be set back or forward."""

    def monotonic_s(self) -> float:
        """Never goes back; stops while the machine is suspended."""

    def boottime_s(self) -> float:
        """Never goes back and counts suspension; comparable between processes of one boot only."""

    def boot_id(self) -> str:
        """Names this boot of this machine, "" where the system does not say."""

    def sleep(self, seconds: float) -> None:
        """Blocks the calling thread."""

    async def sleep_async(self, seconds: float) -> None:
        """Suspends the calling task."""


class SystemClock:
    """The machine's own clocks."""

    def wall_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def boottime_s(self) -> float:
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    def boot_id(self) -> str:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        except OSError:
            return ""

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
