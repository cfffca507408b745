"""How an httpx or httpx2 client that is running takes a token: a request hook signs what goes to the token's own origin.

A header of the client would go wherever the client is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kimi_auth.support.http_libraries import is_async_client
from kimi_auth.support.logs import logger

from .origins import origin_of

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

__all__ = ["AsyncSigner", "Signer", "put_signer"]

_log = logger("clients")


class Signer:
    """A client's request hook: it is asked before each request and each redirect, after the client's own `auth`."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.token = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(origin={self.origin!r})"

    def __call__(self, request: http_libraries.Request) -> object:
        bearer = f"Bearer {self.token}"
        if not self.token:
            pass
        elif origin_of(request.url) == self.origin:
            request.headers["Authorization"] = bearer
        else:
            _log.debug("not signed: %s is not %s", origin_of(request.url), self.origin)
            if request.headers.get("Authorization") == bearer:  # the client lets it through to the same host's https
                del request.headers["Authorization"]
        return None


class AsyncSigner(Signer):
    """The same for an async client, which awaits its hooks."""

    async def __call__(self, request: http_libraries.Request) -> None:
        super().__call__(request)


def put_signer(
    client: http_libraries.Client | http_libraries.AsyncClient, token: str, static: str | None, origin: str
) -> None:
    """The client signs its requests to `origin` with this token from now on, with "" none; `static`: the header it had."""
    hooks = client.event_hooks["request"]
    signer = next((hook for hook in hooks if isinstance(hook, Signer) and hook.origin == origin), None)
    if signer is None:
        signer = (AsyncSigner if is_async_client(client) else Signer)(origin)
        hooks.append(signer)
    signer.token = token
    if not static:  # a header that was made of a token ends with it
        client.headers.pop("Authorization", None)
