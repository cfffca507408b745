"""LangChain: each request asks for a token that works. A 401 reaches the program."""

import sys

from langchain_openai import ChatOpenAI

from kimi_auth import Session

session = Session()
model = ChatOpenAI(model="kimi-for-coding", base_url=session.api_origin, api_key=session.access_token_sync)
for line in sys.stdin:
    print(model.invoke(line).content, flush=True)
