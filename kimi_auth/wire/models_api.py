"""The models of an account: `GET {api base}/models`, with the bearer or an API key."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING

from kimi_auth.clock import Clock, SystemClock

from .answers import Answer, ModelsOutcome, ModelsPage
from .clients import Clients
from .http import send_async, send_sync
from .interpret import models_answer
from .request import Request

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

__all__ = ["fetch_models", "fetch_models_sync"]


async def fetch_models(
    api_base: str,
    bearer: str,
    headers: Mapping[str, str],
    *,
    etag: str = "",
    client: http_libraries.AsyncClient | None = None,
    clock: Clock | None = None,
    plain_http: bool = False,
) -> Answer[ModelsOutcome, ModelsPage]:
    """Asks the models API once, 15 s at most. `models` carries the decoded answer and its ETag; `unchanged` only if `etag` was given.

    `rejected` means a 401 from the API itself, `forbidden` a 402 or 403 (membership, or a proxy). Uses `client` as it
    is, except for its `auth` and redirects; without one it opens and closes its own. Plain http only on loopback,
    unless `plain_http`. Raises only a cancellation of the caller.
    """
    request = _request(api_base, bearer, headers, etag, plain_http=plain_http)
    if client is not None:
        given = client
        return models_answer(await send_async(lambda: given, request, clock or SystemClock()), asked_by_etag=bool(etag))
    clients = Clients(clock=clock)
    try:
        return models_answer(await clients.send_async(request), asked_by_etag=bool(etag))
    finally:
        await clients.aclose()


def fetch_models_sync(
    api_base: str,
    bearer: str,
    headers: Mapping[str, str],
    *,
    etag: str = "",
    client: http_libraries.Client | None = None,
    clock: Clock | None = None,
    plain_http: bool = False,
) -> Answer[ModelsOutcome, ModelsPage]:
    """As `fetch_models`, in this thread: one request to the models API."""
    request = _request(api_base, bearer, headers, etag, plain_http=plain_http)
    if client is not None:
        given = client
        response = send_sync(lambda: nullcontext(given), request, clock or SystemClock())
    else:
        response = Clients(clock=clock).send(request)
    return models_answer(response, asked_by_etag=bool(etag))


def _request(api_base: str, bearer: str, headers: Mapping[str, str], etag: str, *, plain_http: bool) -> Request:
    sent = {**headers, "Authorization": f"Bearer {bearer}"}
    if etag:
        sent["If-None-Match"] = etag
    return Request("GET", f"{api_base.rstrip('/')}/models", sent, secrets=(bearer,), plain_http=plain_http)
