"""Whatever a server or a network does, a request ends in an Answer with a declared outcome that can be shown."""

from __future__ import annotations

import json
from typing import Any, get_args

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kimi_auth.errors import KimiAuthError
from kimi_auth.wire import answers, tables

OUTCOMES = {
    "device code": answers.CodeOutcome,
    "poll": answers.PollOutcome,
    "exchange": answers.ExchangeOutcome,
    "revoke": answers.RevokeOutcome,
    "models": answers.ModelsOutcome,
    "models by etag": answers.ModelsOutcome,
}
SECRET = "s3cret-of-the-request"

scalar = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=30)
    | st.sampled_from(
        [SECRET, f"it was {SECRET}", "invalid_grant", "slow_down", "https://a.test/", "\ud800", "\x1b[2J", 10**400]
    )
)
value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
key = st.sampled_from(
    [
        "access_token",
        "refresh_token",
        "expires_in",
        "scope",
        "token_type",
        "error",
        "error_description",
        "data",
        "device_code",
        "user_code",
        "verification_uri",
        "verification_uri_complete",
        "interval",
    ]
)
json_body = st.dictionaries(key, value, max_size=8).map(lambda data: json.dumps(data).encode())
body = json_body | st.binary(max_size=200) | st.tuples(json_body, st.integers(0, 60)).map(lambda cut: cut[0][: cut[1]])
header_value = st.binary(max_size=60) | st.sampled_from(
    [b"gzip", b"br", b"text/html", b"-1", b"1e9", b"http://[", b"//\xff@x"]
)
headers = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"content-type",
                b"content-encoding",
                b"retry-after",
                b"etag",
                b"location",
                b"set-cookie",
                b"content-length",
            ]
        ),
        header_value,
    ),
    max_size=4,
)
names = [*tables.NEVER_SENT, *tables.MAYBE_SENT, "UnsupportedProtocol", "InvalidURL"]
theirs = [getattr(httpx, name) for name in names if hasattr(httpx, name)]
failure = st.sampled_from([*theirs, OSError, ValueError])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    status=st.integers(100, 599) | st.sampled_from([200, 302, 304, 400, 401, 403, 429, 503]),
    headers=headers,
    body=body,
    breaks_with=st.none() | failure,
    started=st.booleans(),
)
@pytest.mark.parametrize("library", ["httpx"], indirect=True)
@pytest.mark.parametrize("name", OUTCOMES)
def test_always_an_answer(
    world: Any, broken: Any, name: str, status: int, headers: Any, body: bytes, breaks_with: Any, started: bool
) -> None:
    """Any status, header, body and failure: no exception, a declared outcome, one clean line, and no secret in it."""
    if breaks_with is not None and not started:
        it = world(breaks_with(SECRET))
    else:
        stream = broken(body, failure=breaks_with(SECRET) if breaks_with else None)
        it = world(lambda request: httpx.Response(status, headers=headers, stream=stream))
    answer = it.ask(name, SECRET)
    shown = answer.message + (answer.error.line if answer.error else "")
    assert shown.isprintable()
    assert SECRET not in shown or name == "device code"  # that request has no secret
    assert answer.outcome in get_args(OUTCOMES[name])
    assert answer.retry_after_s is None or 0 <= answer.retry_after_s <= 900
    assert len(answer.message) <= 200
    assert answer.error is None or isinstance(answer.error, KimiAuthError)
    assert (answer.value is not None) == (answer.outcome in {"code", "granted", "tokens", "models"})
