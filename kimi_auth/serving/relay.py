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

    met = set[asyncio.Task[None]]()  # ours: asyncio prints a traceback for each task of its own that is cancelled

    def meet(inner: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_joined(inner, back, socket))
        met.add(task)
        task.add_done_callback(met.discard)

    server = await asyncio.start_server(meet, "127.0.0.1", port)
    try:
        ready(server.sockets[0].getsockname()[1])
        # Not `serve_forever`: from CPython 3.12.1 on, once cancelled it waits for the open connections, which are ended below.
        await asyncio.get_running_loop().create_future()
    finally:
        server.close()
        for task in met:
            task.cancel()
        await asyncio.gather(*met, return_exceptions=True)


async def _joined(inner: asyncio.StreamReader, back: asyncio.StreamWriter, socket: str) -> None:
    """One connection, to its end."""
    try:
        outer, out = await asyncio.open_unix_connection(socket)
    except OSError:
        back.close()
        return
    try:
        await asyncio.gather(_copy(inner, out), _copy(outer, back), return_exceptions=True)
        for writer in (out, back):
            writer.close()
    finally:  # cancelled: a client that does not read keeps its connection no longer; closed ones are left alone
        for writer in (out, back):
            if not writer.is_closing():
                writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Relays one direction of a connection until the reader's end, which the writer is told."""
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()


def main(words: list[str]) -> int:
    """`relay.py SOCKET [PORT]`, which says where it listens; an exit status. Port 0 takes a free one."""
    if not 0 < len(words) <= 2 or not all(word.isdecimal() and len(word) < 6 for word in words[1:]):
        sys.stderr.write("usage: relay.py SOCKET [PORT]\n")
        return 2
    port = int(words[1]) if words[1:] else PORT

    def ready(port: int) -> None:
        with contextlib.suppress(AttributeError, OSError):  # there is no standard error, or its reader has gone
            sys.stderr.write(f"relaying 127.0.0.1:{port} to {words[0]}\n")

    try:
        asyncio.run(relay(words[0], port, ready))
    except KeyboardInterrupt:
        return 130
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or "there is no such port"
        sys.stderr.write(f"relay.py: cannot listen on 127.0.0.1:{port}: {said}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
