"""The proxy: `/api/*` goes to the platform's API with a live bearer, and comes back byte by byte.

A raw ASGI application, for frameworks do not stop a handler whose client has gone. It checks no key and no framing: the guards
before it do (`kimi_auth.serving.guards`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from kimi_auth.clients.bearers import Answer, Bearers
from kimi_auth.clients.source import TokenSource
from kimi_auth.errors import KimiAuthError
from kimi_auth.support.language import listed, tr
from kimi_auth.support.logs import logger
from kimi_auth.wire.certificates import untrusted
from kimi_auth.wire.failures import UnsendableError, is_any_of, message_of

from .api_errors import Refusal, refusal_of, refuse
from .api_headers import declared_length, request_fields, response_fields
from .api_paths import EVERYTHING, VERSION, AllowedPaths, Target, target_of
from .upstream import Exchange, Upstream

__all__ = ["BODY_BYTES_MAX", "ENDED", "HUNG_UP", "Proxy", "Served"]

Stands = Callable[[], Awaitable[bool]]
"""Whether the grant of a request still stands."""

BODY_BYTES_MAX = 32 << 20
"""A body is read whole, because it is sent again after a 401."""

BODIES_BYTES_MAX = 4 * BODY_BYTES_MAX
"""Of all bodies that are in memory at once."""

REFUSED_BYTES_MAX = 64 << 10
"""So much of the answer to a refused bearer is read, to keep its connection."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

ENDED = "grant_ended"
"""The code of an answer that was cut off because its grant had ended."""

HUNG_UP = 499
"""The status, in logs, of a request whose client went away before its answer was complete."""

log = logger("serving")


class Served(NamedTuple):
    """How a request ended, for logs and counters. `status`: of the answer, or `HUNG_UP`. `code`: of an error of our own, "" for an
    answer of the API. `path`: below the API base, "" where it was refused."""

    method: str
    path: str
    status: int
    code: str = ""


class _Body(NamedTuple):
    """A request's body. `reserved`: the bytes of memory that are set aside for it."""

    content: bytes
    length: int | None
    reserved: int


async def _always() -> bool:
    return True


class Proxy:
    """The API at `api_base` for programs without a login. `source` gives the bearers, as a `Session` does.

    Use it in one event loop, and `aclose` it there. Raises ValueError for a base to which no bearer may be sent.
    """

    def __init__(self, source: TokenSource, api_base: str, *, upstream: Upstream | None = None) -> None:
        self._base = api_base.rstrip("/")
        self._has_version = self._base.endswith(f"/{VERSION}")
        self._bearers = Bearers(source, self._base)
        self._upstream = upstream or Upstream(self._base)
        self._room_bytes = BODIES_BYTES_MAX

    async def serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        allowed: AllowedPaths = EVERYTHING,
        stands: Stands = _always,
    ) -> Served:
        """Answers a request that the guards have let in; `allowed` are the paths of its grant, `stands` tells whether it has ended
        meanwhile, which is asked at each part of the answer."""
        method: str = scope["method"]
        target = self.target(scope, allowed)
        if isinstance(target, Refusal):
            await refuse(send, target)
            return Served(method, "", target.status, target.code)
        status, code = await self._served(scope, target, receive, send, stands)
        log.debug("%s %s: %d %s", method, target.path, status, code)
        return Served(method, target.path, status, code)

    def target(self, scope: Scope, allowed: AllowedPaths = EVERYTHING) -> Target | Refusal:
        """Where the proxy sends a request, below the API's base; a refusal for one that it does not pass on."""
        if scope["method"] not in METHODS:
            return Refusal(405, "method_not_allowed", tr("the proxy passes on {methods}", methods=listed(METHODS)))
        raw_path = scope.get("raw_path") or scope["path"].encode()
        return target_of(raw_path, scope["query_string"], has_version=self._has_version, allowed=allowed)

    async def aclose(self) -> None:
        """Ends the proxy: closes its connections to the API."""
        await self._upstream.aclose()

    # --- one request -------------------------------------------------------------------------------------------------

    async def _served(
        self, scope: Scope, target: Target, receive: Receive, send: Send, stands: Stands
    ) -> tuple[int, str]:
        body = await self._read(scope, receive)
        if body is None:
            return HUNG_UP, ""
        if isinstance(body, Refusal):
            await refuse(send, body)
            return body.status, body.code
        client = _Client(scope, receive)
        try:
            answer = await self._asked(scope, target, body)
            if isinstance(answer, Refusal):
                client.may_leave()
                await refuse(send, answer)
                return answer.status, answer.code
            return await self._passed_on(answer, target, client, send, stands)
        except asyncio.CancelledError:
            if client.has_left():
                return HUNG_UP, ""
            raise
        finally:
            client.may_leave()
            self._room_bytes += body.reserved

    async def _read(self, scope: Scope, receive: Receive) -> _Body | Refusal | None:
        """The whole body of a request to the proxy; None where the client hung up while sending it."""
        declared = declared_length(scope["headers"])
        if declared == 0:
            return _Body(b"", 0 if scope["method"] in WITH_BODY else None, 0)
        too_large = Refusal(413, "too_large", tr("the body exceeds {limit} bytes", limit=BODY_BYTES_MAX))
        if declared is not None and declared > BODY_BYTES_MAX:
            return too_large
        parts, size = [], 0
        is_complete = False
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part: bytes = message.get("body", b"")
                size += len(part)
                self._room_bytes -= len(part)
                if size > BODY_BYTES_MAX:
                    return too_large
                if self._room_bytes < 0:
                    return Refusal(503, "busy", tr("too many large bodies at once"), retry_after_s=1.0)
                parts.append(part)
                if not message.get("more_body", False):
                    is_complete = True
                    return _Body(parts[0] if len(parts) == 1 else b"".join(parts), size, size)
        finally:
            if not is_complete:
                self._room_bytes += size

    async def _asked(self, scope: Scope, target: Target, body: _Body) -> Exchange | Refusal:
        """The API's answer, its body not read yet; the second one, where the first was a 401 and a newer bearer is there."""
        try:
            bearer = await self._bearers.token()
            response = await self._sent(scope, target, body, bearer)
            newer = await self._newer(scope, target, response, bearer)
            if newer is None:
                return response
            await _discarded(response)
            response = await self._sent(scope, target, body, newer)
            self._bearers.note(self._told(scope, target, response, newer))
            return response
        except KimiAuthError as error:
            return refusal_of(error)
        except Exception as failure:  # noqa: BLE001 - of httpx, httpx2 or the pool below them
            return _broken(failure)

    async def _sent(self, scope: Scope, target: Target, body: _Body, bearer: str) -> Exchange:
        fields = request_fields(scope["headers"], self._upstream.host, bearer, body.length)
        return await self._upstream.send(scope["method"], f"{self._base}{target.text}", fields, body.content)

    async def _newer(self, scope: Scope, target: Target, response: Exchange, bearer: str) -> str | None:
        """Another bearer, where this answer refuses `bearer`. Any number of requests that ask at once cause one rotation."""
        try:
            return await self._bearers.newer(self._told(scope, target, response, bearer), bearer)
        except BaseException:
            await response.aclose()
            raise

    def _told(self, scope: Scope, target: Target, response: Exchange, bearer: str) -> Answer:
        return Answer(response.status, scope["method"], self._bearers.origin, target.path, bearer)

    async def _passed_on(
        self, response: Exchange, target: Target, client: _Client, send: Send, stands: Stands
    ) -> tuple[int, str]:
        status = response.status
        try:
            fields = response_fields(response.fields, status, f"{self._base}{target.text}", self._base)
            if isinstance(fields, Refusal):
                client.may_leave()
                await refuse(send, fields)
                return fields.status, fields.code
            await send({"type": "http.response.start", "status": status, "headers": fields})
            try:
                async for chunk in response.chunks():
                    if not await stands():
                        await client.cut_off()
                        return status, ENDED
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except Exception as failure:  # noqa: BLE001 - of httpx, httpx2 or the pool below them
                log.info("the answer to %s broke off: %s", target.path, message_of(failure))
                await client.cut_off()
                return status, "broken_off"
            client.may_leave()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return status, ""
        finally:
            await response.aclose()


class _Client:
    """The client of one request, whose hanging up cancels the task that serves it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._transport = scope.get("state", {}).get("transport")
        self._is_over = False
        self._has_cancelled = False
        self._watching = asyncio.create_task(self._watch(receive))

    def may_leave(self) -> None:
        """The client's answer is complete: from now on the proxy cancels nothing."""
        self._is_over = True
        self._watching.cancel()

    def has_left(self) -> bool:
        """Whether a CancelledError that was caught says that the proxy's client hung up, and nothing else."""
        return self._has_cancelled and self._task.uncancel() == 0

    async def cut_off(self) -> None:
        """Closes the client's connection in the middle of an answer, so that it cannot take the answer for complete."""
        self._is_over = True
        if self._transport is None:
            raise ConnectionError("the answer broke off")
        self._transport.abort()
        await self._watching

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not self._is_over:
            self._has_cancelled = True
            self._task.cancel()


async def _discarded(response: Exchange) -> None:
    """Reads a small answer to its end before the proxy repeats a refused request, to keep its connection; closes any other."""
    size = 0
    try:
        async for chunk in response.chunks():
            size += len(chunk)
            if size > REFUSED_BYTES_MAX:
                break
    finally:
        await response.aclose()


def _broken(failure: Exception) -> Refusal:
    """Why there is no answer of the API: 504 for one that did not come in time, 502 otherwise."""
    failure = untrusted(failure) or failure
    message = tr("the API did not answer: {why}", why=message_of(failure))
    if is_any_of(type(failure), "TimeoutException"):
        return Refusal(504, "unreachable", message, tr("try again later"))
    hint = failure.hint if isinstance(failure, UnsendableError) and failure.hint else tr("try again later")
    return Refusal(502, "unreachable", message, hint)
