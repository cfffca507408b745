"""openai, async: each request asks for a token that works. A 401 reaches the program."""

import asyncio
import sys

from openai import AsyncOpenAI

from kimi_auth import Session


async def main() -> None:
    session = Session()
    client = AsyncOpenAI(base_url=session.api_origin, api_key=session.access_token)
    for line in sys.stdin:
        answer = await client.chat.completions.create(
            model="kimi-for-coding", messages=[{"role": "user", "content": line}]
        )
        print(answer.choices[0].message.content, flush=True)


asyncio.run(main())
