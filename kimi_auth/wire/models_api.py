"""The models of an account: `GET {api base}/models`, with the bearer or an API key."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import httpx

from kimi_auth.clock import Clock, SystemClock

from .answers import Answer, ModelsOutcome, ModelsPage
from .clients import Clients
from .http import Ask, send_async, send_sync
from .verdict import models_answer

__all__ = ["fetch_models", "fetch_models_sync"]


async def fetch_models(
    api_base: str,
    bearer: str,
    headers: Mapping[str, str],
    *,
    etag: str = "",
    client: httpx.AsyncClient | None = None,
    clock: Clock | None = None,
    plain_http: bool = False,
) -> Answer[ModelsOutcome, ModelsPage]:
    """Asks once, 15 s at most. `models` carries the decoded answer and its ETag; `unchanged` only if `etag` was given.

    `rejected` means a 401 from the API itself, `forbidden` a 402 or 403 (membership, or a proxy). Uses `client` as it
    is, except for its `auth` and redirects; without one it opens and closes its own. Plain http only on loopback,
    unless `plain_http`. Raises only a cancellation of the caller.
    """
    ask = _ask(api_base, bearer, headers, etag, plain_http=plain_http)
    if client is not None:
        given = client
        return models_answer(await send_async(lambda: given, ask, clock or SystemClock()), asked_by_etag=bool(etag))
    clients = Clients(clock=clock)
    try:
        return models_answer(await clients.send_async(ask), asked_by_etag=bool(etag))
    finally:
        await clients.aclose()


def fetch_models_sync(
    api_base: str,
    bearer: str,
    headers: Mapping[str, str],
    *,
    etag: str = "",
    client: httpx.Client | None = None,
    clock: Clock | None = None,
    plain_http: bool = False,
) -> Answer[ModelsOutcome, ModelsPage]:
    """`fetch_models` in this thread."""
    ask = _ask(api_base, bearer, headers, etag, plain_http=plain_http)
    if client is not None:
        given = client
        seen = send_sync(lambda: nullcontext(given), ask, clock or SystemClock())
    else:
        seen = Clients(clock=clock).send(ask)
    return models_answer(seen, asked_by_etag=bool(etag))


def _ask(api_base: str, bearer: str, headers: Mapping[str, str], etag: str, *, plain_http: bool) -> Ask:
    sent = {**headers, "Authorization": f"Bearer {bearer}"}
    if etag:
        sent["If-None-Match"] = etag
    return Ask("GET", f"{api_base.rstrip('/')}/models", sent, secrets=(bearer,), plain_http=plain_http)
