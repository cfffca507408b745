"""LlamaIndex copies its `api_key`: give it an HTTP client that signs. After a 401 the request is sent again."""

import sys

from httpx import Client
from llama_index.llms.openai_like import OpenAILike

from kimi_auth import BearerAuth, Session

session = Session()
http = Client(auth=BearerAuth(session))
where = {"api_base": session.api_origin, "api_key": "unused"}
model = OpenAILike(model="kimi-for-coding", is_chat_model=True, http_client=http, **where)
for line in sys.stdin:
    print(model.complete(line).text, flush=True)
