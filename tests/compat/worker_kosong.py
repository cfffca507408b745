"""A program with kosong's Kimi provider that asks one question after another, and reports how each ended.

    python worker_kosong.py bearer|injected

One JSON line for each answer, until its standard input is closed. `bearer`: BearerAuth in the HTTP client. `injected`: a
provider that was built with an api_key, inside `Session.kept_fresh`. With both, copies made by `with_thinking` and the
client that `on_retryable_error` makes take turns.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
from kosong.chat_provider.kimi import Kimi
from kosong.message import Message

from kimi_auth import BearerAuth, Session

MODEL = "kimi-for-coding"


@asynccontextmanager
async def provider_of(how: str, session: Session) -> AsyncIterator[Kimi]:
    if how == "bearer":
        http = openai.DefaultAsyncHttpxClient(auth=BearerAuth(session), trust_env=False)
        yield Kimi(model=MODEL, api_key="placeholder", base_url=session.api_origin, http_client=http)
        return
    provider = Kimi(model=MODEL, api_key="placeholder", base_url=session.api_origin)
    async with session.kept_fresh(provider):
        yield provider


async def ask(provider: Kimi) -> dict[str, object]:
    try:
        stream = await provider.generate("be brief", [], [Message(role="user", content="hello there")])
        return {"said": "".join([getattr(part, "text", "") async for part in stream])}
    except Exception as error:  # noqa: BLE001  # whatever reaches the caller is what this is about
        return {"error": f"{type(error).__name__} {getattr(error, 'status_code', '')}"}


async def main(how: str) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    async with provider_of(how, Session()) as provider:
        number = 0
        while not over.is_set():
            # A copy shares its original's client as it is then; recovery gives the original another one.
            asked = provider.with_thinking("high") if number % 3 == 1 else provider
            if number % 7 == 6:
                provider.on_retryable_error(RuntimeError("as if a connection had failed"))
            sys.stdout.write(json.dumps(await ask(asked)) + "\n")
            sys.stdout.flush()
            number += 1


asyncio.run(main(sys.argv[1]))
