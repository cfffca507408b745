"""FastAPI: any number of workers share the login. Start: uvicorn --workers 3 --app-dir examples/sdk with_fastapi:app"""

from fastapi import FastAPI
from openai import AsyncOpenAI, DefaultAsyncHttpx2Client

from kimi_auth import BearerAuth, Session

session = Session()
http = DefaultAsyncHttpx2Client(auth=BearerAuth(session))
client = AsyncOpenAI(base_url=session.api_origin, api_key="unused", http_client=http)
app = FastAPI()


@app.get("/ask")
async def ask(line: str) -> str | None:
    answer = await client.chat.completions.create(model="kimi-for-coding", messages=[{"role": "user", "content": line}])
    return answer.choices[0].message.content
