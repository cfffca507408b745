"""openai-agents: give it an openai client that signs. Its traces would go to OpenAI, with another key."""

import sys

from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI

from kimi_auth import Session

set_tracing_disabled(True)
session = Session()
client = AsyncOpenAI(base_url=session.api_origin, api_key=session.access_token)
agent = Agent(name="echo", model=OpenAIChatCompletionsModel("kimi-for-coding", client))
for line in sys.stdin:
    print(Runner.run_sync(agent, line).final_output, flush=True)
