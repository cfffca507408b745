"""The proxy for one command: on a loopback port of its own, behind a secret that is made for it and ends with it."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Self

from starlette.types import Receive, Scope, Send

from kimi_auth.support.language import tr

from . import api_errors
from .api_headers import keys_in
from .api_paths import PREFIX, VERSION
from .guards import Guarded, SlowDown, is_same_secret
from .listening import listen
from .proxied import Source, refuse_as_api
from .proxy import BODY_BYTES_MAX, Proxy
from .server import LoopbackServer

__all__ = ["CommandProxy", "GuardedProxy"]


class CommandProxy:
    """Serves the API of `source` in a thread, for the length of a `with` block. Raises OSError where no port can be had,
    ValueError for an API to which no bearer may be sent."""

    def __init__(self, source: Source) -> None:
        self._proxy = Proxy(source, source.api_origin)
        self._version = VERSION if source.api_origin.rstrip("/").endswith(f"/{VERSION}") else ""
        self.secret: str = secrets.token_urlsafe(32)
        self.url = ""

    def __repr__(self) -> str:
        return f"CommandProxy(url={self.url!r})"

    @property
    def base_url(self) -> str:
        """The base URL for clients, with the version that the API's own has: those that append it leave it out."""
        return "/".join(filter(None, (f"{self.url}{PREFIX}", self._version)))

    def __enter__(self) -> Self:
        listener, self.url = listen("127.0.0.1", 0)
        self._server = LoopbackServer(GuardedProxy(self._proxy, self.secret), listener, beside=self._keep)
        self._thread = self._server.start("kimi-auth proxy")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._thread.join()

    async def _keep(self) -> None:
        """Closes the connections to the API when the server ends."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._proxy.aclose()


class GuardedProxy(Guarded):
    """The proxy behind the guards of a local server, and behind one secret, which a client sends as its API key."""

    def __init__(self, proxy: Proxy, secret: str) -> None:
        super().__init__(self._checked, body_max={f"{PREFIX}/": BODY_BYTES_MAX})
        self._proxy = proxy
        self._secret = secret
        self._slow = SlowDown()

    async def answer(self, scope: Scope, send: Send, refusal: api_errors.Refusal) -> None:
        """A refusal by the command's proxy, in the form of the API's errors."""
        await refuse_as_api(send, refusal)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = keys_in(scope["headers"], scope["query_string"])
        if any(is_same_secret(key.decode("latin-1"), self._secret) for key in given):
            await self._proxy.serve(scope, receive, send)
            return
        if given:
            await self._slow.wait("", time.monotonic())
        message = tr("this is not the key of this proxy: it is in OPENAI_API_KEY and ANTHROPIC_API_KEY of the command")
        hint = tr("start the program by kimi-auth run --proxy, and give it no other key")
        await api_errors.refuse(send, api_errors.Refusal(401, "wrong_key", message, hint))
