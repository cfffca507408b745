"""The event loop that a caller runs in: asyncio's, or trio's. Neither is imported here: what runs has been imported."""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "Signal",
    "checked_s",
    "in_thread",
    "is_in_loop",
    "is_trio",
    "only_asyncio",
    "run_alone",
    "running_loop",
    "signal_here",
    "turn",
    "within",
]

Result = TypeVar("Result")


def is_trio() -> bool:
    """Whether this code runs in a task of trio's, also below anyio."""
    trio = _trio()
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def is_in_loop() -> bool:
    """Whether this thread runs an event loop, which blocking code would stop."""
    return is_trio() or running_loop() is not None


def only_asyncio(what: str) -> None:
    """Raises RuntimeError in a task of trio's, for `what` works in asyncio only."""
    if is_trio():
        raise RuntimeError(f"{what} needs asyncio; under trio, BearerAuth and access_token keep a client signed in")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """asyncio's loop that runs in this thread, None for none."""
    get = getattr(sys.modules.get("asyncio"), "get_running_loop", None)  # None, too, while another thread imports it
    if get is None:
        return None
    try:
        loop: asyncio.AbstractEventLoop = get()
    except RuntimeError:
        return None
    return loop


def run_alone(work: Callable[[], Coroutine[Any, Any, Result]], what: str, instead: str) -> Result:
    """The result of `work` in a loop of its own. Raises RuntimeError in a thread whose asyncio loop runs, which `what` would
    block: `instead` works there."""
    if running_loop() is not None:
        raise RuntimeError(f"{what} would block the event loop that runs in this thread: use {instead}")
    import asyncio

    return asyncio.run(work())


class Signal(Protocol):
    """Something that one task waits for; `set` may be called from any thread, and raises RuntimeError once the loop has ended."""

    def set(self) -> None: ...
    async def wait(self) -> None: ...


def signal_here() -> Signal:
    """A signal that a task waits for in the event loop that runs here, either one."""
    return _TrioSignal() if is_trio() else _AsyncioSignal()


def checked_s(seconds: float | None, name: str = "timeout_s") -> float | None:
    """`seconds` that a loop can wait, as they are. Raises ValueError, with the argument's `name`, for any others."""
    if seconds is not None and not 0 <= seconds < float("inf"):
        raise ValueError(f"{name} is {seconds}: it must be a number of seconds, not negative and finite")
    return seconds


async def within(seconds: float | None, wait: Callable[[], Awaitable[Result]]) -> Result:
    """The result of `wait` in either loop, if it comes within `seconds` (None: no limit). Raises TimeoutError, and as `wait`."""
    if trio := _trio() if is_trio() else None:
        with trio.move_on_after(math.inf if seconds is None else seconds):
            return await wait()
        raise TimeoutError
    import asyncio  # loaded already where a loop runs; most commands have none

    async with asyncio.timeout(seconds):
        return await wait()


async def in_thread(work: Callable[[], Result]) -> Result:
    """The result of `work`, which the event loop runs in a thread. Raises what it raises."""
    if trio := _trio() if is_trio() else None:
        result: Result = await trio.to_thread.run_sync(work)
        return result
    import asyncio

    return await asyncio.to_thread(work)


async def turn() -> None:
    """Lets the loop's other tasks run."""
    if trio := _trio() if is_trio() else None:
        await trio.lowlevel.checkpoint()
        return
    import asyncio

    await asyncio.sleep(0)


class _AsyncioSignal:
    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._woken: asyncio.Future[None] = self._loop.create_future()

    def set(self) -> None:
        self._loop.call_soon_threadsafe(self._wake)

    async def wait(self) -> None:
        await self._woken

    def _wake(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)


class _TrioSignal:
    def __init__(self) -> None:
        trio = _trio()
        self._event = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def set(self) -> None:
        self._token.run_sync_soon(self._event.set)  # its RunFinishedError is a RuntimeError

    async def wait(self) -> None:
        await self._event.wait()


def _trio() -> Any:
    """The module, where the program has imported it."""
    return sys.modules.get("trio")
