"""What the tests of injection share: a source of tokens that is scripted, and asyncio for the async tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kimi_auth.errors import KimiAuthError


class ScriptedSource:
    """A token source that gives `token`, answers a complaint with `newer`, and notes what it was asked."""

    def __init__(self, token: str | KimiAuthError = "first", newer: str | KimiAuthError | None = "second") -> None:
        self.token = token
        self.newer = newer
        self.asked: list[str] = []

    def access_token_sync(self) -> str:
        self.asked.append("token")
        return _given(self.token)

    async def access_token(self) -> str:
        return self.access_token_sync()

    def rejected_sync(self, bearer: str) -> str | None:
        self.asked.append(f"rejected {bearer}")
        return None if self.newer is None else _given(self.newer)

    async def rejected(self, bearer: str) -> str | None:
        return self.rejected_sync(bearer)


def _given(answer: str | KimiAuthError) -> str:
    if isinstance(answer, KimiAuthError):
        raise answer
    return answer


@pytest.fixture(autouse=True)
def loaded_libraries() -> None:
    """Both libraries are loaded."""


@pytest.fixture
def anyio_backend() -> str:
    """The async tests run on asyncio."""
    return "asyncio"


@pytest.fixture
def scripted() -> Callable[..., ScriptedSource]:
    """Makes a source: `scripted(token, newer)`, either of which may be an error to raise."""
    return ScriptedSource
