"""A SOCKS 5 proxy (RFC 1928, RFC 1929) on loopback, as far as a client of CONNECT needs it."""

from __future__ import annotations

import contextlib
import socket

from life.proxy import Proxy


class SocksProxy(Proxy):
    """Connects to the host that it is told and counts; asks for `user` and `password` if they are given.

    `turns_away`: the reply code for each CONNECT (RFC 1928 §6), 0 for a connection.
    """

    def __init__(self, user: str = "", password: str = "") -> None:
        self.asked_for: list[tuple[str, int]] = []
        self.logins: list[tuple[str, str]] = []
        self.turns_away = 0
        self._user, self._password = user, password
        super().__init__()

    def serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, IndexError):
            if not self._greeted(client):
                return
            _, _, _, kind = _read(client, 4)
            if kind == 3:
                host = _read(client, _read(client, 1)[0]).decode()
            else:
                host = socket.inet_ntop(
                    *((socket.AF_INET, _read(client, 4)) if kind == 1 else (socket.AF_INET6, _read(client, 16)))
                )
            port = int.from_bytes(_read(client, 2), "big")
            self.asked_for.append((host, port))
            if self.turns_away:
                client.sendall(bytes([5, self.turns_away, 0, 1, 0, 0, 0, 0, 0, 0]))
                client.shutdown(socket.SHUT_RDWR)
                return
            self.connect(client, host, port, bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))

    def _greeted(self, client: socket.socket) -> bool:
        _, count = _read(client, 2)
        methods, wanted = _read(client, count), 2 if self._user else 0
        if wanted not in methods:
            client.sendall(bytes([5, 0xFF]))
            return False
        client.sendall(bytes([5, wanted]))
        if not self._user:
            return True
        user = _read(client, _read(client, 2)[1]).decode()
        password = _read(client, _read(client, 1)[0]).decode()
        self.logins.append((user, password))
        is_right = (user, password) == (self._user, self._password)
        client.sendall(bytes([1, 0 if is_right else 1]))
        return is_right


def _read(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = end.recv(size - len(data))
        if not part:
            raise OSError("the peer has gone")
        data += part
    return data
