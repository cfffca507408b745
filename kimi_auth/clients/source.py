"""Where tokens come from, as the injectors see it: four questions, two for each colour of code."""

from __future__ import annotations

from typing import Protocol

__all__ = ["TokenSource"]


class TokenSource(Protocol):
    """Gives access tokens and takes complaints about them; a `Session` is one.

    A source may have an attribute `api_origin`, a URL at the only origin (RFC 6454 §4) that its tokens are meant for, and
    a method `__static_key__()`, which gives the API key to use where there is no token, "" for none.
    """

    async def access_token(self) -> str:
        """A token that works, as far as anybody knows. Raises KimiAuthError when there is none."""

    def access_token_sync(self) -> str:
        """The same, blocking the calling thread."""

    async def rejected(self, bearer: str) -> str | None:
        """A newer token to retry with, now that `bearer` got a 401 from its own origin; None if there is none."""

    def rejected_sync(self, bearer: str) -> str | None:
        """The same, blocking the calling thread."""
