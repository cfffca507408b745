"""An MCP client of a server that takes the login's tokens. After a 401 the request is sent again."""

import asyncio
import sys

from httpx2 import AsyncClient
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from kimi_auth import BearerAuth, Session


async def main(session: Session) -> None:
    http = AsyncClient(auth=BearerAuth(session))
    async with http, Client(streamable_http_client(f"{session.api_origin}/mcp", http_client=http)) as client:
        for line in sys.stdin:
            print((await client.call_tool("echo", {"text": line})).content[0].model_dump()["text"], flush=True)


asyncio.run(main(Session()))
