"""openai: each request asks for a token that works. A 401 reaches the program."""

import sys

from openai import OpenAI

from kimi_auth import Session

session = Session()
client = OpenAI(base_url=session.api_origin, api_key=session.access_token_sync)
for line in sys.stdin:
    answer = client.chat.completions.create(model="kimi-for-coding", messages=[{"role": "user", "content": line}])
    print(answer.choices[0].message.content, flush=True)
