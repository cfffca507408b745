"""A client that is there already, here openai's: its `api_key` is renewed in the background while the block runs."""

import asyncio
import sys

from openai import AsyncOpenAI

from kimi_auth import Session


async def main() -> None:
    session = Session()
    client = AsyncOpenAI(base_url=session.api_origin, api_key="none yet")
    async with session.kept_fresh(client):
        while line := await asyncio.to_thread(sys.stdin.readline):
            answer = await client.chat.completions.create(
                model="kimi-for-coding", messages=[{"role": "user", "content": line}]
            )
            print(answer.choices[0].message.content, flush=True)


asyncio.run(main())
