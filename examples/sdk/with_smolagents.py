"""smolagents: `OpenAIModel` takes an HTTP client that signs. `LiteLLMModel` copies its key, which then ends: not that one."""

import sys

from openai import DefaultHttpx2Client
from smolagents import ChatMessage, MessageRole, OpenAIModel

from kimi_auth import BearerAuth, Session

session = Session()
http = {"http_client": DefaultHttpx2Client(auth=BearerAuth(session))}
model = OpenAIModel("kimi-for-coding", api_base=session.api_origin, api_key="unused", client_kwargs=http)
for line in sys.stdin:
    print(model([ChatMessage(role=MessageRole.USER, content=line)]).content, flush=True)
