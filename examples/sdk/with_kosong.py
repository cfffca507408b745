"""kosong: after a 401 the request is sent again with a newer token."""

import asyncio
import sys

from kosong.chat_provider.kimi import Kimi
from kosong.message import Message
from openai import DefaultAsyncHttpxClient

from kimi_auth import BearerAuth, Session

session = Session()
http = DefaultAsyncHttpxClient(auth=BearerAuth(session))
kimi = Kimi(model="kimi-for-coding", base_url=session.api_origin, api_key="unused", http_client=http)


async def main() -> None:
    for line in sys.stdin:
        parts = [part async for part in await kimi.generate("", [], [Message(role="user", content=line)])]
        print("".join(getattr(part, "text", "") for part in parts), flush=True)


asyncio.run(main())
