"""anthropic: its credentials are asked before each request, and again after a 401."""

import sys

from anthropic import Anthropic

from kimi_auth import Session
from kimi_auth.clients import AnthropicCredentials

session = Session()
credentials = AnthropicCredentials(session)
client = Anthropic(base_url=session.api_origin.removesuffix("/v1"), credentials=credentials)
for line in sys.stdin:
    answer = client.messages.create(
        model="kimi-for-coding", max_tokens=100, messages=[{"role": "user", "content": line}]
    )
    print("".join(block.text for block in answer.content if block.type == "text"), flush=True)
