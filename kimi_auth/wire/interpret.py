"""From one raw response to its Answer: decode the body, look it up in the table, write one sentence.

Pure functions: the HTTP client and the simulated server both end here, so tests see the same results as users.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from kimi_auth.errors import KimiAuthError
from kimi_auth.support.extras import install
from kimi_auth.support.language import joined, tr

from .answers import (
    AccountOutcome,
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
from .response import RawResponse
from .rules import Facts, Row, Table, decide
from .sanitize import clean, echoes, excerpt, redact
from .tables import ACCOUNT, CODE, EXCHANGE, MODELS, POLL, REVOKE

__all__ = ["account_answer", "code_answer", "exchange_answer", "models_answer", "poll_answer", "revoke_answer"]

Outcome = TypeVar("Outcome")
Value = TypeVar("Value")

_CODE_SHOWN_MAX = 60
_ACCOUNT_MEMBERS_MAX = 50


def code_answer(response: RawResponse) -> Answer[CodeOutcome, DeviceCode]:
    """The Answer to a device authorisation request (RFC 8628 §3.2)."""
    return _answer(CODE, response, device_code)


def poll_answer(response: RawResponse) -> Answer[PollOutcome, Grant]:
    """The Answer to a token request with a device code (RFC 8628 §3.5)."""
    return _answer(POLL, response, grant)


def exchange_answer(
    response: RawResponse, revoked_codes: frozenset[str] = frozenset()
) -> Answer[ExchangeOutcome, Grant]:
    """The Answer to a token request with a refresh token (RFC 6749 §6); `revoked_codes` mean what `invalid_grant` does."""
    return _answer(EXCHANGE, response, grant, revoked_codes)


def revoke_answer(response: RawResponse) -> Answer[RevokeOutcome, None]:
    """The Answer to a revocation request (RFC 7009 §2.2)."""
    # RFC 7009 §2.2 asks for no body, and django-oauth-toolkit labels the empty one as HTML: a page for people has a body.
    response = response if response.body.strip() else response._replace(content_type="")
    return _answer(REVOKE, response, lambda _: ("", None))


def models_answer(response: RawResponse, *, asked_by_etag: bool = False) -> Answer[ModelsOutcome, ModelsPage]:
    """The Answer to a request for the models; `asked_by_etag` if it named an ETag."""

    def read(data: JsonObject | None) -> tuple[str, ModelsPage | None]:
        shape, models = catalogue(data)
        page = _unechoed(models, response) if models is not None else None
        return shape or ("asked_by_etag" if asked_by_etag else ""), page

    return _answer(MODELS, response, read)


def account_answer(response: RawResponse) -> Answer[AccountOutcome, JsonObject]:
    """Interprets the response to a request for the account or its usage: an Answer without texts that repeat the
    bearer."""

    def read(data: JsonObject | None) -> tuple[str, JsonObject | None]:
        if not data or "error" in data:
            return "", None
        if echoes(json.dumps(data, ensure_ascii=False), response.secrets):
            data = {key: _silent(value, response.secrets) for key, value in list(data.items())[:_ACCOUNT_MEMBERS_MAX]}
        return "account", data

    return _answer(ACCOUNT, response, read)


def _silent(value: object, secrets: tuple[str, ...]) -> object:
    """A member of an account's answer; None for one with a text that repeats a secret."""
    return None if echoes(json.dumps(value, ensure_ascii=False), secrets) else value


def _unechoed(models: JsonObject, response: RawResponse) -> ModelsPage:
    """The page without entries that repeat the bearer: it is shown, stored, and written to config.toml."""
    secrets = response.secrets
    kept = [one for one in models["data"] if not echoes(json.dumps(one, ensure_ascii=False), secrets)]
    return ModelsPage({**models, "data": kept}, "" if echoes(response.etag, secrets) else response.etag)


def _answer(
    table: Table[Outcome],
    response: RawResponse,
    read: Callable[[JsonObject | None], tuple[str, Value | None]],
    revoked_codes: frozenset[str] = frozenset(),
) -> Answer[Outcome, Value]:
    data = json_object(response.body)
    shape, value = read(data)
    shape = shape or ("page" if response.is_page else "encoded" if response.coding else "")
    error, description = oauth_error(data)
    # A platform's own code for an ended login counts as RFC 6749's `invalid_grant`, so the tables know only that one.
    code = "invalid_grant" if error in revoked_codes else error
    row = decide(table, Facts(response.status, code, shape, response.failure))
    message = _message(response, error, description) if row.raises or error else ""
    return Answer(
        row.outcome,
        # A row without a shape did not decide by the body, so its value must not get out: a 500 may carry a token.
        value if row.shape else None,
        _error(row.raises, _sentence(row, response, message), response, row) if row.raises else None,
        response.retry_after_s,
        message,
        response.status,
    )


def _error(kind: type[KimiAuthError], sentence: str, response: RawResponse, row: Row[object]) -> KimiAuthError:
    return kind(sentence, hint=response.hint or row.hint, retry_after_s=response.retry_after_s)


def _sentence(row: Row[object], response: RawResponse, message: str) -> str:
    coding = tr("encoded as {coding}", coding=response.coding) if response.coding else ""
    got = joined(tr(", "), filter(None, (f"HTTP {response.status}", response.content_type, coding)))
    return row.says.format(host=response.host, got=got, said=tr(": {reason}", reason=message) if message else "")


def _message(response: RawResponse, error: str, description: str) -> str:
    """The message in an Answer's sentence: the server's, or else the network's."""
    if error:
        said = clean(error, _CODE_SHOWN_MAX) + (f": {description}" if description else "")
        shown = clean(redact(said, response.secrets, guess=True))
        return shown if shown.endswith("..") else shown.removesuffix(".")
    if response.failure is not None:
        return clean(redact(response.message, response.secrets))
    if response.coding in COMPRESSION:
        return tr("to read this encoding: {command}", command=install("compression"))
    return excerpt(response.body, response.secrets, charset=response.charset)
