"""A proxy on loopback: it listens, keeps every socket and thread that it makes, and ends with all of them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, Self

from house.patience import joined

__all__ = ["Proxy"]


class Proxy:
    """`serve` speaks the proxy's protocol with one client, and may `connect` it to a server."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._accepting = threading.Thread(target=self._accept)
        self._ends = False
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self, client: socket.socket) -> None:
        raise NotImplementedError

    def connect(self, client: socket.socket, host: str, port: int, greeting: bytes) -> None:
        """Greets the client once the server is reached, and carries bytes both ways until both have ended."""
        far = self._keep(socket.create_connection((host, port)))
        client.sendall(greeting)
        self._start(_pump, far, client)
        _pump(client, far)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends = True
        self._listener.shutdown(socket.SHUT_RDWR)
        joined(self._accepting)
        for end in list(self._sockets):
            _end(end)
        while self._threads:  # one that is here may still start another, before it ends itself
            joined(self._threads.pop())
        for end in (self._listener, *self._sockets):
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._serve, self._keep(self._listener.accept()[0]))

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            self.serve(client)

    def _keep(self, end: socket.socket) -> socket.socket:
        self._sockets.append(end)
        if self._ends:  # those that were kept before have been ended
            _end(end)
        return end

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args)
        thread.start()
        self._threads.append(thread)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65_536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)
