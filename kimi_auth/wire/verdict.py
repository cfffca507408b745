"""From what was seen of one request to its Answer: decode the body, look into the table, say it in one sentence.

Pure functions: the HTTP client and the simulated server both end here, so what tests see is what users get.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from .answers import (
    Answer,
    CodeOutcome,
    DeviceCode,
    ExchangeOutcome,
    Grant,
    ModelsOutcome,
    ModelsPage,
    PollOutcome,
    RevokeOutcome,
)
from .decode import catalogue, device_code, grant, json_object, oauth_error
from .rules import Facts, Table, decide
from .sanitize import clean, excerpt, redact
from .tables import CODE, EXCHANGE, MODELS, POLL, REVOKE

__all__ = ["Seen", "code_answer", "exchange_answer", "models_answer", "poll_answer", "revoke_answer"]

Kind = TypeVar("Kind")
Value = TypeVar("Value")

_CODE_SHOWN_MAX = 60


@dataclass(frozen=True, slots=True)
class Seen:
    """What came back from `host`, checked for nothing yet but its size.

    `status` is 0 when no answer began. `body`: as much as arrived. `failure`: the class of the exception that ended the
    request, and `trouble` what it says; an exception itself is never kept, because it holds the request. `secrets` are the
    strings of the request that must not come back in any message.
    """

    host: str
    status: int = 0
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    etag: str = ""
    retry_after_s: float | None = None
    failure: type[Exception] | None = None
    trouble: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def json(self) -> dict[str, Any] | None:
        """The complete JSON object in the body, None when there is none."""
        return json_object(self.body)


def code_answer(seen: Seen) -> Answer[CodeOutcome, DeviceCode]:
    """The answer to a device authorisation request (RFC 8628 §3.2)."""
    shape, value = device_code(seen.json())
    return _answer(CODE, seen, shape, value)


def poll_answer(seen: Seen) -> Answer[PollOutcome, Grant]:
    """The answer to a token request with a device code (RFC 8628 §3.5)."""
    shape, value = grant(seen.json())
    return _answer(POLL, seen, shape, value)


def exchange_answer(seen: Seen, refusal_codes: frozenset[str]) -> Answer[ExchangeOutcome, Grant]:
    """The answer to a token request with a refresh token (RFC 6749 §6); `refusal_codes` mean what `invalid_grant` does."""
    shape, value = grant(seen.json())
    return _answer(EXCHANGE, seen, shape, value, refusal_codes)


def revoke_answer(seen: Seen) -> Answer[RevokeOutcome, None]:
    """The answer to a revocation request (RFC 7009 §2.2)."""
    return _answer(REVOKE, seen, "", None)


def models_answer(seen: Seen, *, asked_by_etag: bool = False) -> Answer[ModelsOutcome, ModelsPage]:
    """The answer to a request for the models; `asked_by_etag` if it named an ETag."""
    shape, data = catalogue(seen.json())
    value = None if data is None else ModelsPage(dict(data), seen.etag)
    return _answer(MODELS, seen, shape or ("asked_by_etag" if asked_by_etag else ""), value)


def _answer(
    table: Table[Kind], seen: Seen, shape: str, value: Value | None, refusal_codes: frozenset[str] = frozenset()
) -> Answer[Kind, Value]:
    error, description = oauth_error(seen.json())
    row = decide(
        table, Facts(seen.status, "invalid_grant" if error in refusal_codes else error, shape, seen.failure)
    )
    words = _words(seen, error, description)
    if row.raises is None:
        return Answer(row.outcome, value if row.carries else None, None, seen.retry_after_s, words, seen.status)
    got = f"HTTP {seen.status}" + (f", {seen.content_type}" if seen.content_type else "")
    sentence = row.says.format(host=seen.host, got=got, said=f": {words}" if words else "")
    return Answer(
        row.outcome, None, row.raises(sentence, hint=row.hint), seen.retry_after_s, words, seen.status
    )


def _words(seen: Seen, error: str, description: str) -> str:
    """What the server said, or else what the network did; "" for an answer with a good JSON body."""
    if error:
        said = clean(error, _CODE_SHOWN_MAX) + (f": {description}" if description else "")
        return clean(redact(said, seen.secrets, guess=True))
    if seen.failure is not None:
        return clean(redact(seen.trouble, seen.secrets))
    return excerpt(seen.body, seen.secrets)
