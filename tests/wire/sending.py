"""The two ways in which a request leaves: from a thread, and from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kimi_auth.wire.clients import Clients
from kimi_auth.wire.request import Request
from kimi_auth.wire.response import RawResponse

__all__ = ["Send", "in_loop", "in_thread"]

Send = Callable[[Request], RawResponse]


def in_thread(request: Request) -> RawResponse:
    return Clients().send(request)


def in_loop(request: Request) -> RawResponse:
    async def run() -> RawResponse:
        clients = Clients()
        try:
            return await clients.send_async(request)
        finally:
            await clients.aclose()

    return asyncio.run(run())
