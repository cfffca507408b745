"""The two ways in which a request leaves: from a thread, and from an event loop. A `clock` measures its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kimi_auth.clock import Clock
from kimi_auth.wire.clients import Clients
from kimi_auth.wire.request import Request
from kimi_auth.wire.response import RawResponse

__all__ = ["Send", "in_loop", "in_thread"]

Send = Callable[..., RawResponse]


def in_thread(request: Request, clock: Clock | None = None) -> RawResponse:
    return Clients(clock=clock).send(request)


def in_loop(request: Request, clock: Clock | None = None) -> RawResponse:
    async def run() -> RawResponse:
        if clock is not None:
            asyncio.get_running_loop().time = clock.monotonic_s  # type: ignore[method-assign]
        clients = Clients()
        try:
            return await clients.send_async(request)
        finally:
            await clients.aclose()

    return asyncio.run(run())
