"""smolagents: `OpenAIModel` gives its key to an openai client, which asks for a token. `LiteLLMModel` copies it: not that one."""

import sys

from smolagents import ChatMessage, MessageRole, OpenAIModel

from kimi_auth import Session

session = Session()
model = OpenAIModel("kimi-for-coding", api_base=session.api_origin, api_key=session.access_token_sync)
for line in sys.stdin:
    print(model([ChatMessage(role=MessageRole.USER, content=line)]).content, flush=True)
