"""FastAPI with a lifespan: no request waits for a renewal. Start: uvicorn --app-dir examples/sdk with_fastapi_lifespan:app"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from openai import AsyncOpenAI

from kimi_auth import Session

session = Session()
client = AsyncOpenAI(base_url=session.api_origin, api_key="none yet")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with session.kept_fresh(client):
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/ask")
async def ask(line: str) -> str | None:
    answer = await client.chat.completions.create(model="kimi-for-coding", messages=[{"role": "user", "content": line}])
    return answer.choices[0].message.content
