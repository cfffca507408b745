"""The recipes of examples/sdk as data: which SDK each one is about, how it takes the token, and where it is installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Environment = Literal["httpx2", "httpx", "kosong"]
Way = Literal["pipe", "http", "celery", "notebook"]

REQUIREMENTS: Final[dict[Environment, tuple[str, ...]]] = {
    "httpx2": (
        "openai>=3.57,<4",
        "anthropic>=2.14,<3",
        "mcp>=2.3,<3",
        "litellm>=1.110,<2",
        "langchain-openai>=1.7,<2",
        "pydantic-ai-slim[openai]>=2.68,<3",
        "openai-agents>=0.24,<0.25",
        "smolagents[openai]>=1.26,<2",
        "requests>=2.34,<3",
        "aiohttp>=3.14,<4",
        "fastapi>=0.165,<1",
        "uvicorn>=0.54,<1",
        "celery>=5.7,<6",
        "ipykernel>=7.4,<8",
    ),
    # instructor 1.17 and openai 3.57 want different versions of jiter; LlamaIndex 0.8 wants openai 2.
    "httpx": (
        "openai>=2.54,<3",
        "anthropic>=0.125,<1",
        "llama-index-llms-openai-like>=0.8.1,<0.9",
        "instructor>=1.17,<2",
    ),
    "kosong": (),  # comes with the Kimi CLI
}


@dataclass(frozen=True)
class Recipe:
    """One file of examples/sdk. `sdk`: the package that it is about; `takes`: how the token gets in.

    `unseen_401`: a 401 is answered within the request, so the program does not see it. `line`: what it is asked; `answer`: what
    it should say.
    """

    file: str
    sdk: str
    takes: str
    environment: Environment = "httpx2"
    way: Way = "pipe"
    unseen_401: bool = False
    line: str = "hello there"
    answer: str = "hello there"

    @property
    def name(self) -> str:
        return self.file.partition(".")[0]


RECIPES: Final = (
    Recipe("with_openai.py", "openai", "`api_key=session.access_token_sync`"),
    Recipe("with_openai_async.py", "openai", "`api_key=session.access_token`"),
    Recipe("with_openai_all_night.py", "openai", "`BearerAuth`", unseen_401=True),
    Recipe("with_kept_fresh.py", "openai", "`kept_fresh(client)`"),
    Recipe("with_openai_2.py", "openai", "`BearerAuth`", "httpx", unseen_401=True),
    Recipe("with_anthropic.py", "anthropic", "`AnthropicCredentials`", unseen_401=True),
    Recipe("with_kosong.py", "kosong", "`BearerAuth`", "kosong", unseen_401=True),
    Recipe("with_litellm.py", "litellm", "`api_key=` of each call"),
    Recipe("with_langchain.py", "langchain-openai", "`api_key=session.access_token_sync`"),
    Recipe("with_llamaindex.py", "llama-index-llms-openai-like", "`BearerAuth`", "httpx", unseen_401=True),
    Recipe("with_pydantic_ai.py", "pydantic-ai-slim", "`BearerAuth`", unseen_401=True),
    Recipe("with_openai_agents.py", "openai-agents", "`api_key=session.access_token`"),
    Recipe("with_smolagents.py", "smolagents", "`BearerAuth`", unseen_401=True),
    Recipe(
        "with_instructor.py",
        "instructor",
        "`api_key=session.access_token_sync`",
        "httpx",
        line='{"name": "Ada"}',
        answer="Ada",
    ),
    Recipe("with_mcp.py", "mcp", "`BearerAuth`", unseen_401=True),
    Recipe("with_requests.py", "requests", "`RequestsAuth`", unseen_401=True),
    Recipe("with_aiohttp.py", "aiohttp", "`AiohttpMiddleware`", unseen_401=True),
    Recipe("with_fastapi.py", "fastapi", "`BearerAuth`, three workers", way="http", unseen_401=True),
    Recipe("with_fastapi_lifespan.py", "fastapi", "`kept_fresh(client)`", way="http"),
    Recipe("with_celery.py", "celery", "`api_key=session.access_token_sync`", way="celery"),
    Recipe("notebook.ipynb", "ipykernel", "`api_key=session.access_token`", way="notebook"),
)
