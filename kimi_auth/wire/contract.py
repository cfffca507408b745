"""The OAuth server as the flows see it: four requests, each with a declared set of outcomes."""

from __future__ import annotations

from typing import Literal, Protocol

from .answers import Answer, CodeOutcome, DeviceCode, ExchangeOutcome, Grant, PollOutcome, RevokeOutcome

__all__ = ["OAuthServer", "TokenHint"]

TokenHint = Literal["refresh_token", "access_token"]
"""`token_type_hint` of RFC 7009 §2.1."""


class OAuthServer(Protocol):
    """A server as seen by one client. No method raises for the behaviour of the server or the network; times are
    seconds."""

    async def request_code(self) -> Answer[CodeOutcome, DeviceCode]:
        """Starts a device login (RFC 8628 §3.1). `code` carries the DeviceCode."""

    async def poll(self, device_code: str) -> Answer[PollOutcome, Grant]:
        """Asks once whether the login was approved (RFC 8628 §3.4). `granted` carries the Grant; do not poll after
        it."""

    def exchange(self, refresh_token: str, *, connect_timeout_s: float = 5.0) -> Answer[ExchangeOutcome, Grant]:
        """Spends a refresh token (RFC 6749 §6), which the server may accept only once. `tokens` carries the Grant.

        `not_processed`: the token is certainly unspent. `in_doubt`: it may be spent. `unrecognized`: the answer did
        not come from an OAuth server. Blocks for 60 s at most; name resolution and discovery of the endpoints (10 s)
        come on top.
        """

    def revoke(self, token: str, hint: TokenHint, *, deadline_s: float = 5.0) -> Answer[RevokeOutcome, None]:
        """Tells the server that `token` is no longer needed (RFC 7009). Blocks for `deadline_s` at most."""

    async def aclose(self) -> None:
        """Closes the connections of this event loop; no others stay open between requests."""
