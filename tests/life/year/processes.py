"""The processes of the laptop: each asks for tokens at its own random times, in every token life at least once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kimi_auth import Session
from kimi_auth.advisory import renew_if_due
from kimi_auth.errors import KimiAuthError
from kimi_auth.session import components_of
from life.year.laptop import Killed

if TYPE_CHECKING:
    from life.year.world import World

__all__ = ["Process"]

GAP_S: Final = (690.0, 890.0)
"""Between two requests of one process."""

DOWN_S: Final = (1.0, 60.0)
"""Between a kill and the next start."""

NOT_STARTED_S: Final = (60.0, 900.0)
"""Between a start that failed for want of a token and the next one."""


class Process:
    """One slot of the process table. `program`: asks its session. `kept`: is given tokens by the keeper. `command`: a
    process of its own for each token."""

    def __init__(self, world: World, slot: int, kind: str) -> None:
        self.kind = kind
        self.pid = world.next_pid()
        self._world = world
        self._only: Session | None = None
        self._slot = slot
        self._dice = world.book.dice(f"requests of {slot}")
        self._fate = world.book.dice(f"fate of {slot}")
        self._due_s = self._random_due_s = 0.0
        self._burst = 0
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"{self.kind} {self._slot} (pid {self.pid})"

    def kill(self) -> None:
        """SIGKILL."""
        self._world.laptop.kill(self.pid)
        if self._task is not None:
            self._task.cancel()

    async def live(self, only: Session | None = None) -> None:
        """One process after the other, for ever; with `only`, threads of one process that share a session."""
        self._only = only
        lives: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "program": self._program,
            "kept": self._kept,
            "command": self._command,
        }
        while True:
            self._task = asyncio.create_task(lives[self.kind]())
            try:
                await asyncio.wait({self._task})
            except asyncio.CancelledError:
                self.kill()
                await asyncio.wait({self._task})
                raise
            error = None if self._task.cancelled() else self._task.exception()
            if error is not None and not isinstance(error, Killed):
                self._world.book.violate(f"{self}: a bug: {error!r}")
            if error is not None or self._task.cancelled():
                await asyncio.sleep(self._fate.uniform(*DOWN_S))
            self.pid = self._world.next_pid()

    async def _program(self) -> None:
        session, ends_s = self._session(), self._ends_s()
        while self._world.laptop.awake_s < ends_s:
            await self._until_due()
            await self._world.ask(self, session)
        self._world.book.happened["restart"] += 1

    async def _command(self) -> None:
        await self._until_due()
        session = self._session()
        await self._world.ask(self, session)
        # A thread for what would do nothing takes its time.
        if session._supply.held is None and session.status().state == "expiring":
            await self._world.laptop.call(self.pid, partial(renew_if_due, components_of(session)))

    async def _kept(self) -> None:
        session, ends_s = self._session(), self._ends_s()
        client = [""]
        was_down = self._world.disturbances.outage
        try:
            async with session.kept_fresh(lambda token: client.__setitem__(0, token)):
                while self._world.laptop.awake_s < ends_s:
                    await self._until_due()
                    await self._world.ask(self, session, client[0])
                while session._components.credential.flights.in_flight():
                    await asyncio.sleep(1.0)
        except KimiAuthError as error:
            self._world.refused(self, error, was_down)
            await asyncio.sleep(self._fate.uniform(*NOT_STARTED_S))
        self._world.book.happened["restart"] += 1

    def _session(self) -> Session:
        return self._only or self._world.session(self)

    def _ends_s(self) -> float:
        hours = self._world.faults.restart_h
        return self._world.laptop.awake_s + self._fate.expovariate(1 / (hours * 3600)) if hours else float("inf")

    async def _until_due(self) -> None:
        now_s = self._world.laptop.awake_s
        if self._due_s >= self._random_due_s:
            self._random_due_s = max(self._random_due_s, now_s) + self._dice.uniform(*GAP_S)
        while (burst_s := self._world.burst_s(self._burst)) < now_s:
            self._burst += 1
        self._due_s = min(self._random_due_s, burst_s)
        self._burst += self._due_s == burst_s
        await asyncio.sleep(max(0.0, self._due_s - now_s))
