"""aiohttp: after a 401 the request is sent again with a newer token."""

import asyncio
import sys

from aiohttp import ClientSession

from kimi_auth import Session
from kimi_auth.clients import AiohttpMiddleware

session = Session()


async def main() -> None:
    async with ClientSession(middlewares=[AiohttpMiddleware(session)], raise_for_status=True) as http:
        for line in sys.stdin:
            body = {"model": "kimi-for-coding", "messages": [{"role": "user", "content": line}]}
            answer = await http.post(f"{session.api_origin}/chat/completions", json=body)
            print((await answer.json())["choices"][0]["message"]["content"], flush=True)


asyncio.run(main())
