"""A port that refuses connections, and one whose server has ended."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from house.patience import until

__all__ = ["freed", "silent_port"]


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


def freed(url: str) -> None:
    """Waits until no server listens at the port of a URL of 127.0.0.1, and asks none: a server of another test, which ends soon,
    may have been given the port."""

    port = urlsplit(url).port
    assert port, url

    def is_free(tick_s: float) -> bool:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            time.sleep(tick_s)
            return False
        return True

    until(is_free, f"the end of what listens at {url}")
