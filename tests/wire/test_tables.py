"""The five tables: every row is reached over a scripted network, and what the tables promise holds for all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

import httpx
import httpx2
import pytest
from house.libraries import LIBRARIES

from kimi_auth.errors import (
    AccessDenied,
    Blocked,
    ClientRefused,
    CodeExpired,
    ConfigError,
    KimiAuthError,
    Revoked,
    SignInEnded,
    Unreachable,
)
from kimi_auth.wire import TABLES, answers, columns, decide, failures, interpret, markdown, tables
from kimi_auth.wire.failures import UnpinnedError, UntrustedError
from kimi_auth.wire.response import RawResponse
from kimi_auth.wire.rules import ANY_ERROR, Facts, Row

OUTCOMES = {
    "device code": answers.CodeOutcome,
    "poll": answers.PollOutcome,
    "exchange": answers.ExchangeOutcome,
    "revoke": answers.RevokeOutcome,
    "models": answers.ModelsOutcome,
}
CODE = {
    "device_code": "device-s3cret",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://auth.test/device",
    "interval": 7,
    "expires_in": 600,
}
PAIR = {"access_token": "new-access", "refresh_token": "new-refresh", "token_type": "bearer", "expires_in": 900}
LIST = {"data": [{"id": "k"}]}
HTML = "<html><head><title>Sign in to Hotel WiFi</title></head></html>"


def json(status: int, body: object, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=body, headers=headers)


def error(status: int, code: str, description: str = "", **headers: str) -> httpx.Response:
    return json(status, {"error": code, "error_description": description}, **headers)


def html(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, html=HTML, headers=headers)


def encoded(body: bytes, coding: str, **headers: str) -> httpx.Response:
    """An answer with the label of a content coding; httpx itself undoes none of a stream."""
    return httpx.Response(200, stream=httpx.ByteStream(body), headers={"Content-Encoding": coding, **headers})


class Case(NamedTuple):
    request: str
    reply: Any
    outcome: str
    raises: type[KimiAuthError] | None = None
    says: str = ""
    retry_after_s: float | None = None


def cut(status: int, body: bytes, failure: Exception) -> Callable[[type], httpx.Response]:
    """An answer whose body breaks after `body`."""
    return lambda broken: httpx.Response(status, stream=broken(body, failure=failure))


def named(name: str) -> type[Exception]:
    """The class of this name: httpx's, httpx2's, or one of ours."""
    found: type[Exception] = next(getattr(it, name) for it in (httpx, httpx2, failures) if hasattr(it, name))
    return found


RESET = httpx.ReadError("reset")
UNTIDY = [
    b'{"access_token": "a", "expires_in": ' + b"9" * 5000 + b"}",
    b'{"access_token": "a", "expires_in": NaN}',
    b'{"access_token": "a", "x": -Infinity}',
    b'{"access_token": "a", "scope": "s", "scope": "t"}',
    b'{"access_token": "a", "access_token": "a"}',
    b'{"access_token": "a", "scope": "caf\xe9"}',
    b'{"access_token": "a", "scope": "s\nt"}',
]
TWO_TOKENS = b'{"access_token": "a", "access_token": "b"}'
TRANSIENT = [
    (
        json(429, {"error": {"type": "rate_limit"}}, **{"Retry-After": "7"}),
        7.0,
        "is rate-limiting this client (HTTP 429",
    ),
    (
        httpx.Response(503, headers=[("Retry-After", "5"), ("Retry-After", "later"), ("Retry-After", "9")]),
        9.0,
        "returned a server error",
    ),
    (error(429, "rate_limited"), None, "is rate-limiting this client (HTTP 429"),
    (html(502), None, "returned a server error (HTTP 502, text/html): Sign in to Hotel WiFi"),
    (error(503, "invalid_grant", **{"Retry-After": "9"}), 9.0, "returned a server error"),
    (error(400, "temporarily_unavailable"), None, "temporarily_unavailable"),
    (httpx.ConnectError("refused"), None, "auth.test cannot be reached: refused"),
    (httpx.ReadTimeout("read"), None, "no complete answer in time"),
    (OSError("odd"), None, "OSError"),
    (html(403), None, "not OAuth (HTTP 403, text/html)"),
    (html(407), None, "not OAuth"),
    (httpx.Response(302, headers={"Location": "https://portal.test/"}), None, "not OAuth (HTTP 302)"),
    (error(302, "access_denied"), None, "not OAuth"),
    (json(403, {"statusCode": 403, "message": "Forbidden resource", "error": "Forbidden"}), None, "): Forbidden"),
    (error(408, "Request Timeout"), None, "not OAuth (HTTP 408"),
    (cut(400, b'{"error": "acc', RESET), None, "the connection broke"),
]
REJECTED = [
    (json(404, {"message": "not here"}), "(HTTP 404, application/json)"),
    (json(400, {"error": {"message": "not a string"}}), ""),
    (httpx.Response(400), "(HTTP 400)"),
    (httpx.Response(400, content=b'{"error": "access_denied", "error": "slow_down"}'), ""),
    (httpx.Response(400, content=b'{"error": "access_denied\xff"}'), ""),
    (json(404, {"status": 404, "error": "Not Found", "path": "/token"}), "HTTP 404, application/json): Not Found"),
    (html(415), "(HTTP 415, text/html)"),
]
UNTRUSTED = UntrustedError("its certificate is not trusted (expired)", hint="check the clock")

CASES = [
    Case("device code", json(200, CODE), "code"),
    *(Case("device code", reply, "unreachable", Unreachable, says) for reply, says in REJECTED),
    Case("device code", html(200), "unreachable", Unreachable, "HTTP 200, text/html"),
    Case("device code", json(404, CODE), "unreachable", Unreachable, "HTTP 404"),
    Case("device code", error(400, "slow_down"), "unreachable", Unreachable, "slow_down"),
    *(Case("device code", reply, "unreachable", Unreachable, says, wait_s) for reply, wait_s, says in TRANSIENT),
    *(
        Case("device code", error(status, code, "no such client"), "refused", ClientRefused, f"{code}: no such client")
        for status, code in [
            (400, "invalid_client"),
            (401, "invalid_client"),
            (400, "invalid_scope"),
            (403, "invalid_request"),
        ]
    ),
    Case(
        "device code", error(400, "blocked", "not today"), "refused", SignInEnded, "gives no code: blocked: not today"
    ),
    Case("device code", error(200, "blocked"), "refused", SignInEnded, "blocked"),
    Case(
        "device code",
        json(200, CODE | {"verification_uri": "http://auth.test/"}),
        "refused",
        ConfigError,
        "not plain https",
    ),
    Case("device code", json(200, {"user_code": "A"}), "refused", ConfigError, "without a device code"),
    Case("device code", httpx.UnsupportedProtocol("gopher"), "refused", ConfigError, "nothing was sent"),
    Case("poll", json(200, PAIR), "granted"),
    Case("poll", cut(200, b'{"access_token": "whole"}', RESET), "granted"),
    Case("poll", error(400, "authorization_pending"), "authorization_pending"),
    Case("poll", error(403, "authorization_pending"), "authorization_pending"),
    Case("poll", error(200, "authorization_pending"), "authorization_pending"),
    Case("poll", error(429, "slow_down", **{"Retry-After": "9"}), "slow_down", retry_after_s=9.0),
    Case("poll", error(400, "access_denied"), "access_denied", AccessDenied),
    Case("poll", cut(400, b'{"error": "access_denied"}', RESET), "access_denied", AccessDenied),
    Case("poll", error(400, "expired_token"), "expired_token", CodeExpired),
    *(Case("poll", reply, "unreachable", Unreachable, says, wait_s) for reply, wait_s, says in TRANSIENT),
    Case("poll", error(400, "invalid_grant"), "refused", SignInEnded, "the approval was used but its answer was lost"),
    Case("poll", error(401, "invalid_client"), "refused", ClientRefused, "refuses this program: invalid_client"),
    Case("poll", error(400, "invalid_request"), "refused", SignInEnded, "ended the request: invalid_request"),
    *(Case("poll", httpx.Response(200, content=body), "granted") for body in UNTIDY),
    Case("poll", error(400, "vendor.code-7"), "refused", SignInEnded, "ended the request: vendor.code-7"),
    Case("poll", httpx.Response(200, content=TWO_TOKENS), "refused", SignInEnded, "could not be read"),
    Case("poll", html(200), "unreachable", Unreachable, ""),
    Case("poll", json(200, {"access_token": "two words"}), "refused", SignInEnded, "could not be read"),
    Case("poll", cut(200, b'{"access_token": "ha', RESET), "unreachable", Unreachable, ""),
    *(Case("poll", reply, "unreachable", SignInEnded, says) for reply, says in REJECTED),
    *(Case("poll", html(status), "unreachable", Unreachable, "not OAuth") for status in (403, 407, 408, 421)),
    Case("poll", error(400, "temporarily_unavailable"), "unreachable", Unreachable),
    Case("poll", UNTRUSTED, "unreachable", ConfigError, "its certificate is not trusted (expired)"),
    *(
        Case(
            request,
            UNTRUSTED,
            outcome,
            ConfigError,
            "nothing was sent to auth.test: its certificate is not trusted (expired)",
        )
        for request, outcome in {
            "device code": "refused",
            "exchange": "not_processed",
            "revoke": "failed",
            "models": "unavailable",
        }.items()
    ),
    Case("poll", httpx.InvalidURL("bad"), "refused", ConfigError, "nothing was sent"),
    Case("exchange", json(200, PAIR), "tokens"),
    Case("exchange", json(201, PAIR | {"error": None}), "tokens"),
    Case("exchange", json(200, PAIR | {"token_type": "mac"}), "tokens"),
    *(Case("exchange", httpx.Response(200, content=body), "tokens") for body in UNTIDY),
    Case("exchange", cut(200, b'{"access_token": "whole"}', RESET), "tokens"),
    *(
        Case("exchange", error(status, "invalid_grant", "gone"), "revoked", Revoked, "gone")
        for status in (400, 401, 403, 429)
    ),
    Case("exchange", error(400, "login_gone"), "revoked", Revoked, "ended the login: login_gone"),
    Case("exchange", cut(400, b'{"error": "invalid_grant"}', RESET), "revoked", Revoked),
    *(
        Case("exchange", error(400, code), "misconfigured", ClientRefused, code)
        for code in (
            "invalid_client",
            "unauthorized_client",
            "unsupported_grant_type",
            "invalid_scope",
            "invalid_request",
        )
    ),
    Case(
        "exchange",
        html(429, **{"Retry-After": "11"}),
        "not_processed",
        Unreachable,
        "is rate-limiting this client",
        11.0,
    ),
    Case(
        "exchange", error(500, "invalid_grant", **{"Retry-After": "12"}), "in_doubt", Unreachable, "server error", 12.0
    ),
    Case("exchange", error(400, "server_error"), "in_doubt", Unreachable, "server_error"),
    Case("exchange", httpx.UnsupportedProtocol("x"), "not_processed", ConfigError, "nothing was sent"),
    *(
        Case("exchange", failure(""), "not_processed", Unreachable, "cannot be reached")
        for failure in (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
            httpx.ProxyError,
            httpx.LocalProtocolError,
        )
    ),
    *(
        Case("exchange", named(failure)(""), "in_doubt", Unreachable, "did not answer completely")
        for failure in tables.MAYBE_SENT
        if hasattr(httpx, failure) or hasattr(failures, failure)
    ),
    Case("exchange", ValueError("never seen before"), "in_doubt", Unreachable, "completely: ValueError"),
    Case("exchange", cut(200, b'{"access_token": "ha', RESET), "in_doubt", Unreachable, "the connection broke"),
    Case("exchange", cut(403, b"<html>", httpx.LocalProtocolError("late")), "in_doubt", Unreachable),
    *(
        Case("exchange", reply, "unrecognized", Blocked, says)
        for reply, says in [
            (html(200), "(HTTP 200, text/html): Sign in to Hotel WiFi"),
            (html(403), "(HTTP 403, text/html)"),
            (httpx.Response(302, headers={"Location": "/login"}), "(HTTP 302)"),
            (httpx.Response(400), "(HTTP 400)"),
            (error(400, "strange_code", "because"), "strange_code: because"),
            (error(200, "invalid_grant"), "invalid_grant"),
            (json(403, PAIR), "(HTTP 403, application/json)"),
        ]
    ),
    *(
        Case("exchange", reply, "in_doubt", Unreachable, says)
        for reply, says in [
            (httpx.Response(200, content=TWO_TOKENS), "without a readable token (HTTP 200)"),
            (httpx.Response(200, content=b'{"access_token": "a\xff"}'), "without a readable token"),
            (json(200, {"access_token": "caf\u00e9"}), "without a readable token"),
            (json(200, {"access_token": None}), "without a readable token"),
            (json(200, {"detail": "ok"}), "without a readable token"),
            (json(200, [PAIR]), "without a readable token"),
            (httpx.Response(200), "without a readable token (HTTP 200)"),
            (httpx.Response(204), "without a readable token (HTTP 204)"),
            (encoded(b"\0junk", "br"), "encoded as br): to read this encoding: pip install 'kimi-auth[compression]'"),
            (encoded(b"\0junk", "x\x1b[2J"), "encoded as unknown)"),
        ]
    ),
    Case(
        "exchange",
        encoded(b"\0junk", "br", **{"Content-Type": "text/html"}),
        "unrecognized",
        Blocked,
        "text/html, encoded",
    ),
    Case("poll", encoded(b"\0junk", "zstd"), "refused", SignInEnded, "could not be read (HTTP 200, encoded as zstd)"),
    Case("revoke", httpx.Response(200), "revoked"),
    Case("revoke", json(200, {"error": "anything"}), "revoked"),
    Case("revoke", cut(200, b"", RESET), "revoked"),
    Case("revoke", encoded(b"\0junk", "br"), "revoked"),
    Case(
        "revoke", html(200), "failed", KimiAuthError, "did not confirm that the token is revoked (HTTP 200, text/html)"
    ),
    Case("revoke", httpx.Response(200, content=b" <!doctype html>"), "failed", KimiAuthError, "did not confirm"),
    Case("revoke", httpx.Response(200, headers={"Content-Type": "text/html"}), "revoked"),  # django-oauth-toolkit
    Case("revoke", error(400, "unsupported_token_type"), "unsupported", KimiAuthError, "cannot revoke this kind"),
    Case("revoke", html(404), "unsupported", KimiAuthError, "HTTP 404"),
    Case("revoke", html(405), "unsupported", KimiAuthError, "HTTP 405"),
    Case("revoke", httpx.InvalidURL("bad"), "failed", ConfigError, "nothing was sent"),
    Case("revoke", httpx.ConnectTimeout(""), "failed", Unreachable, "no connection in time"),
    Case("revoke", error(401, "invalid_client"), "failed", KimiAuthError, "invalid_client"),
    Case("revoke", html(503, **{"Retry-After": "3"}), "failed", KimiAuthError, "HTTP 503", 3.0),
    Case("models", json(200, LIST, ETag='"v2"'), "models"),
    Case("models by etag", json(200, LIST), "models"),
    Case("models by etag", httpx.Response(304), "unchanged"),
    Case("models", httpx.Response(304), "unavailable", Unreachable, "HTTP 304"),
    Case("models", json(401, {"error": {"message": "expired"}}), "rejected", KimiAuthError, "refuses the access token"),
    Case("models", json(402, {"error": {"message": "no membership"}}), "forbidden", KimiAuthError, "no membership"),
    Case("models", html(403), "forbidden", KimiAuthError, "HTTP 403"),
    Case("models", httpx.InvalidURL("bad"), "unavailable", ConfigError, "nothing was sent"),
    Case("models", httpx.ConnectError("no route"), "unavailable", Unreachable, "no route"),
    Case("models", html(429, **{"Retry-After": "5"}), "unavailable", Unreachable, "HTTP 429", 5.0),
    Case("models", json(200, {"data": {}}), "unavailable", Unreachable, "gives no list of models"),
    Case("models", html(200), "unavailable", Unreachable, "HTTP 200"),
]


@pytest.fixture
def run(world: Any, broken: Any) -> Callable[[Case], answers.Answer[Any, Any]]:
    def run(case: Case) -> answers.Answer[Any, Any]:
        reply = case.reply
        if callable(reply):
            reply = reply(broken)
        return world(reply).ask(case.request)  # type: ignore[no-any-return]

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.request}-{case.outcome}")
def test_case(case: Case, run: Callable[[Case], answers.Answer[Any, Any]]) -> None:
    """An answer becomes the declared outcome, with the right kind of error, message and pause."""
    answer = run(case)
    assert answer.outcome == case.outcome
    assert type(answer.error) is (case.raises or type(None))
    assert case.says in str(answer.error or "")
    assert answer.retry_after_s == case.retry_after_s
    good = case.outcome in {"code", "granted", "tokens", "models"}
    assert (answer.value is not None) == good
    assert "s3cret" not in f"{answer}{answer.error}{answer.message}".replace("device-s3cret", "")
    assert not good or "new-access" not in repr(answer)


@pytest.mark.parametrize("case", [case for case in CASES if case.request == "exchange" and case.raises is Unreachable])
def test_only_what_was_not_sent_promises_a_login(case: Case, run: Callable[[Case], answers.Answer[Any, Any]]) -> None:
    """A refresh token that may be spent is in doubt, and the next step says so."""
    answer = run(case)
    assert ("still signed in" in answer.error.line) == (answer.outcome == "not_processed")
    assert ("is not known" in answer.error.line) == (answer.outcome == "in_doubt")


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The identities of the rows that decided something."""
    rows: set[int] = set()

    def recording(table: Any, facts: Facts) -> Row[Any]:
        row = decide(table, facts)
        rows.add(table.index(row) + 1000 * [*TABLES.values()].index(table))
        return row

    monkeypatch.setattr(interpret, "decide", recording)
    return rows


def test_every_row_is_reached(run: Callable[[Case], answers.Answer[Any, Any]], world: Any, visited: set[int]) -> None:
    """A row that no answer reaches is dead or untested; both are mistakes."""
    for case in CASES:
        run(case)
    world(html(404), revocation_url="").ask("revoke")
    unpinned = RawResponse("tokens.test", failure=UnpinnedError)
    interpret.exchange_answer(unpinned)
    interpret.revoke_answer(unpinned)
    everything = {
        row + 1000 * table: (name, columns(rows[row]))
        for table, (name, rows) in enumerate(TABLES.items())
        for row in range(len(rows))
    }
    assert [place for row, place in everything.items() if row not in visited] == []


@pytest.mark.parametrize("name", TABLES)
def test_outcomes_are_the_declared_ones(name: str) -> None:
    """A table can give each outcome of its request, and no other."""
    assert {row.outcome for row in TABLES[name]} == set(get_args(OUTCOMES[name]))


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_total(name: str) -> None:
    """The last row takes whatever is left, and only the last one does."""
    wants_nothing = [columns(row)[:4] == ("", "", "", "") for row in TABLES[name]]
    assert wants_nothing == [False] * (len(wants_nothing) - 1) + [True]


@pytest.mark.parametrize("name", TABLES)
def test_sentences_are_whole(name: str) -> None:
    """Each row that reports an error has a sentence that fills in, none that reports none has; every row says why."""
    for row in TABLES[name]:
        assert row.why
        assert bool(row.raises) == bool(row.says)
        assert "{" not in row.says.format(host="h", got="g", said=": s")


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_every_transport_error_is_classified(library: Any) -> None:
    """Each error class of both libraries that a request can end with is named in the exchange table, in one row."""
    leaves = {
        kind.__name__
        for kind in subclasses(library.RequestError)
        if not kind.__subclasses__() and kind.__module__.partition(".")[0] == library.__name__
    } | {"InvalidURL"}
    assert {"ConnectError", "RemoteProtocolError"} < leaves
    named = [name for row in TABLES["exchange"] for name in row.failure]
    assert leaves <= set(named)
    assert len(named) == len(set(named))


def test_failures_in_the_tables_exist() -> None:
    """A name in a table is a class of ours, or of both libraries, but for httpx2's own server-sent events."""
    named = {name for rows in TABLES.values() for row in rows for name in row.failure} - {"Exception"}
    ours = {name for name in named if hasattr(failures, name)}
    assert {name for name in named - ours if not hasattr(httpx2, name)} == set()
    assert {name for name in named - ours if not hasattr(httpx, name)} == {"SSEError"}


@pytest.mark.parametrize(
    ("failure", "status", "outcome"),
    [
        (httpx.ConnectError, 0, "not_processed"),
        (httpx.ConnectError, 200, "in_doubt"),
        (httpx.InvalidURL, 0, "not_processed"),
        (httpx.InvalidURL, 302, "in_doubt"),
        (httpx.WriteError, 0, "in_doubt"),
        (httpx.WriteTimeout, 0, "in_doubt"),
        (httpx.RemoteProtocolError, 0, "in_doubt"),
        (httpx2.ConnectError, 0, "not_processed"),
        (httpx2.SSEError, 200, "in_doubt"),
        (failures.NotSentError, 0, "not_processed"),
        (failures.DeadlineError, 0, "in_doubt"),
        (KeyError, 0, "in_doubt"),
    ],
)
def test_only_what_was_surely_not_sent_is_not_processed(failure: type[Exception], status: int, outcome: str) -> None:
    """A token counts as unspent only when no answer began and the failure proves that nothing went out."""
    assert decide(tables.EXCHANGE, Facts(status, failure=failure)).outcome == outcome


def test_nothing_transient_ends_a_login() -> None:
    """Of all statuses without an OAuth error, and of all failures, none is `refused` or `misconfigured`."""
    for status in range(600):
        for failure in (None, *map(named, tables.NEVER_SENT), *map(named, tables.MAYBE_SENT)):
            outcome = decide(tables.EXCHANGE, Facts(status, failure=failure)).outcome
            assert outcome not in {"refused", "misconfigured", "tokens"}, (status, failure)


def test_tables_can_be_shown() -> None:
    """A reviewer sees each row with what it wants, what it gives and why."""
    page = markdown(tables.EXCHANGE)
    assert page.count("\n") == len(tables.EXCHANGE) + 2
    assert "| 1 | 200 to 299 |  | token |  | tokens |  | RFC 6749 §5.1" in page
    never_sent = "ConnectError, ConnectTimeout, PoolTimeout, ProxyError, LocalProtocolError, NotSentError"
    assert f"| none |  |  | {never_sent} | not_processed |" in page
    assert "| 429 |" in page
    assert columns(Row("x", "y", error=ANY_ERROR, failure=("Exception",))) == ("", "any", "", "any", "x", "", "y")
