"""Offers a grant's UNIX socket on 127.0.0.1 of a sandbox, for clients that speak TCP only. The standard library only: this file
also runs on its own.

    python relay.py /run/kimi/kimi.sock 47823

It copies bytes and understands none. Everything in the sandbox can reach it, as everything there can read its credential file.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable

__all__ = ["PORT", "main", "relay"]

PORT = 47823
"""The port that credential files of sandboxes name, unless another one is given."""

CHUNK_BYTES = 64 * 1024


async def relay(socket: str, port: int = PORT, ready: Callable[[int], object] = lambda _: None) -> None:
    """Accepts connections on 127.0.0.1 until it is cancelled; `ready` is told the port. A connection is closed where the socket
    cannot be reached: the server is being started again, and the client asks once more. Raises OSError for a port that is taken."""

    async def meet(inner: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            outer, out = await asyncio.open_unix_connection(socket)
        except OSError:
            back.close()
            return
        try:
            await asyncio.gather(_copy(inner, out), _copy(outer, back), return_exceptions=True)
        finally:
            for writer in (out, back):
                writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", port)
    async with server:
        ready(server.sockets[0].getsockname()[1])
        await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the reader's end, which the writer is told."""
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()


def main() -> None:
    """`relay.py SOCKET [PORT]`"""
    socket, port = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else PORT
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(relay(socket, port))


if __name__ == "__main__":
    main()
