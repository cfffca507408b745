"""The proxy's own errors, in one JSON shape that clients of OpenAI and of Anthropic both show whole."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NamedTuple

from kimi_auth.errors import KimiAuthError, NotSignedIn, SignInEnded, with_hint

if TYPE_CHECKING:  # grants are read without the extra
    from starlette.types import Send

__all__ = ["Refusal", "refusal_of", "refuse"]

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}
"""The type of an error in both APIs, by status; others are `invalid_request_error` below 500, else `api_error`."""


class Refusal(NamedTuple):
    """Why a server of ours refuses by itself. `code`: stable, for programs and logs; `hint`: the next step; `retry_after_s`:
    None where no moment is known at which another try makes sense; `closes`: the connection cannot be used again, because the
    end of its request is in doubt."""

    status: int
    code: str
    message: str
    hint: str = ""
    retry_after_s: float | None = None
    closes: bool = False


def refusal_of(error: KimiAuthError) -> Refusal:
    """The answer for an error of the login: 401 where a person has to sign in, 503 where waiting helps, 500 otherwise."""
    status = 401 if isinstance(error, NotSignedIn | SignInEnded) else 503 if error.is_transient else 500
    return Refusal(status, error.code, error.message, error.hint, error.retry_after_s)


async def refuse(send: Send, refusal: Refusal) -> None:
    """Sends the proxy's own error through ASGI."""
    body = _body_of(refusal)
    await send({"type": "http.response.start", "status": refusal.status, "headers": _headers_of(refusal, len(body))})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _body_of(refusal: Refusal) -> bytes:
    """The JSON of an error's answer. In English, and in ASCII."""
    kind = _TYPES.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "api_error")
    said = {
        "type": kind,
        "code": refusal.code,
        "message": str(with_hint(refusal.message, refusal.hint)),
        "hint": str(refusal.hint),
        "param": None,
    }
    return json.dumps({"type": "error", "error": said}).encode("ascii")


def _headers_of(refusal: Refusal, length: int) -> list[tuple[bytes, bytes]]:
    """The header fields of an error's answer with a body of so many bytes.

    `x-should-retry` is what the clients of both APIs obey; without it they repeat each 5xx, also one that only a person ends.
    """
    fields = {
        "content-type": "application/json",
        "content-length": str(length),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-should-retry": "true" if refusal.status in {429, 502, 503, 504} else "false",
    }
    if refusal.status == 401:
        fields["www-authenticate"] = "Bearer"  # RFC 9110 §11.6.1
    if refusal.retry_after_s is not None:
        fields["retry-after"] = str(max(1, math.ceil(refusal.retry_after_s)))
    if refusal.closes:
        fields["connection"] = "close"
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in fields.items()]
