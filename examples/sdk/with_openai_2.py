"""openai 2, which sends with httpx: after a 401 the request is sent again with a newer token."""

import sys

from openai import DefaultHttpxClient, OpenAI

from kimi_auth import BearerAuth, Session

session = Session()
http = DefaultHttpxClient(auth=BearerAuth(session))
client = OpenAI(base_url=session.api_origin, api_key="unused", http_client=http)
for line in sys.stdin:
    answer = client.chat.completions.create(model="kimi-for-coding", messages=[{"role": "user", "content": line}])
    print(answer.choices[0].message.content, flush=True)
