"""The deadline of a request in a thread, where no event loop can interrupt it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, cast

from kimi_auth.clock import Clock

from .failures import DeadlineError
from .request import Request

__all__ = ["SOCKS_FAILED", "SOCKS_STARTED", "Deadline"]

GRACE_S = 1.0
SOCKS_STARTED, SOCKS_FAILED = ".setup_socks5_connection.started", ".setup_socks5_connection.failed"


class Deadline:
    """httpx timeouts apply to one address, one handshake, one read, so each of these gets the time left, for connecting
    or for the whole request.

    After the deadline there is GRACE_S more, once: an answer that arrived while the process was stopped still counts.
    """

    def __init__(self, request: Request, clock: Clock) -> None:
        self._clock = clock
        now_s = clock.monotonic_s()
        self._connects_until_s = now_s + min(request.connect_timeout_s, request.deadline_s)
        self._ends_at_s = now_s + request.deadline_s
        self._in_grace = False
        self._socks: Any = None

    def left_s(self) -> float:
        """Seconds left until the request's deadline; raises DeadlineError when there are none."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._ends_at_s:
            if self._in_grace:
                raise DeadlineError
            self._in_grace, self._ends_at_s = True, now_s + GRACE_S
        return self._ends_at_s - now_s

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """The `trace` extension of httpx, which reports every new connection before and after each step. Bounds its
        steps and reads from then on."""
        if event.endswith(".connect_tcp.started"):
            _bound(info, self._connects_until_s - self._clock.monotonic_s(), _addresses_of(info["host"], info["port"]))
        elif event.endswith(".start_tls.started"):
            _bound(info, self._connects_until_s - self._clock.monotonic_s())
        elif event.endswith(SOCKS_STARTED):
            self._socks = info["stream"]
        elif event.endswith(SOCKS_FAILED):
            self._socks.close()  # httpcore leaves it open
        if not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            return
        stream = info["return_value"]
        read = stream.read

        def read_within(max_bytes: int, timeout: float | None = None) -> bytes:
            left_s = self.left_s()
            return cast("bytes", read(max_bytes, left_s if timeout is None else min(timeout, left_s)))

        stream.read = read_within


def _bound(info: Mapping[str, Any], left_s: float, parts: int = 1) -> None:
    """Changes the arguments of a step that is about to begin: it gets the time left, divided among its `parts`."""
    given_s = info["timeout"]
    wait_s = left_s if given_s is None else min(given_s, left_s)
    # Not 0: that would make the socket non-blocking instead of timing out.
    cast("dict[str, Any]", info)["timeout"] = max(wait_s, 0.001) / parts


def _addresses_of(host: str, port: int) -> int:
    """How many addresses httpx will try in turn."""
    try:
        return len(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)) or 1
    except OSError:
        return 1
