"""A login at an emulated server, and what serves it: in this process for requests, as a program for lives and deaths."""

from __future__ import annotations

import asyncio
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import pytest
from house.patience import NO_LIMIT_S, joined, until

from kimi_auth.clock import SystemClock
from kimi_auth.machine import recorder_from_environ
from kimi_auth.selection import UNLABELLED, login_name
from kimi_auth.serving import server as serving_server
from kimi_auth.serving.app import build_app
from kimi_auth.serving.audit import Audit
from kimi_auth.serving.contracts import Wish
from kimi_auth.serving.grant_life import GrantHooks, GrantLife
from kimi_auth.serving.handles import Handles
from kimi_auth.serving.places import Places
from kimi_auth.serving.program import Options, Program
from kimi_auth.serving.records import Caller, Grant, GrantFiles
from kimi_auth.serving.sandbox import Sandbox
from kimi_auth.serving.server import Door, LoopbackServer, Peer
from kimi_auth.serving.service import Service
from kimi_auth.session import Session, supply_of
from kimi_auth.testing.emulator import Emulator
from kimi_auth.token import Token, key_fingerprint, left_s

ME = os.geteuid()
CLIENT_ID = "17e5f671-d194-4dfb-9706-5516cb48c098"
OWNER = Door("owner", frozenset({ME}))
TCP = Door("tcp")


class Clock(SystemClock):
    """Time that a test moves."""

    now_s = 1_700_000_000.0

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


class Standstill(SystemClock):
    """The ages of tokens and the steps of backoffs stand still, however slow the machine is, until a test moves them by `go_on`; waits
    and patience do not."""

    def __init__(self) -> None:
        self._wall_s, self._boottime_s = super().wall_s(), super().boottime_s()

    def go_on(self, by_s: float) -> None:
        self._wall_s += by_s
        self._boottime_s += by_s

    def wall_s(self) -> float:
        return self._wall_s

    def boottime_s(self) -> float:
        return self._boottime_s


class FakeLogin:
    """A login whose token a test chooses; `error`: there is none now. `asked` are the wishes."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.number = 1
        self.error: Exception | None = None
        self.asked: list[Wish] = []
        self.before: Callable[[], None] = lambda: None

    @property
    def token(self) -> Token:
        return Token(f"access-{self.number}", "the-real-refresh-token", self.clock.now_s + 900, 900.0, "kimi-code")

    async def token_for(self, wish: Wish) -> Token:
        self.asked.append(wish)
        self.before()
        if self.error is not None:
            raise self.error
        return self.token

    async def changed(self, has_fp: str, wait_s: float) -> None:
        for _ in range(int(wait_s * 100)):
            if key_fingerprint(self.token.access_token) != has_fp:
                return
            await asyncio.sleep(0.01)

    def has_had(self, access_token: str) -> bool:
        return access_token in {f"access-{number}" for number in range(1, self.number + 1)}

    async def is_current(self, access_token: str) -> bool:
        if self.error is not None:
            raise self.error
        return access_token == self.token.access_token

    def left_s(self, token: Token) -> float:
        return left_s(token, self.clock.now_s)

    def state(self) -> str:
        return "fresh"


class Desk:
    """A service over files of its own, asked without a socket."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.files = GrantFiles(folder)
        self.audit = Audit(folder / "audit.log", self.clock.wall_s)
        self.login = FakeLogin(self.clock)
        self.handles: Handles = self.files.handles()
        self.hooks = GrantHooks(
            self.files, self.audit, self.login, now_s=self.clock.wall_s, monotonic_s=self.clock.monotonic_s
        )
        self.life = GrantLife(self.hooks, observe=recorder_from_environ())
        self.service = Service(
            self.login,  # type: ignore[arg-type]
            self.life,
            self.handles,
            self.audit,
            self.clock,
            client_id=CLIENT_ID,
            platform="kimi-code",
        )

        async def no_wait(source: str, now_s: float) -> None:
            self.slowed.append(self.service._slow.delay_s(source, now_s))

        self.slowed: list[float] = []
        self.service._slow.wait = no_wait  # type: ignore[method-assign]
        self.app = build_app(self.service)

    def issue(self, name: str = "agent", **options: Any) -> Grant:
        """A new grant."""
        grant = Grant.new(name, options.pop("uids", (ME,)), self.clock.now_s, **options)
        return run(self.life.issue(grant, Caller(ME, 1, "command")))

    def handle(self, grant: Grant, number: int = 1) -> str:
        """The handle that came with the access token of this number."""
        return self.handles.handle(grant.id, key_fingerprint(f"access-{number}"))

    def ask(
        self,
        method: str,
        path: str,
        *,
        door: Door = TCP,
        peer: Peer | None = None,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """One request by a door, from a peer (default: me, where the door has users)."""
        if door.uids is not None and peer is None:
            peer = Peer(ME, 0, 1)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = {"door": door, "peer": peer}
            await self.app(scope, receive, send)

        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as client:
                return await client.request(method, path, headers=headers, **more)

        return run(asked())

    def renew(self, handle: str, **more: Any) -> httpx.Response:
        """A token request of an OAuth client."""
        form = {"grant_type": "refresh_token", "refresh_token": handle, "client_id": CLIENT_ID}
        return self.ask("POST", "/api/oauth/token", data=form | more.pop("form", {}), **more)

    def told(self) -> list[str]:
        """What the audit log says happened, a refusal with its reason."""
        return [line["what"] + (f" {line['why']}" if "why" in line else "") for line in self.audit.lines()]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine."""
    return asyncio.run(work)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A service over files of its own."""
    made = Desk(tmp_path / "serving")
    yield made
    made.audit.close()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A server that approves at once."""
    with Emulator(approve="auto", approve_after_s=0, interval_s=0) as running:
        yield running


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose name is short enough for sockets below it."""
    folder = Path(tempfile.mkdtemp(prefix="ka", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


class Serving:
    """`kimi-auth serve` as a program, on a login of its own. `account`: which one of that home, "" for that in use."""

    def __init__(self, emulator: Emulator, share_dir: Path, sockets: Path, account: str = "") -> None:
        self.emulator = emulator
        self.account = account
        self.sockets = sockets
        self.share_dir = share_dir
        self.env = {**os.environ, **emulator.env, "KIMI_SHARE_DIR": str(share_dir)}
        self.env.pop("KIMI_AUTH_STORE", None)
        self.places = Places(share_dir, login_name("kimi-code", account or UNLABELLED), sockets)
        self.owner = self.places.socket("owner")
        self.clock = Standstill()
        self.process: subprocess.Popen[str] | None = None
        self.here: Program | None = None
        self.thread: threading.Thread | None = None
        emulator.sign_in(share_dir, account=account or UNLABELLED)

    def start(self, *options: str, descriptors: int = 0) -> dict[str, Any]:
        """Starts it, where said with this usual limit of open files; returns its ready line."""
        line = ["sh", "-c", f'ulimit -S -n {descriptors} && exec "$@"', "sh"] if descriptors else []
        line += [sys.executable, "-m", "kimi_auth", "serve", "--json", "--sockets", str(self.sockets), *options]
        line += ["--account", self.account] if self.account else []
        self.process = subprocess.Popen(line, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready: dict[str, Any] = json.loads(self.process.stdout.readline() or self.process.communicate()[1])
        return ready

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ends it; returns its exit status and what it said."""
        assert self.process is not None
        self.process.send_signal(number)
        _, said = self.process.communicate()
        status, self.process = self.process.returncode, None
        return status, said

    def run(self, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """A command of the owner's."""
        line = [sys.executable, "-m", "kimi_auth", *words]
        return subprocess.run(line, env=self.env | (env or {}), capture_output=True, text=True, check=False)

    @property
    def session(self) -> Session:
        """The owner's session, as any process of theirs has one."""
        return Session(
            self.share_dir, environ=self.env, platform="kimi-code", account=self.account or None, clock=self.clock
        )

    def start_here(self, **options: Any) -> dict[str, Any]:
        """Serves in a thread of this process; returns what the ready line would say."""
        return self.serve_here(self.session, lambda _: (), **options)

    def serve_here(self, session: Session, more: Callable[[Service], Any], **options: Any) -> dict[str, Any]:
        """The same, of that session and with more routes."""
        self.here = Program(session, self.places, Options(**options), None)
        told: Queue[dict[str, Any]] = Queue()
        self.thread = threading.Thread(target=self.here.run, args=(told.put, more))
        self.thread.start()
        return told.get(timeout=NO_LIMIT_S)

    @property
    def server(self) -> LoopbackServer:
        """What serves in the thread."""
        assert self.here is not None
        assert self.here.server is not None
        return self.here.server

    def stop_here(self) -> None:
        """Ends the thread's service."""
        if self.here is not None and self.thread is not None:
            self.here.stop()
            joined(self.thread)
            self.here = None

    def grant(self, name: str, **options: Any) -> Sandbox:
        """Issues a grant as `serve grant` does, in this process."""
        files = self.places.grants()
        hooks = GrantHooks(
            files, Audit(self.places.audit, time.time), None, now_s=time.time, monotonic_s=time.monotonic
        )
        made = Grant.new(name, options.pop("uids", (ME,)), time.time(), **options)
        grant = run(GrantLife(hooks).issue(made, Caller(ME, 1, "command")))
        token = supply_of(self.session).token_sync()
        there(self.places.socket(name)) if self.here or self.process else None
        place, api_base = self.places.socket(name).parent, self.emulator.api_base
        return Sandbox(name, grant.id, token, files.handles(), place, api_base, "kimi-code")

    def revoke(self, name: str) -> None:
        """Ends a grant as `serve grants revoke` does."""
        files = self.places.grants()
        for one in files.all(time.time()):
            if one.grant is not None and one.grant.name == name:
                files.revoke(one.grant.id, time.time(), "test")

    def renew(self, box: Sandbox, handle: str | None = None) -> Reply:
        """A token request in that sandbox, at its socket."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": handle or box.pair.refresh_token,
            "client_id": CLIENT_ID,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", "/api/oauth/token", urlencode(form), headers, box.socket_dir / "kimi.sock")

    def get_token(self, box: Sandbox) -> Reply:
        """The token of now, for the secret of that sandbox, at its socket."""
        headers = {"Authorization": f"Bearer {box.secret}"}
        return self.ask("GET", "/v1/token", None, headers, box.socket_dir / "kimi.sock")

    def get(self, path: str, socket: Path | None = None) -> Reply:
        """A request of the owner's, or at another socket."""
        return self.ask("GET", path, None, {}, socket)

    def ask(self, method: str, path: str, body: str | None, headers: dict[str, str], at: Path | None = None) -> Reply:
        """One request at a socket, the owner's by default. Raises OSError where no server is there."""
        connection = UnixConnection(at or self.owner)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Reply(answer.status, answer.read())
        except http.client.HTTPException as error:
            raise ConnectionError from error
        finally:
            connection.close()


class Reply(NamedTuple):
    """An answer."""

    status_code: int
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket. httpx's leaves its socket open where nothing listens."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=NO_LIMIT_S)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect(str(self.path))
        except OSError:
            self.close()
            raise


@pytest.fixture
def serving(emulator: Emulator, tmp_path: Path, short: Path) -> Iterator[Serving]:
    """A login, and the program that will serve it."""
    made = Serving(emulator, tmp_path / "host", short / "s")
    yield made
    made.stop_here()
    if made.process is not None:
        made.end(signal.SIGKILL)


class Looks:
    """One server looks at its clients every 50 ms instead of every 30 s, and from `begin` on: a test says when a request has
    arrived. No other server of this process looks at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._server: LoopbackServer | None = None
        self._passed = threading.Semaphore(0)
        look = serving_server._Connection._look

        def looked(connection: Any, before: object) -> None:
            if self._server is None or connection.server_state is not self._server.server_state:
                connection._looking = connection.loop.call_later(serving_server.SLOW_S, connection._look, before)
                return
            look(connection, before)
            if not connection.transport.is_closing():
                self._passed.release()

        monkeypatch.setattr(serving_server, "SLOW_S", 0.05)
        monkeypatch.setattr(serving_server._Connection, "_look", looked)

    def begin(self, server: LoopbackServer) -> None:
        """From now on that server looks."""
        self._server = server

    def pass_by(self, count: int) -> None:
        """Waits for so many looks that let a client be."""
        for _ in range(count):
            until(lambda tick_s: self._passed.acquire(timeout=tick_s), "a look")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def has_arrived(sent: socket.socket) -> None:
    """Waits until the server has read all that was sent at a UNIX socket: only then is a request in flight."""

    def unread_bytes() -> int:
        return int.from_bytes(fcntl.ioctl(sent, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    until(lambda tick_s: unread_bytes() == 0 or time.sleep(min(tick_s, 0.02)), "a request in flight")


def there(path: str | Path) -> None:
    """Waits for a file."""
    until(lambda tick_s: Path(path).exists() or time.sleep(min(tick_s, 0.02)), f"{path}")


def gone(path: str | Path) -> None:
    """Waits for a file's end."""
    until(lambda tick_s: not Path(path).exists() or time.sleep(min(tick_s, 0.02)), f"the end of {path}")


def to_the_end(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    got = b""
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionError:
            return got
        if not part:
            return got
        got += part
