"""Work that a host starts and forgets: it never raises into the host and never keeps it from ending."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["in_background"]

log: logging.Logger = logging.getLogger("kimi_auth.models")

T = TypeVar("T")


def in_background(work: Callable[[], Awaitable[T]], otherwise: T) -> Future[T]:
    """Runs `work` in an event loop and a daemon thread of its own. The future has its result, or `otherwise` when it
    failed, which is logged with its kind and, for our own errors, its sentence; nothing else is raised anywhere."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()

    async def run() -> T:
        return await work()

    def main() -> None:
        try:
            done.set_result(asyncio.run(run()))
        except BaseException as error:  # noqa: BLE001  (the host must not hear of it, whatever it is)
            log.warning("not synced: %s", getattr(error, "line", type(error).__name__))
            done.set_result(otherwise)

    try:
        threading.Thread(target=main, name="kimi-auth-background", daemon=True).start()
    except RuntimeError:  # a program that is ending starts no threads any more
        done.set_result(otherwise)
    return done
