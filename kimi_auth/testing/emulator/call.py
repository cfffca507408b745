"""One request and one answer as plain data: the input and output of the endpoint functions, independent of the HTTP
server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qsl

from .authorization_server import State
from .records import OAuthError

FORM = "application/x-www-form-urlencoded"
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 §5.1


@dataclass(frozen=True)
class Call:
    """A request: header names in lower case, the body read whole."""

    method: str = "GET"
    base_url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def bearer(self) -> str:
        """The token in the `Authorization: Bearer` header (RFC 6750 §2.1) of a request to the emulator, or an empty string."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


@dataclass(frozen=True)
class Answer:
    """A response, and its entry in the request log. Several `chunks` are sent one by one.

    outcome: one word. tokens: the secrets involved, by role; the log gets their fingerprints only.
    """

    status: int = 200
    chunks: tuple[bytes, ...] = ()
    media_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    outcome: str = "ok"
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)


Endpoint: TypeAlias = Callable[[State, Call], Answer]


def json_answer(
    value: object,
    status: int = 200,
    *,
    headers: Mapping[str, str] = NO_STORE,
    outcome: str = "ok",
    tokens: Mapping[str, str] | None = None,
) -> Answer:
    content = json.dumps(value, separators=(",", ":")).encode()
    return Answer(status, (content,), "application/json", headers, outcome, tokens or {})


def read_form(call: Call) -> dict[str, str]:
    """One request's form as plain data; raises OAuthError `invalid_request` (RFC 6749 §3.2: no repeated parameter).

    A field without a value counts as missing (RFC 6749 §3.1).
    """
    if call.media_type != FORM:
        raise OAuthError("invalid_request", f"The body must be {FORM}.")
    try:
        pairs = parse_qsl(call.body.decode(), errors="strict", max_num_fields=50)
    except ValueError:
        raise OAuthError("invalid_request", "The body is not a form in UTF-8.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "A parameter is given more than once.")
    return form
