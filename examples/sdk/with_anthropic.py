"""anthropic: its credentials are asked before each request, and again after a 401."""

import sys

from anthropic import Anthropic
from anthropic.lib.credentials import AccessToken

from kimi_auth import Session

session = Session()


def token(*, force_refresh: bool = False) -> AccessToken:
    return AccessToken(session.access_token_sync(refresh=force_refresh), expires_at=0)


client = Anthropic(base_url=session.api_origin.removesuffix("/v1"), credentials=token)
for line in sys.stdin:
    answer = client.messages.create(
        model="kimi-for-coding", max_tokens=100, messages=[{"role": "user", "content": line}]
    )
    print("".join(block.text for block in answer.content if block.type == "text"), flush=True)
