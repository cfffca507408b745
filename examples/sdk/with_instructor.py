"""instructor wraps an openai client, which asks for a token. A 401 reaches the program."""

import sys

from instructor import Mode, from_openai
from openai import OpenAI
from pydantic import BaseModel

from kimi_auth import Session


class Person(BaseModel):
    name: str


session = Session()
client = from_openai(OpenAI(base_url=session.api_origin, api_key=session.access_token_sync), mode=Mode.JSON)
for line in sys.stdin:
    print(client.create(Person, [{"role": "user", "content": line}], model="kimi-for-coding").name, flush=True)
