"""Serves the app on a socket of its own: in this process's main loop, or in a thread for tests (`Emulator`)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from asyncio import Transport
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from kimi_auth.clock import SystemClock
from kimi_auth.platforms import credential_key
from kimi_auth.selection import DEFAULT_PLATFORM, UNLABELLED, login_name
from kimi_auth.store import FileStore
from kimi_auth.token import Token

from .app import build_app, describe_env
from .authorization_server import State
from .records import Reuse, Settings


class Emulator:
    """The emulated service in a background thread, for the length of a `with` block.

        with Emulator(approve="auto", approve_after_s=0, interval_s=0, access_ttl_s=60) as emulator:
            subprocess.run(["kimi-auth", "login"], env={**os.environ, **emulator.env})
            assert emulator.state.counts["exchanges"] == 1

    All times are seconds. `now_s` is the clock by which codes and tokens age (Unix seconds); `reuse` is `strict`,
    `lenient`, `none` or `grace:SECONDS`. Any thread may read, script and change `state`. Raises OSError if the port is
    taken, ValueError for a setting that makes no sense.
    """

    def __init__(
        self,
        *,
        approve: Literal["auto", "page"] = "auto",
        approve_after_s: float = 1.0,
        access_ttl_s: float = 900.0,
        refresh_ttl_s: float = 30 * 86_400.0,
        code_ttl_s: float = 1800.0,
        interval_s: float = 5.0,
        latency_s: float = 0.0,
        reuse: str = "strict",
        share_dir: str | None = None,
        port: int = 0,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        settings = Settings(
            approve=approve,
            approve_after_s=approve_after_s,
            access_ttl_s=access_ttl_s,
            refresh_ttl_s=refresh_ttl_s,
            code_ttl_s=code_ttl_s,
            interval_s=interval_s,
            latency_s=latency_s,
            reuse=Reuse.parse(reuse),
        )
        self.state: State = State(settings, now_s)
        self._share_dir = share_dir
        self._port = port
        self._base_url = ""
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT`, known while it runs."""
        if not self._base_url:
            raise RuntimeError("the emulator is not running: use it in a `with` block")
        return self._base_url

    @property
    def oauth_host(self) -> str:
        """The value for KIMI_CODE_OAUTH_HOST."""
        return self.base_url

    @property
    def api_base(self) -> str:
        """The value for KIMI_CODE_BASE_URL."""
        return f"{self.base_url}/coding/v1"

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that point a program at this emulator."""
        return describe_env(self.base_url, self._share_dir)

    def sign_in(self, share_dir: str | Path | None = None, *, account: str = UNLABELLED) -> None:
        """Stores a new login of an `account` in `share_dir`, by default the emulator's own, as a sign-in does that was
        approved. Raises ValueError where neither names a directory, ConfigError for an account of no possible name."""
        folder = share_dir or self._share_dir
        if folder is None:
            raise ValueError("name the share directory to sign in")
        given, life_s = self.state.issue(), self.state.settings.access_ttl_s
        key = credential_key(login_name(DEFAULT_PLATFORM, account))
        store = FileStore(Path(folder), key, clock=SystemClock())
        with store.locked(None):
            store.put(
                Token(
                    given.access_token,
                    given.refresh_token or "",
                    time.time() + life_s,
                    life_s,
                    given.scope,
                    issuer=self.oauth_host,
                )
            )

    def __enter__(self) -> Self:
        listener, self._base_url = listen("127.0.0.1", self._port)
        server = LoopbackServer(build_app(self.state, self._base_url, self.env), listener)
        self._stop = server.stop
        self._thread = threading.Thread(target=server.run_to_end, name="kimi-auth-emulator", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._stop()
            self._thread.join()
            self._thread, self._base_url = None, ""


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """A listening socket (port 0: any free one) and the base URL that reaches it. Raises OSError.

    The URL of a wildcard address names the loopback address of its family.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(socket.SOMAXCONN)
    except OSError:
        listener.close()
        raise
    bound, bound_port = listener.getsockname()[:2]
    ip = ipaddress.ip_address(bound)
    if ip.is_unspecified:
        ip = ipaddress.ip_address("::1" if ip.version == 6 else "127.0.0.1")
    return listener, f"http://{f'[{ip}]' if ip.version == 6 else ip}:{bound_port}"


class LoopbackServer(uvicorn.Server):
    """uvicorn on a socket that listens already. It stops at once and leaves signals and logging alone."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(
            _until_cancelled(app),
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            date_header=False,
            server_header=False,
            proxy_headers=False,
            # Longer than clients keep an idle connection (httpx: 5 s, as uvicorn's default): otherwise both ends may close
            # it at once, and a request that is just being sent fails.
            timeout_keep_alive=75,
        )
        super().__init__(config)
        self._listener = listener
        self._loop = asyncio.new_event_loop()  # made here, so that `stop` works before the loop runs
        self._stopping = asyncio.Event()

    def run_to_end(self) -> None:
        """Serves in this thread until `stop`. Connections made earlier wait in the socket."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self.serve(sockets=[self._listener]))

    def stop(self) -> None:
        """Ends the service: from any thread or signal handler, at any time, any number of times."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
            self._loop.call_soon_threadsafe(self._stopping.set)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the listening sockets, aborts connections, cancels pending answers, and waits for no client."""
        for server in self.servers:
            server.close()
        while self.server_state.connections or self.server_state.tasks:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)
            for task in list(self.server_state.tasks):
                task.cancel()
            await asyncio.sleep(0)


class _Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, with its transport in the scope's state so that a fault can close it."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.access_log = False
        self.app_state = {**self.app_state, "transport": transport}


def _until_cancelled(app: ASGIApp) -> ASGIApp:
    """uvicorn logs a cancelled request as a crash; here the server's own stop cancels it."""

    async def quiet(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return quiet
