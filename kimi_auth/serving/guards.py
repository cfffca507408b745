"""What a local server refuses before it looks at a request: web pages, other users, other names, contradictory or endless requests.

A web page may send requests to any port of its reader's machine (CSRF), under a name of its own that resolves to 127.0.0.1 (DNS
rebinding). Browsers mark such requests, and the Host header names the page's host. There is no CORS: no answer permits a page to
read it. Pure functions, and `Guarded`, the ASGI middleware that asks them all.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kimi_auth.support.urls import is_loopback

from .api_errors import Refusal
from .api_paths import TARGET_BYTES_MAX
from .server import HEADER_BYTES_MAX, Door, Peer, door_of, peer_of

__all__ = [
    "BodyTooLarge",
    "Guarded",
    "SlowDown",
    "host_refusal",
    "is_from_browser",
    "is_same_secret",
    "peer_refusal",
    "refuse",
    "request_refusal",
    "too_large",
]

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, as ASGI has them."""

BODY_BYTES_MAX = 1 << 20
FIELDS_MAX = 100
"""Headers of a request; clients send some twenty."""

ONCE = frozenset({b"host", b"authorization", b"content-length", b"transfer-encoding", b"content-type"})
"""Headers that two readers may understand differently where they are given twice."""

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
"""`urlsplit` reads `[::1].evil.example` as the host `::1`."""

BY_BROWSERS = (b"origin", b"access-control-request-method", b"access-control-request-headers")
"""With every `sec-fetch-*`: what browsers add, and pages cannot leave out."""

BY_NODE = (b"sec-fetch-mode", b"cors")
"""The one mark of a browser that Node's own `fetch` sends. A browser never sends it alone: Sec-Fetch-Site comes with it."""


class BodyTooLarge(Exception):
    """The body of a request is larger than its limit."""


def request_refusal(scope: Scope) -> Refusal | None:
    """The refusal of a request whose head is too large, however it came, that proxies and servers could read differently (RFC 9112
    §11.2), or whose path could escape from the one that was checked; None for a plain one."""
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    target_bytes = len(raw_path) + len(scope.get("query_string", b""))
    if target_bytes > TARGET_BYTES_MAX:
        return Refusal(414, "long_target", f"the address of the request is longer than {TARGET_BYTES_MAX} bytes")
    if refusal := _fields_refusal(scope["headers"], HEADER_BYTES_MAX - target_bytes):
        return refusal
    if is_strange_path(raw_path):
        return Refusal(400, "strange_path", "the path has parts that servers read differently")
    return None


def _fields_refusal(headers: list[tuple[bytes, bytes]], bytes_max: int) -> Refusal | None:
    # uvicorn bounds a head only while it is incomplete: one that comes in one piece may be as large as a read (256 kB).
    if len(headers) > FIELDS_MAX or sum(len(name) + len(value) + 4 for name, value in headers) > bytes_max:
        return Refusal(431, "large_head", f"the head has more than {FIELDS_MAX} fields or {HEADER_BYTES_MAX} bytes")
    once = [name for name, _ in headers if name in ONCE]
    if len(set(once)) < len(once):
        twice = next(name for name in once if once.count(name) > 1)
        return Refusal(400, "contradictory", f"the header {twice.decode()} is given twice")
    if b"content-length" in once and b"transfer-encoding" in once:
        return Refusal(400, "contradictory", "the length of the body is given twice")
    if any(b"_" in name for name, _ in headers):
        return Refusal(400, "contradictory", "a header's name has an underscore, which some servers read as a dash")
    return None


def is_strange_path(raw: bytes) -> bool:
    """True for a path that a local server refuses, for it could lead elsewhere than it seems: dots, empty parts,
    backslashes, encoded separators, control characters, or parts that are encoded twice."""
    path = raw.partition(b"?")[0]
    decoded = unquote_to_bytes(path)
    parts = decoded.split(b"/")
    return (
        not path.startswith(b"/")
        or any(part in {b".", b".."} for part in parts)
        or b"" in parts[1:-1]
        or decoded.count(b"/") != path.count(b"/")
        or b"\\" in decoded
        or unquote_to_bytes(decoded) != decoded
        or any(byte < 0x21 or byte == 0x7F for byte in decoded)
    )


def peer_refusal(door: Door, peer: Peer | None) -> Refusal | None:
    """The guard's refusal of a user who may not come in by this door."""
    if door.uids is None or (peer is not None and peer.uid in door.uids):
        return None
    return Refusal(403, "other_user", "this socket belongs to another user")


def host_refusal(headers: Headers, allowed: Collection[str] = ()) -> Refusal | None:
    """The guard's refusal of a Host header that names neither this machine's loopback nor a name of `allowed`."""
    host, is_here = _host_of(next((value for name, value in headers if name == b"host"), b""))
    return (
        None
        if is_here or (host and host in allowed)
        else Refusal(421, "other_host", "this host name is not the server's")
    )


@lru_cache(maxsize=64)
def _host_of(field: bytes) -> tuple[str, bool]:
    """The name in a Host header ("" for none), and whether it is this machine's loopback. A client sends the same one each time."""
    text = field.decode("latin-1")
    try:
        host = (urlsplit(f"//{text}").hostname or "") if _HOST.fullmatch(text) else ""
    except ValueError:
        host = ""
    return host, bool(host) and is_loopback(host)


def is_from_browser(headers: Headers) -> bool:
    """True for a request that a web page, or a browser for one, has sent."""
    marks = ((name, value) for name, value in headers if name in BY_BROWSERS or name.startswith(b"sec-fetch-"))
    return any(mark != BY_NODE for mark in marks)


def is_same_secret(given: str, expected: str) -> bool:
    """Guards a secret: compares in a time that depends on neither; an empty `expected` is never the same."""
    return bool(expected) and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


class SlowDown:
    """Answers wrong secrets ever later, and right ones at once: a guesser waits, and locks no other client out.

    Each source (a user, an address, a grant) has its own count. A source that waits `AT_ONCE_MAX` times at once gets the next
    refusals without delay, so that waiting costs no memory; they still are refusals.
    """

    FIRST_S, MOST_S, AT_ONCE_MAX, SOURCES_MAX, FORGOTTEN_AFTER_S = 0.25, 8.0, 16, 4_096, 600.0

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._waiting: dict[str, int] = {}

    def delay_s(self, source: str, now_s: float) -> float:
        """The guard counts one wrong secret of `source`; returns how long its refusal has to wait, in seconds."""
        count, last_s = self._wrong.pop(source, (0, now_s))
        count = 1 if now_s - last_s > self.FORGOTTEN_AFTER_S else count + 1
        self._wrong[source] = (count, now_s)
        while len(self._wrong) > self.SOURCES_MAX:
            self._wrong.popitem(last=False)
        return float(min(self.MOST_S, self.FIRST_S * 2.0 ** min(count - 1, 10)))

    async def wait(self, source: str, now_s: float) -> None:
        """The guard counts one wrong secret, and waits before its refusal may be sent."""
        delay_s = self.delay_s(source, now_s)
        if self._waiting.get(source, 0) >= self.AT_ONCE_MAX:
            return
        self._waiting[source] = self._waiting.get(source, 0) + 1
        try:
            await asyncio.sleep(delay_s)
        finally:
            self._waiting[source] -= 1
            if not self._waiting[source]:
                del self._waiting[source]


class Guarded:
    """ASGI middleware: refuses what the functions above refuse, and bounds bodies.

    `hosts`: names beside the loopback ones; `body_max`: bytes for a path that begins so, the longest prefix counts, and
    `BODY_BYTES_MAX` for others. The app's `receive` raises `BodyTooLarge` where a body without a length grows beyond it; unless
    the app has begun to answer, or catches that, the client gets 413. `on_refusal` is told each refusal with its scope.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = (), body_max: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._body_max = dict(body_max or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        limit = self._limit(scope["path"])
        if (refusal := self._refusal(scope, limit)) is not None:
            self.on_refusal(scope, refusal)
            await self.answer(scope, send, refusal)
            return
        has_begun = False

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, _bounded(receive, limit), noted)
        except BodyTooLarge:
            if has_begun:
                raise
            self.on_refusal(scope, too_large(limit))
            await self.answer(scope, send, too_large(limit))

    async def answer(self, scope: Scope, send: Send, refusal: Refusal) -> None:
        """Sends a guard's refusal. For subclasses: its form, which clients of some paths expect."""
        await refuse(send, refusal)

    def on_refusal(self, scope: Scope, refusal: Refusal) -> None:
        """Called at each refusal, for subclasses of the guards to log or count it."""

    def _refusal(self, scope: Scope, limit: int) -> Refusal | None:
        headers = scope["headers"]
        refusal = (
            peer_refusal(door_of(scope), peer_of(scope)) or request_refusal(scope) or host_refusal(headers, self._hosts)
        )
        if refusal is not None:
            return refusal
        if is_from_browser(headers):
            return Refusal(403, "browser", "web pages may not ask this server")
        length = next((value for name, value in headers if name == b"content-length"), b"0")
        return too_large(limit) if not length.isdigit() or int(length[:20]) > limit else None

    def _limit(self, path: str) -> int:
        fitting = [prefix for prefix in self._body_max if path.startswith(prefix)]
        return self._body_max[max(fitting, key=len)] if fitting else BODY_BYTES_MAX


def too_large(limit: int) -> Refusal:
    """The guard refuses a body of more than `limit` bytes."""
    return Refusal(413, "too_large", f"the body exceeds {limit} bytes")


async def refuse(send: Send, refusal: Refusal) -> None:
    """The guard sends a refusal and closes the connection: what follows on it may be the rest of a body that was not read."""
    body = json.dumps({"error": refusal.code, "error_description": refusal.message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _bounded(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise BodyTooLarge
        return message

    return bounded
