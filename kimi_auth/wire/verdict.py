"""From one raw response to its Answer: decode the body, look it up in the table, write one sentence.

Pure functions: the HTTP client and the simulated server both end here, so tests see the same results as users.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

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
from .coding import COMPRESSION
from .decode import JsonObject, catalogue, device_code, grant, json_object, oauth_error
from .rules import Facts, Row, Table, decide
from .sanitize import clean, echoes, excerpt, redact
from .tables import CODE, EXCHANGE, MODELS, POLL, REVOKE

__all__ = ["RawResponse", "code_answer", "exchange_answer", "models_answer", "poll_answer", "revoke_answer"]

Kind = TypeVar("Kind")
Value = TypeVar("Value")

_CODE_SHOWN_MAX = 60


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A response from `host`. Only its size has been checked.

    `status` is 0 when no answer began. `body`: the part that arrived. `failure`: the class of the exception that ended
    the request, and `trouble` its message; the exception itself is not kept, because it holds the request. `secrets`
    are the strings of the request that no message may repeat. `coding`: the content coding of a body that could not be
    decoded; `body` is then empty.
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
    charset: str = ""
    coding: str = ""


def code_answer(seen: RawResponse) -> Answer[CodeOutcome, DeviceCode]:
    """The answer to a device authorisation request (RFC 8628 §3.2)."""
    return _answer(CODE, seen, device_code)


def poll_answer(seen: RawResponse) -> Answer[PollOutcome, Grant]:
    """The answer to a token request with a device code (RFC 8628 §3.5)."""
    return _answer(POLL, seen, grant)


def exchange_answer(seen: RawResponse, revoked_codes: frozenset[str] = frozenset()) -> Answer[ExchangeOutcome, Grant]:
    """The answer to a token request with a refresh token (RFC 6749 §6); `revoked_codes` mean what `invalid_grant` does."""
    return _answer(EXCHANGE, seen, grant, revoked_codes)


def revoke_answer(seen: RawResponse) -> Answer[RevokeOutcome, None]:
    """The answer to a revocation request (RFC 7009 §2.2)."""
    # RFC 7009 §2.2 asks for no body, and django-oauth-toolkit labels the empty one as HTML: a page for people has a body.
    return _answer(REVOKE, seen if seen.body.strip() else replace(seen, content_type=""), _nothing)


def models_answer(seen: RawResponse, *, asked_by_etag: bool = False) -> Answer[ModelsOutcome, ModelsPage]:
    """The answer to a request for the models; `asked_by_etag` if it named an ETag."""

    def read(data: JsonObject | None) -> tuple[str, ModelsPage | None]:
        shape, models = catalogue(data)
        page = _unechoed(models, seen) if models is not None else None
        return shape or ("asked_by_etag" if asked_by_etag else ""), page

    return _answer(MODELS, seen, read)


def _unechoed(models: JsonObject, seen: RawResponse) -> ModelsPage:
    """The page without entries that repeat the bearer: it is shown, stored, and written to config.toml."""
    kept = [one for one in models["data"] if not echoes(json.dumps(one, ensure_ascii=False), seen.secrets)]
    return ModelsPage({**models, "data": kept}, "" if echoes(seen.etag, seen.secrets) else seen.etag)


def _nothing(_: JsonObject | None) -> tuple[str, None]:
    return "", None


def _answer(
    table: Table[Kind],
    seen: RawResponse,
    read: Callable[[JsonObject | None], tuple[str, Value | None]],
    revoked_codes: frozenset[str] = frozenset(),
) -> Answer[Kind, Value]:
    data = json_object(seen.body)
    shape, value = read(data)
    shape = shape or ("page" if _is_page(seen) else "encoded" if seen.coding else "")
    error, description = oauth_error(data)
    # A platform's own code for an ended login counts as RFC 6749's `invalid_grant`, so the tables know only that one.
    row = decide(table, Facts(seen.status, "invalid_grant" if error in revoked_codes else error, shape, seen.failure))
    words = _words(seen, error, description) if row.raises or error else ""
    return Answer(
        row.outcome,
        # A row without a shape did not decide by the body, so its value must not get out: a 500 may carry a token.
        value if row.shape else None,
        row.raises(_sentence(row, seen, words), hint=row.hint) if row.raises else None,
        seen.retry_after_s,
        words,
        seen.status,
    )


def _is_page(seen: RawResponse) -> bool:
    """True for a page for people: a portal or a proxy sent it, because our endpoints never do."""
    return seen.content_type.lower() in {"text/html", "application/xhtml+xml"} or seen.body.lstrip()[:1] == b"<"


def _sentence(row: Row[object], seen: RawResponse, words: str) -> str:
    coding = f"encoded as {seen.coding}" if seen.coding else ""
    got = ", ".join(filter(None, (f"HTTP {seen.status}", seen.content_type, coding)))
    return row.says.format(host=seen.host, got=got, said=f": {words}" if words else "")


def _words(seen: RawResponse, error: str, description: str) -> str:
    """The message of the server, or else of the network."""
    if error:
        said = clean(error, _CODE_SHOWN_MAX) + (f": {description}" if description else "")
        return clean(redact(said, seen.secrets, guess=True))
    if seen.failure is not None:
        return clean(redact(seen.trouble, seen.secrets))
    if seen.coding in COMPRESSION:
        return "to read this encoding: pip install 'kimi-auth[compression]'"
    return excerpt(seen.body, seen.secrets, charset=seen.charset)
