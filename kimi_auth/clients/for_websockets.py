"""A token in the handshake of a WebSocket connection (RFC 6455 §4.1) of the package `websockets`.

async with await WebsocketAuth(login).connect("wss://api.kimi.com/v1/realtime") as connection: ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .bearers import Answer, Signing
from .origins import origin_of_text

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

__all__ = ["WebsocketAuth"]

_SCHEMES = {"wss": "https", "ws": "http"}


class WebsocketAuth(Signing):
    """Signs handshakes; the promises are those of `BearerAuth`, and wss counts as https.

    A token is looked at once, when the connection is made: an open connection outlives it.
    """

    async def headers(self, uri: str) -> dict[str, str]:
        """The `additional_headers` of one handshake with `uri`, none for another origin. Raises KimiAuthError where there
        is neither a token nor a static key."""
        if not self._bearers.is_at_home(_origin(uri)):
            return {}
        return _signed(await self._bearers.token())

    async def connect(self, uri: str, **options: Any) -> ClientConnection:
        """A connection to `uri`; after a 401 the handshake is made once more with a newer token.

        `options` are those of `websockets.asyncio.client.connect`; a dict of `additional_headers` is added to, and where the
        handshake is signed, an `Authorization` of the caller's, in any case of letters, is left out. Raises what `connect`
        raises, InvalidStatus for a handshake that is refused in the end, and the errors of `headers`.
        """
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus

        own = dict(options.pop("additional_headers", None) or {})
        headers = await self.headers(uri)
        if headers:
            own = {name: value for name, value in own.items() if name.lower() != "authorization"}
        try:
            return await connect(uri, additional_headers=own | headers, **options)
        except InvalidStatus as refused:
            if not headers:
                raise
            bearer = headers["Authorization"].removeprefix("Bearer ")
            status = refused.response.status_code
            answer = Answer(status, "GET", self._bearers.origin, urlsplit(uri).path, bearer)
            newer = await self._bearers.newer(answer, bearer)
            if newer is None:
                raise
        return await connect(uri, additional_headers=own | _signed(newer), **options)


def _signed(bearer: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {bearer}"}


def _origin(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    return origin_of_text(f"{_SCHEMES.get(scheme.lower(), '')}{separator}{rest}")
