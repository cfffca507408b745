"""A CI job: KIMI_API_KEY where it is set, otherwise the login of the machine. A key goes to its own API only."""

import sys

from openai import DefaultHttpx2Client, OpenAI

from kimi_auth import BearerAuth, Session

session = Session.default()
http = DefaultHttpx2Client(auth=BearerAuth(session))
client = OpenAI(base_url=session.api_origin, api_key="unused", http_client=http)
line = " ".join(sys.argv[1:])
answer = client.chat.completions.create(model="kimi-for-coding", messages=[{"role": "user", "content": line}])
print(answer.choices[0].message.content)
