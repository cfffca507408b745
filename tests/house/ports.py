"""A port that refuses connections."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["silent_port"]


@contextmanager
def silent_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections for the length of the block.

    A bound socket that does not listen holds it. A port that was given back may be the next one that the system hands to a
    server of another test, which then answers. On Linux a server that is told the port may take it, and take it again.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: else theirs could not be bound
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
