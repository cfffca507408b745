"""Which SDKs call an `api_key` that can be called: asks one question with each, and prints what came of it as JSON.

python callables.py NAME...
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from kimi_auth import Session

MODEL = "kimi-for-coding"
QUESTION: Any = [{"role": "user", "content": "hello"}]
session = Session()
BASE = session.api_origin


def pydantic_ai() -> str:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=BASE, api_key=session.access_token)
    return str(Agent(OpenAIChatModel(MODEL, provider=provider)).run_sync("hello").output)


def smolagents() -> str:
    from smolagents import ChatMessage, MessageRole, OpenAIModel

    model = OpenAIModel(MODEL, api_base=BASE, api_key=session.access_token_sync)
    return str(model([ChatMessage(role=MessageRole.USER, content="hello")]).content)


def litellm() -> str:
    import litellm

    litellm.suppress_debug_info = True
    answer = litellm.completion(f"openai/{MODEL}", QUESTION, base_url=BASE, api_key=session.access_token_sync)
    return str(answer.choices[0].message.content)


def anthropic() -> str:
    from anthropic import Anthropic

    client = Anthropic(base_url=BASE.removesuffix("/v1"), api_key=session.access_token_sync)
    return str(client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION).content[0].text)


def llamaindex() -> str:
    from llama_index.llms.openai_like import OpenAILike

    model = OpenAILike(model=MODEL, is_chat_model=True, api_base=BASE, api_key=session.access_token_sync)
    return str(model.complete("hello").text)


def kosong() -> str:
    from kosong.chat_provider.kimi import Kimi
    from kosong.message import Message

    async def ask() -> str:
        kimi = Kimi(model=MODEL, base_url=BASE, api_key=session.access_token)
        parts = [part async for part in await kimi.generate("", [], [Message(role="user", content="hello")])]
        return "".join(getattr(part, "text", "") for part in parts)

    return asyncio.run(ask())


def outcome(name: str) -> str:
    try:
        said: str = globals()[name]()
    except Exception as error:  # noqa: BLE001  # which one is what this is about
        return type(error).__name__
    return said


print(json.dumps({name: outcome(name) for name in sys.argv[1:]}))
