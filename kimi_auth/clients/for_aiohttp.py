"""A token in every request of an aiohttp session.

aiohttp.ClientSession(middlewares=[AiohttpMiddleware(login)])
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from .bearers import Answer, Signing, bearer_of
from .origins import origin_of_text

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientResponse

__all__ = ["AiohttpMiddleware"]


class AiohttpMiddleware(Signing):
    """A client middleware of aiohttp 3.12 or newer; the promises are those of `BearerAuth`.

    aiohttp asks it for each hop of a redirect, so that each is signed by its own address, and each may be sent again once.
    A body that was a stream is spent: the 401 is returned, and a log record says so. One instance serves any number of
    sessions and tasks.
    """

    async def __call__(
        self, request: ClientRequest, handler: Callable[[ClientRequest], Awaitable[ClientResponse]]
    ) -> ClientResponse:
        """Signs a request and sends it. Raises KimiAuthError where there is neither a token nor a static key."""
        if not self._bearers.is_at_home(origin_of_text(str(request.url))):
            return await handler(request)
        bearer = await self._bearers.token()
        request.headers["Authorization"] = f"Bearer {bearer}"
        response = await handler(request)
        newer = await self._bearers.newer(_answer(request, response), bearer)
        if newer is None:
            return response
        if getattr(request.body, "consumed", False):
            self._bearers.spent()
            return response
        await response.read()  # to its end: the connection is free for the second request
        request.headers["Authorization"] = f"Bearer {newer}"
        response = await handler(request)
        self._bearers.note(_answer(request, response))
        return response


def _answer(request: ClientRequest, response: ClientResponse) -> Answer:
    authorization = request.headers.get("Authorization")
    url = request.url
    return Answer(response.status, request.method, origin_of_text(str(url)), url.path, bearer_of(authorization))
