"""The account of a login: `GET {api base}/me` and `/usages`, with the bearer or an API key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kimi_auth.clock import Clock

from .answers import AccountOutcome, Answer
from .clients import Clients
from .decode import JsonObject
from .interpret import account_answer
from .request import CONNECT_TIMEOUT_S, DEADLINE_S, Request

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

__all__ = ["fetch_account"]


async def fetch_account(
    url: str,
    bearer: str,
    headers: Mapping[str, str],
    *,
    deadline_s: float = DEADLINE_S,
    clock: Clock | None = None,
    transport: http_libraries.AsyncTransport | None = None,
) -> Answer[AccountOutcome, JsonObject]:
    """Asks the API once for the account, `deadline_s` seconds at most; `transport` replaces the network. `account`
    carries the decoded object, of which nothing has been checked but that no member repeats the bearer.

    `rejected` means a 401 from the API itself, `forbidden` a 402 or 403 (membership, or a proxy). Plain http only on
    loopback. Raises only a cancellation of the caller.
    """
    sent = {**headers, "Authorization": f"Bearer {bearer}"}
    connect_s = min(CONNECT_TIMEOUT_S, deadline_s)
    request = Request("GET", url, sent, deadline_s=deadline_s, connect_timeout_s=connect_s, secrets=(bearer,))
    clients = Clients(async_transport=transport, clock=clock)
    try:
        return account_answer(await clients.send_async(request))
    finally:
        await clients.aclose()
