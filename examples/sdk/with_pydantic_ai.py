"""pydantic-ai: give its provider an HTTP client that signs. After a 401 the request is sent again."""

import sys

from httpx2 import AsyncClient
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from kimi_auth import BearerAuth, Session

session = Session()
http = AsyncClient(auth=BearerAuth(session))
provider = OpenAIProvider(base_url=session.api_origin, api_key="unused", http_client=http)
agent = Agent(OpenAIChatModel("kimi-for-coding", provider=provider))
for line in sys.stdin:
    print(agent.run_sync(line).output, flush=True)
