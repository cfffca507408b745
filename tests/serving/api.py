"""An API of the tests: a real server whose answers a test writes as an ASGI application, and which remembers what it was asked."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from kimi_auth.serving.listening import listen
from kimi_auth.serving.server import LoopbackServer

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True)
class Asked:
    """A request as the API got it."""

    method: str
    target: str
    fields: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.fields}

    @property
    def bearer(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


Handler = Callable[[Asked, Receive, Send], Awaitable[None]]


@dataclass
class Api:
    """Serves `handler` on a loopback port for the length of a `with` block. `requests`: in the order in which they came."""

    handler: Handler
    requests: list[Asked] = field(default_factory=list)
    url: str = ""

    @property
    def base(self) -> str:
        return f"{self.url}/coding/v1"

    def __enter__(self) -> Self:
        listener, self.url = listen("127.0.0.1", 0)
        self._server = LoopbackServer(self._app, listener)
        self._thread = threading.Thread(target=self._server.run_to_end)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._thread.join()

    async def _app(self, scope: Any, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        target = scope["raw_path"].decode() + (f"?{scope['query_string'].decode()}" if scope["query_string"] else "")
        asked = Asked(scope["method"], target, list(scope["headers"]), body)
        self.requests.append(asked)
        await self.handler(asked, receive, send)


async def answer(send: Send, status: int = 200, body: bytes = b"{}", **headers: str) -> None:
    """A whole answer; the underscores of a header's name stand for dashes."""
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def fine(asked: Asked, receive: Receive, send: Send) -> None:
    """A handler that answers `{}`."""
    await answer(send)


def ask(
    url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own, by a client that follows, decodes and repeats nothing."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()
