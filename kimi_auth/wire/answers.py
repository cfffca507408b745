"""The results of requests: one declared outcome, in the terms of the RFCs, and the data that came with it.

Every request of `kimi_auth.wire` returns an `Answer`; none raises for the behaviour of a server or a network.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple, TypeVar

from kimi_auth.errors import KimiAuthError
from kimi_auth.support.text import repr_without

from .outcomes import AccountOutcome, CodeOutcome, ExchangeOutcome, ModelsOutcome, PollOutcome, RevokeOutcome

__all__ = [
    "AccountOutcome",
    "Answer",
    "CodeOutcome",
    "DeviceCode",
    "Endpoints",
    "ExchangeOutcome",
    "Grant",
    "ModelsOutcome",
    "ModelsPage",
    "PollOutcome",
    "RevokeOutcome",
]

Outcome_co = TypeVar("Outcome_co", covariant=True)
Value_co = TypeVar("Value_co", covariant=True)


class Answer(NamedTuple, Generic[Outcome_co, Value_co]):
    """One request's outcome. `value` is set for the good outcome only; `error` explains a failure in one sentence.

    `retry_after_s`: seconds the server asked to wait, None if it did not ask. `message`: the text of the server, or
    of the network if no server answered; without control characters and secrets, at most 200 characters. `status`: the
    HTTP status, 0 if there was no answer.
    """

    outcome: Outcome_co
    value: Value_co | None = None
    error: KimiAuthError | None = None
    retry_after_s: float | None = None
    message: str = ""
    status: int = 0


class DeviceCode(NamedTuple):
    """RFC 8628 §3.2, checked and bounded. `interval_s` 1 to 300 (5 when absent), `expires_in_s` at most 1800.

    `origins`: the origins other than the issuer's own where the metadata puts the token and revocation endpoints.
    `verification_uri` is https (or http on loopback); `verification_uri_complete` is "" when absent or not such a URL.
    """

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in_s: float
    interval_s: float
    origins: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return repr_without(self, "device_code")


class Grant(NamedTuple):
    """RFC 6749 §5.1: a token answer. Only `access_token` is required. `refresh_token` None and `expires_in_s` 0.0 mean
    absent; `refresh_token` "" means that the server sent one that no request could carry. `refresh_expires_in_s`: the life of
    the refresh token, 0.0 where the server does not say it."""

    access_token: str
    refresh_token: str | None = None
    expires_in_s: float = 0.0
    scope: str = ""
    token_type: str = "Bearer"
    refresh_expires_in_s: float = 0.0

    def __repr__(self) -> str:
        return repr_without(self, "access_token", "refresh_token")


class ModelsPage(NamedTuple):
    """The decoded answer of a models API, an object with a list `data`, and its ETag ("" when it sent none)."""

    data: dict[str, Any]
    etag: str = ""


class Endpoints(NamedTuple):
    """The addresses of an OAuth server and our registration there. URLs are absolute; credentials are bound to the
    host `issuer`.

    `revocation_url` is "" when the platform names none: then `discover_revocation` says whether to ask the server's
    metadata (RFC 8414), and without it nothing is revoked at the server. The client never guesses an endpoint.
    `resource` (RFC 8707) and `audience` go with every request for a code or for tokens, "" for none. `client_secret`
    authenticates every request of a client that has one ("": a public client), in the way that `auth_method` names.
    """

    issuer: str
    device_authorization_url: str
    token_url: str
    client_id: str
    scope: str = ""
    resource: str = ""
    audience: str = ""
    revocation_url: str = ""
    discover_revocation: bool = True
    revoked_codes: frozenset[str] = frozenset({"invalid_grant"})
    client_secret: str = ""
    auth_method: Literal["client_secret_basic", "client_secret_post"] = "client_secret_basic"

    def __repr__(self) -> str:
        return repr_without(self, "client_secret")
