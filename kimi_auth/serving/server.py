"""uvicorn on sockets that listen already, its doors: loopback TCP and UNIX sockets, each connection with the user behind it.

A socket has a `Door`, which the app finds in `scope["state"]["door"]`, beside `peer` (a `Peer`; None over TCP) and `transport`.
Sockets may be opened and closed while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
import struct
import sys
import threading
from asyncio import Transport
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from kimi_auth.support.logs import logger

__all__ = ["Door", "LoopbackServer", "Peer", "door_of", "peer_of"]

HEADER_BYTES_MAX = 32 * 1024
"""Request line and headers together; uvicorn answers 400 to more that comes in pieces, the guards 431."""

SLOW_S = 30.0
"""A client that is to send a request, or the rest of one, and sends nothing complete for so long is closed, in seconds."""

PROGRESS_BYTES = 4096
"""So much of a body is progress within `SLOW_S`."""

WIRE_BYTES_MAX = 256 << 20
"""What one request may send in all: a body is bounded by what it holds, and chunks of one byte, or with extensions, hold little."""

CONNECTIONS_MAX = 256
"""At one door at once, so that one sandbox cannot take every descriptor of the process."""

log = logger("serving.connections")
log.addFilter(lambda record: record.levelno >= logging.ERROR)  # uvicorn warns of each request that is no HTTP


class Peer(NamedTuple):
    """The process at the other end of a UNIX socket when it connected, as the kernel says. `pid` 0: unknown here."""

    uid: int
    gid: int
    pid: int = 0


class Door(NamedTuple):
    """A listening socket, for the app. `uids`: the users who may connect, None for a socket without users (TCP). `grant`: the
    id of the one grant that is served here, "" for any."""

    name: str
    uids: frozenset[int] | None = None
    grant: str = ""


TCP = Door("tcp")


def door_of(scope: Scope) -> Door:
    """The door, a socket that uvicorn listens on, by which a request came in."""
    door: Door = scope["state"]["door"]
    return door


def peer_of(scope: Scope) -> Peer | None:
    """The user and process behind a connection, None over TCP."""
    peer: Peer | None = scope["state"]["peer"]
    return peer


class LoopbackServer(uvicorn.Server):
    """uvicorn on sockets that listen already. It leaves signals and logging alone.

    `stop` ends it: at once, or with `drain_s` once the requests that run have been answered, after so many seconds at the
    latest. `beside` runs in the server's loop while it serves, and may `open` and `close` sockets. `tls`: for every TCP socket.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket | None = None,
        *,
        drain_s: float = 0.0,
        beside: Callable[[], Any] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        config = uvicorn.Config(
            _until_cancelled(app),
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            date_header=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
            # Longer than clients keep an idle connection (httpx: 5 s, as uvicorn's default): otherwise both ends may close
            # it at once, and a request that is just being sent fails.
            timeout_keep_alive=75,
        )
        super().__init__(config)
        self._first = listener
        self._drain_s = drain_s
        self._beside = beside
        self._tls = tls
        self._doors: dict[Door, asyncio.Server] = {}
        self._loop = asyncio.new_event_loop()  # made here, so that `stop` works before the loop runs
        self._stopping = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        """True from `stop` on: no new connection is accepted soon, and a readiness check should fail."""
        return self._stopping.is_set()

    def run_to_end(self) -> None:
        """uvicorn serves in this thread until `stop`. Connections made earlier wait in the socket."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self.serve())

    def start(self, name: str) -> threading.Thread:
        """uvicorn serves its doors in a thread of its own until `stop`; a thread that still runs does not keep the program alive."""
        thread = threading.Thread(target=self.run_to_end, name=name, daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Ends uvicorn's service: from any thread or signal handler, at any time, any number of times."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def open(self, listener: socket.socket, door: Door = TCP) -> None:
        """Accepts connections of one more socket."""
        made = functools.partial(
            _Connection, config=self.config, server_state=self.server_state, app_state={"door": door}, at_door=set()
        )
        tls = self._tls if listener.family != socket.AF_UNIX else None
        server = await self._loop.create_server(made, sock=listener, ssl=tls, backlog=socket.SOMAXCONN)
        self._doors[door] = server
        self.servers.append(server)

    def close(self, door: Door) -> None:
        """Accepts no more connections at `door`, and ends those that came by it."""
        if (server := self._doors.pop(door, None)) is None:
            return
        server.close()
        self.servers.remove(server)
        for connection in list(self.server_state.connections):
            if connection.app_state.get("door") == door:
                connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers: list[asyncio.Server] = []
        if self._first is not None:
            await self.open(self._first)
        self.started = True

    async def main_loop(self) -> None:
        beside = asyncio.ensure_future(self._beside()) if self._beside else None
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({stopping, *([beside] if beside else [])}, return_when=asyncio.FIRST_COMPLETED)
            if beside is not None and beside.done():
                beside.result()  # what ran beside never ends by itself: its error ends the program
        finally:
            self._stopping.set()
            for task in filter(None, (beside, stopping)):
                task.cancel()
            await asyncio.gather(*filter(None, (beside, stopping)), return_exceptions=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the listening sockets, lets requests end for `drain_s`, aborts connections and cancels pending answers."""
        for server in self.servers:
            server.close()
        until_s = self._loop.time() + self._drain_s
        while self.server_state.tasks and self._loop.time() < until_s:
            await asyncio.wait(set(self.server_state.tasks), timeout=until_s - self._loop.time())
        while self.server_state.connections or self.server_state.tasks:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)
            for task in list(self.server_state.tasks):
                task.cancel()
            await asyncio.sleep(0)


class _Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection; in the scope's state its transport, so that an app can close it, and its peer. `at_door`: the
    connections of its door. One too many is closed at once, and one whose client sends too slowly after a while."""

    def __init__(self, *args: Any, at_door: set[_Connection], **more: Any) -> None:
        super().__init__(*args, **more)
        self.logger = log
        self._at_door = at_door
        self._received_bytes = self._request_bytes = 0
        self._unsent_bytes = 0
        self._looking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.access_log = False
        if len(self._at_door) >= CONNECTIONS_MAX:
            transport.abort()
            return
        self._at_door.add(self)
        self._looking = self.loop.call_later(SLOW_S, self._look, h11.IDLE)
        accepted = transport.get_extra_info("socket")
        if accepted.family != socket.AF_UNIX:
            # asyncio does this only for sockets whose protocol number is known: one from systemd, or made with proto=0,
            # answered in 44 ms instead of 1.3.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {"door": TCP, **self.app_state, "transport": transport, "peer": _peer(accepted)}

    def connection_lost(self, exc: Exception | None) -> None:
        self._at_door.discard(self)
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received_bytes += len(data)
        self._request_bytes += len(data)
        if self._request_bytes > WIRE_BYTES_MAX:
            self.transport.abort()
            return
        super().data_received(data)

    def on_response_complete(self) -> None:
        self._request_bytes = 0
        super().on_response_complete()

    def _look(self, before: object) -> None:
        """Ends the connection of a client that has sent no complete head since the last look, or next to nothing of a body, or has read
        nothing of its answer. One that waits for its answer, or rests between two requests, is left alone. `before`: in which state
        the last look found the client."""
        state, received_bytes = self.conn.their_state, self._received_bytes
        unsent_bytes = self.transport.get_write_buffer_size()
        reads_nothing = self.flow.write_paused and unsent_bytes == self._unsent_bytes
        self._received_bytes, self._unsent_bytes = 0, unsent_bytes
        rests = self.timeout_keep_alive_task is not None  # closed by that timer
        is_late = state is h11.IDLE and before is h11.IDLE and not rests
        stalls = state is h11.SEND_BODY and received_bytes < PROGRESS_BYTES and not self.flow.read_paused
        if is_late or reads_nothing or (stalls and before is h11.SEND_BODY):
            self.transport.abort()
            return
        self._looking = self.loop.call_later(SLOW_S, self._look, None if rests else state)


def _peer(accepted: socket.socket) -> Peer | None:
    """The user who connected to a UNIX socket; a user that cannot be told is -1, which no door admits."""
    if accepted.family != socket.AF_UNIX:
        return None
    try:
        if sys.platform == "darwin":
            xucred = accepted.getsockopt(0, 1, 76)  # SOL_LOCAL, LOCAL_PEERCRED: version, uid, ngroups, groups[16]
            _, uid, groups, gid = struct.unpack_from("=IIh2xI", xucred)
            return Peer(uid, gid if groups else -1)
        credentials = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, gid = struct.unpack("=iII", credentials)
        return Peer(uid, gid, pid)
    except (OSError, AttributeError, struct.error):
        return Peer(-1, -1)


def _until_cancelled(app: ASGIApp) -> ASGIApp:
    """uvicorn logs a cancelled request as a crash; here the server's own stop cancels it."""

    async def quiet(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return quiet
