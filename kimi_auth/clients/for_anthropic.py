"""A token for the clients of anthropic, which ask a callable for their credentials.

anthropic.Anthropic(base_url=..., credentials=AnthropicCredentials(login))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from .bearers import Signing
from .origins import origin_of_text

if TYPE_CHECKING:
    from anthropic import AccessToken

__all__ = ["AnthropicCredentials", "AsyncAnthropicCredentials"]

ASK_AGAIN = 0
"""The time at which a token ends, as the client is told: it asks before each request, and keeps none."""


class _Credentials(Signing):
    _given = ""

    def for_base_url(self, base_url: str) -> Self:
        """anthropic's client asks this when it is made. Raises ValueError for one that sends to another origin."""
        if origin_of_text(base_url) != self._bearers.origin:
            raise ValueError(
                f"the client does not send to {self._bearers.origin}, so it gets no token: give it the platform's base_url"
            )
        return self

    def _token(self, bearer: str) -> AccessToken:
        from anthropic import AccessToken

        self._given = bearer
        return AccessToken(bearer, ASK_AGAIN)


class AnthropicCredentials(_Credentials):
    """What `Anthropic(credentials=...)` takes: it is asked before each request, and once more after a 401.

    The client then sends the request again with the newer token, whatever its body. Waits for the source in the thread that
    asks; `AsyncAnthropic` asks it in a thread of its own. Give each client an instance of its own: the client does not say
    which token was refused, so it is the one that was given last.

    The client's `base_url` is checked when the client is made, and when `copy` or `with_options` gives it another one. The
    client does not say where a request goes: after `client.base_url = ...`, or for a call with an absolute URL, the token goes
    there too.
    """

    def __call__(self, *, force_refresh: bool = False) -> AccessToken:
        """The token to send. Raises KimiAuthError where there is neither a token nor a static key."""
        newer = self._bearers.other_sync(self._given) if force_refresh and self._given else None
        return self._token(newer or self._bearers.token_sync())


class AsyncAnthropicCredentials(_Credentials):
    """The same for `AsyncAnthropic`, which awaits it in its own event loop."""

    async def __call__(self, *, force_refresh: bool = False) -> AccessToken:
        """The token to send. Raises KimiAuthError where there is neither a token nor a static key."""
        newer = await self._bearers.other(self._given) if force_refresh and self._given else None
        return self._token(newer or await self._bearers.token())
