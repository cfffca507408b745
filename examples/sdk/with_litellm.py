"""LiteLLM takes a key with each call: ask for it there. A 401 reaches the program."""

import sys

import litellm

from kimi_auth import Session

litellm.suppress_debug_info = True  # it would print advice to standard output after an error
session = Session()
for line in sys.stdin:
    messages = [{"role": "user", "content": line}]
    key = session.access_token_sync()
    answer = litellm.completion("openai/kimi-for-coding", messages, base_url=session.api_origin, api_key=key)
    print(answer.choices[0].message.content, flush=True)
