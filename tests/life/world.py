"""A login's environment: time that passes when a task waits, the person at the page, a server that follows a script."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias
from urllib.parse import parse_qs

from house.patience import NO_LIMIT_S

from kimi_auth.clock import Clock, SystemClock, VirtualClock
from kimi_auth.login.view import Notice, NoticeKind
from kimi_auth.machine import Observers, recorder_from_environ
from kimi_auth.machine.engine import Transition
from kimi_auth.session import Session
from kimi_auth.token import parse_record

# --- time and people --------------------------------------------------------------------------------------------------


class SharedTime(SystemClock):
    """Real time, and what anybody waited for on top of it: waiting takes no time here, and `tell` hears how long it was."""

    def __init__(self, *tell: Callable[[float], None], ahead_s: float = 0.0) -> None:
        self.tell = list(tell)
        self.ahead_s = ahead_s

    def wall_s(self) -> float:
        return super().wall_s() + self.ahead_s

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s

    def boottime_s(self) -> float:
        return super().boottime_s() + self.ahead_s

    def sleep(self, seconds: float) -> None:
        self.ahead_s += seconds
        for hear in self.tell:
            hear(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)


Act: TypeAlias = Callable[[str], object]


class Person:
    """A `LoginView` with a simulated person: keeps every notice, and does the next planned thing when its cue comes.

    A plan is a row of (cue, act); a cue is a kind of notice, an act gets the user code that is on the screen.
    """

    def __init__(self, *plan: tuple[NoticeKind, Act]) -> None:
        self.plan = deque(plan)
        self.notices: list[Notice] = []
        self.user_codes: list[str] = []

    def tell(self, notice: Notice) -> None:
        self.notices.append(notice)
        if notice.code is not None:
            self.user_codes.append(notice.code.user_code)
        if self.plan and self.plan[0][0] == notice.kind:
            self.plan.popleft()[1](self.user_codes[-1])

    async def left(self) -> None:
        await asyncio.Event().wait()

    @property
    def kinds(self) -> list[NoticeKind]:
        return [notice.kind for notice in self.notices]


class Watcher:
    """An observer that counts the activities of all walks; `seen` also tells the recorder that the run asks for."""

    def __init__(self) -> None:
        self.activities: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def seen(self) -> Observers:
        return Observers(self, recorder_from_environ())

    def entered(self, machine: str, state: str, activity: str) -> None:
        with self._lock:
            self.activities[activity] += 1

    def moved(self, transition: Transition) -> None:
        """Edges are the recorder's."""


@dataclass(kw_only=True)
class Home:
    """One share dir, as the sessions of a test use it. `environ` None: only the environment says where it is."""

    share_dir: Path
    clock: Clock = field(default_factory=VirtualClock)
    watcher: Watcher = field(default_factory=Watcher)
    environ: Mapping[str, str] | None = None

    def session(self, **settings: Any) -> Session:
        """A Session as a program makes it, with our clock, and counted."""
        usual = {"environ": self.environ, "clock": self.clock, "observe": self.watcher.seen}
        return Session(None if self.environ is None else self.share_dir, **{**usual, **settings})

    @property
    def credential(self) -> Path:
        return self.share_dir / "credentials" / "kimi-code.json"

    @property
    def record(self) -> dict[str, Any]:
        """The stored record, as JSON."""
        record: dict[str, Any] = json.loads(self.credential.read_text())
        return record

    def store(self, record: dict[str, object]) -> None:
        """Writes a record as the Kimi CLI does."""
        self.credential.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.credential.write_text(json.dumps(parse_record(record).record()))
        self.credential.chmod(0o600)

    @property
    def config(self) -> Path:
        return self.share_dir / "config.toml"

    @property
    def files(self) -> list[str]:
        """Every file below the share dir, but for the walks that are kept: their names tell the time."""
        return sorted(
            str(path.relative_to(self.share_dir))
            for path in self.share_dir.rglob("*")
            if not path.is_dir() and path.parent.name != "walks"
        )


# --- a server that follows a script -----------------------------------------------------------------------------------

FIN_WAIT_1 = b"\x04"
"""The state, in TCP_INFO's first byte, of a connection whose end has been said and not been taken."""

Endpoint = Literal["code", "poll", "exchange", "revoke", "metadata", "models", "other"]
Reply: TypeAlias = "bytes | Literal['drop', 'reset', 'broken off'] | Callable[[ScriptedServer], Reply]"

CLOSE: Final = b"\r\nconnection: close\r\n"
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
MODELS: Final = {"data": [{"id": "kimi-for-coding", "context_length": 262_144, "supports_reasoning": True}]}


def answer(status: int, body: object = b"", **headers: str) -> bytes:
    """An HTTP answer as bytes: `body` is bytes or text as it is, anything else as JSON. `content_type=...` names headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if not isinstance(body, bytes | str):
        body = json.dumps(body)
        named.setdefault("content-type", "application/json")
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Answer", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, f"content-length: {len(content)}", "", ""]).encode() + content


def oauth_error(code: str, status: int = 400, description: str = "") -> bytes:
    """RFC 6749 §5.2."""
    return answer(status, {"error": code, **({"error_description": description} if description else {})})


@dataclass
class Received:
    """One request as the server saw it; `at_s` by the clock of the script."""

    endpoint: Endpoint
    at_s: float
    secret: str = field(repr=False, default="")


class ScriptedServer:
    """An OAuth server and a models API on loopback: strict about rotation, polite, and with a list of exceptions.

    `script` says what the next requests at an endpoint get instead: an answer's bytes, a broken connection, or a function
    that gives one. Where the script has ended, the server behaves: codes, tokens at the first poll, rotation, models.
    Everything that it ever gave out is in `secrets`.
    """

    def __init__(
        self,
        now_s: Callable[[], float],
        script: Mapping[str, Iterable[Reply]] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.now_s = now_s
        self.script: dict[str, Iterator[Reply]] = {name: iter(replies) for name, replies in (script or {}).items()}
        self.received: list[Received] = []
        self.secrets: list[str] = []
        self.code_answer: dict[str, object] = {"expires_in": 1800, "interval": 5}
        self.token_answer: dict[str, object] = {"expires_in": 900, "scope": "kimi-code", "token_type": "Bearer"}
        self.refresh_token = ""
        self.reuse_seen = 0
        self.keep_alive: Literal["kept", "closed silently"] = "kept"
        self._lock = threading.Lock()
        self._http = _Listener(self, host, tls)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{shown}:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), name="scripted-server")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.close_all()

    @property
    def env(self) -> dict[str, str]:
        return {"KIMI_CODE_OAUTH_HOST": self.url, "KIMI_CODE_BASE_URL": f"{self.url}/coding/v1"}

    @property
    def connections(self) -> int:
        return self._http.accepted

    def wait_until_closed(self) -> None:
        """Returns when the server has closed every connection."""
        self._http.wait_until_closed()

    def times_s(self, endpoint: Endpoint) -> list[float]:
        """When requests came to this endpoint."""
        return [request.at_s for request in self.received if request.endpoint == endpoint]

    def count(self, endpoint: Endpoint) -> int:
        return len(self.times_s(endpoint))

    def grant(self, **changes: object) -> dict[str, object]:
        """A token answer with a new pair; a change to None leaves the field out."""
        number = len(self.secrets)
        pair = {"access_token": f"at{number}-{'s3cret' * 6}", "refresh_token": f"rt{number}-{'s3cret' * 6}"}
        self.secrets += pair.values()
        self.refresh_token = pair["refresh_token"]
        whole = {**pair, **self.token_answer, **changes}
        return {name: value for name, value in whole.items() if value is not None}

    def codes(self, **changes: object) -> dict[str, object]:
        """A device authorisation answer with new codes; a change to None leaves the field out."""
        number = len(self.secrets)
        self.secrets.append(f"dc{number}-{'s3cret' * 6}")
        whole = {
            "device_code": self.secrets[-1],
            "user_code": f"BCDF-{number:04}",
            "verification_uri": f"{self.url}/device",
            "verification_uri_complete": f"{self.url}/device?user_code=BCDF-{number:04}",
            **self.code_answer,
            **changes,
        }
        return {name: value for name, value in whole.items() if value is not None}

    def reply(self, method: str, path: str, form: Mapping[str, str]) -> Reply:
        """What this request gets; one at a time, so that a rotation is atomic."""
        with self._lock:
            endpoint = _endpoint(method, path, form)
            secret = form.get("refresh_token") or form.get("device_code") or form.get("token") or ""
            self.received.append(Received(endpoint, self.now_s(), secret))
            planned = next(self.script.get(endpoint, iter(())), None)
            reply: Reply = getattr(self, f"_{endpoint}")(secret) if planned is None else planned
            while callable(reply):
                reply = reply(self)
            return reply

    def _code(self, _: str) -> Reply:
        return answer(200, self.codes())

    def _poll(self, _: str) -> Reply:
        return answer(200, self.grant())

    def _exchange(self, refresh_token: str) -> Reply:
        if refresh_token != self.refresh_token:
            self.reuse_seen += 1
            self.refresh_token = ""  # a spent token that returns ends the whole family
            return oauth_error("invalid_grant")
        return answer(200, self.grant())

    def _revoke(self, _: str) -> Reply:
        self.refresh_token = ""
        return answer(200)

    def _metadata(self, _: str) -> Reply:
        return answer(200, {"issuer": self.url, "revocation_endpoint": f"{self.url}/api/oauth/revoke"})

    def _models(self, _: str) -> Reply:
        return answer(200, MODELS)

    def _other(self, _: str) -> Reply:
        return answer(404, "<h1>Not Found</h1>", content_type="text/html")


def rotated(server: ScriptedServer, **changes: object) -> bytes:
    """A 200 to a refresh, with a new pair."""
    return answer(200, server.grant(**changes))


def _endpoint(method: str, path: str, form: Mapping[str, str]) -> Endpoint:
    match method, path:
        case "POST", "/api/oauth/device_authorization":
            return "code"
        case "POST", "/api/oauth/token":
            return "poll" if form.get("grant_type") == DEVICE_GRANT else "exchange"
        case "POST", "/api/oauth/revoke":
            return "revoke"
        case "GET", "/coding/v1/models":
            return "models"
        case "GET", _ if path.startswith("/.well-known/"):
            return "metadata"
    return "other"


def _wait_until_taken(peer: socket.socket) -> None:
    """Returns when the other side's kernel knows of the end: a busy machine may be a moment late with that (tcp(7))."""
    if not hasattr(socket, "TCP_INFO"):
        return
    for _ in range(1000):
        if peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != FIN_WAIT_1:
            return
        threading.Event().wait(0.001)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, script: ScriptedServer, host: str, tls: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.accepted = 0
        self._open: set[socket.socket] = set()
        self._closed = threading.Condition()
        super().__init__((host, 0), type("Handler", (_Handler,), {"script": script}))
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def get_request(self) -> tuple[socket.socket, Any]:
        peer, address = super().get_request()
        self.accepted += 1
        self._open.add(peer)
        return peer, address

    def shutdown_request(self, request: Any) -> None:
        with contextlib.suppress(OSError):  # `close_all` was faster
            if not request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
                request.shutdown(socket.SHUT_WR)  # with SO_LINGER, closing is a reset instead of an end
                _wait_until_taken(request)
        request.close()
        with self._closed:
            self._open.discard(request)
            self._closed.notify_all()

    def wait_until_closed(self) -> None:
        with self._closed:
            assert self._closed.wait_for(lambda: not self._open, NO_LIMIT_S)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error."""

    def close_all(self) -> None:
        self.server_close()
        for peer in list(self._open):
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            peer.close()


class _Handler(BaseHTTPRequestHandler):
    script: ScriptedServer
    protocol_version = "HTTP/1.1"
    timeout = NO_LIMIT_S
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        reply = self.script.reply(self.command, self.path.partition("?")[0], form)
        if reply == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(reply, bytes):
            self.wfile.write(reply)
        elif reply == "broken off":
            self.wfile.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"acc')
        if not isinstance(reply, bytes) or CLOSE in reply or self.script.keep_alive == "closed silently":
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
