"""The six tables: the meaning of each request's answers. Every result is decided here and nowhere else.

Two rules hold in all of them. A part of the answer that arrived completely counts, even if the connection broke
afterwards: so rows with a status or a body come before rows with a failure. And only an OAuth error ends a login: no
answer of a proxy, a load balancer or a bad network does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

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
from kimi_auth.support.language import tr

from .answers import AccountOutcome, CodeOutcome, ExchangeOutcome, ModelsOutcome, PollOutcome, RevokeOutcome
from .rules import ANY_ERROR, Row, Table

__all__ = [
    "ACCOUNT",
    "CODE",
    "EXCHANGE",
    "MODELS",
    "POLL",
    "REVOKE",
    "TABLES",
]


# Status 0: no answer began. Only then can the class of a failure prove that the server processed nothing.
NO_ANSWER = (range(1),)
SUCCESS = (range(200, 300),)
CLIENT_ERROR = (range(400, 500),)
# Some servers send OAuth errors with a 200, against RFC 6749 §5.2, which says 400.
OAUTH = (*SUCCESS, *CLIENT_ERROR)
TOO_MANY = (range(429, 430),)
# Client errors about the request itself. The others pass, or a proxy sends them: 403, 407, 408, 421, 425, 429, 451.
REJECTED = (
    range(400, 403),
    range(404, 407),
    range(409, 421),
    range(422, 425),
    range(426, 429),
    range(430, 451),
    range(452, 500),
)
SERVER_ERROR = (range(500, 600),)

# RFC 6749 §5.2. Servers also answer it for a device code that was used before.
GRANT_GONE = frozenset({"invalid_grant"})
NOT_NOW = frozenset({"temporarily_unavailable", "server_error"})
CLIENT_IS_WRONG = frozenset({"invalid_client", "unauthorized_client", "unsupported_grant_type"})
REQUEST_IS_WRONG = CLIENT_IS_WRONG | {"invalid_scope", "invalid_request"}

UNUSABLE = ("UnsendableError", "UnsupportedProtocol", "InvalidURL")
# Names of classes: httpx, httpx2 and `failures` have them (see `is_any_of`).
# ProxyError: the proxy refused the tunnel, so the request never reached the server. LocalProtocolError: h11 rejected
# the request before it wrote a byte.
NEVER_SENT = (
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
    "LocalProtocolError",
    "NotSentError",
)
# WriteTimeout and WriteError included: the bytes written so far may be the whole request.
MAYBE_SENT = (
    "ReadTimeout",
    "WriteTimeout",
    "ReadError",
    "WriteError",
    "CloseError",
    "RemoteProtocolError",
    "DecodingError",
    "TooManyRedirects",
    "SSEError",
    "DeadlineError",
)
ANY_FAILURE = ("Exception",)

START_AGAIN = tr("start again: kimi-auth login")
TRY_LOGIN_AGAIN = tr("check the network and try again: kimi-auth login")
PROXY_OR_ENDED = tr("a proxy, or the login has ended; look closer: kimi-auth doctor")

CANNOT_BE_REACHED = tr("{host} cannot be reached{said}")
RETURNED_AN_ERROR = tr("{host} returned a server error ({got}){said}")
TOO_FAST = tr("{host} is rate-limiting this client ({got}){said}")
CANNOT_BE_ASKED = tr("nothing was sent to {host}{said}")
CLIENT_REFUSED = tr("{host} refuses this program{said}")
ANSWERS_SOMETHING_ELSE = tr("{host} sent an answer that is not OAuth ({got}){said}")
REQUEST_REJECTED = tr("{host} rejects the request ({got}){said}")
ANSWER_INCOMPLETE = tr("{host} did not answer completely{said}")
APPROVAL_UNREADABLE = tr("the approval was used but its answer could not be read ({got}){said}")
ANSWER_UNREADABLE = tr("{host} sent an answer without a readable token ({got}){said}")
NOT_SENT_HINT = tr("check the network and try again; you are still signed in")
IN_DOUBT_HINT = tr("whether the login was renewed is not known; the next try finds out: kimi-auth token")
NOT_REVOKED_HINT = tr("the tokens end by themselves")
NOT_PINNED = tr("{host} did not handle tokens for this login's issuer when you signed in, so nothing is sent there")
PIN_IT = tr("if that is right, sign in again: kimi-auth login --force")
CHECK_HOST = tr("check its OAuth host: kimi-auth platforms list")

# Rows that the two requests of a sign-in share.
_PAUSE: Row[Literal["unreachable"]] = Row(
    "unreachable",
    "a rate limit (RFC 6585 §4)",
    TOO_MANY,
    raises=Unreachable,
    says=TOO_FAST,
    hint=TRY_LOGIN_AGAIN,
)
_SERVER_ERROR = _PAUSE._replace(why="a server error", status=SERVER_ERROR, says=RETURNED_AN_ERROR)
_SERVER_ERROR_AS_OAUTH = _SERVER_ERROR._replace(
    why="the same, said as an OAuth error (RFC 6749 §4.1.2.1)", status=OAUTH, error=NOT_NOW
)
_NETWORK = _PAUSE._replace(
    why="the network (RFC 8628 §3.5: back off, go on)", status=(), failure=ANY_FAILURE, says=CANNOT_BE_REACHED
)
_PORTAL = _PAUSE._replace(
    why="not an OAuth answer: it came from a proxy or a portal", status=(), says=ANSWERS_SOMETHING_ELSE
)
_UNUSABLE: Row[Literal["refused"]] = Row(
    "refused",
    "nothing was sent, and waiting does not help",
    failure=UNUSABLE,
    raises=ConfigError,
    says=CANNOT_BE_ASKED,
)

CODE: Table[CodeOutcome] = (
    Row("code", "RFC 8628 §3.2", SUCCESS, shape="device_code"),
    _PAUSE,
    _SERVER_ERROR,
    _SERVER_ERROR_AS_OAUTH._replace(error=NOT_NOW | {"slow_down"}),
    Row(
        "refused",
        "the program, not the person (RFC 6749 §5.2)",
        OAUTH,
        REQUEST_IS_WRONG,
        raises=ClientRefused,
        says=CLIENT_REFUSED,
    ),
    Row(
        "refused",
        "any other OAuth error is final (RFC 8628 §3.2 with RFC 6749 §5.2)",
        OAUTH,
        ANY_ERROR,
        raises=SignInEnded,
        says=tr("{host} gives no code{said}"),
        hint=START_AGAIN,
    ),
    Row(
        "refused",
        "an address that must not be shown to a person",
        SUCCESS,
        shape="unsafe_uri",
        raises=ConfigError,
        says=tr("{host} names a verification address that is not plain https, so it is not shown"),
        hint=CHECK_HOST,
    ),
    Row(
        "refused",
        "device_code, user_code and verification_uri are REQUIRED (RFC 8628 §3.2)",
        SUCCESS,
        shape="incomplete",
        raises=ConfigError,
        says=tr("{host} answers without a device code, a user code or a verification address that can be used"),
        hint=CHECK_HOST,
    ),
    _UNUSABLE,
    _NETWORK,
    _PORTAL,
)

POLL: Table[PollOutcome] = (
    Row("granted", "RFC 8628 §3.5 with RFC 6749 §5.1", SUCCESS, shape="token"),
    Row("authorization_pending", "RFC 8628 §3.5; some say it with a 200", OAUTH, frozenset({"authorization_pending"})),
    Row("slow_down", "RFC 8628 §3.5: 5 s more between polls, for good", OAUTH, frozenset({"slow_down"})),
    Row(
        "access_denied",
        "RFC 8628 §3.5; servers may say it only once",
        OAUTH,
        frozenset({"access_denied"}),
        raises=AccessDenied,
        says=tr("the request was refused on the approval page"),
    ),
    Row(
        "expired_token",
        "RFC 8628 §3.5",
        OAUTH,
        frozenset({"expired_token"}),
        raises=CodeExpired,
        says=tr("the code expired before it was approved"),
    ),
    _PAUSE,
    _SERVER_ERROR,
    _SERVER_ERROR_AS_OAUTH,
    Row(
        "refused",
        "an earlier poll got the grant, and its answer was lost",
        OAUTH,
        GRANT_GONE,
        raises=SignInEnded,
        says=tr("the approval was used but its answer was lost{said}"),
        hint=START_AGAIN,
    ),
    Row(
        "refused",
        "the program, not the person (RFC 6749 §5.2)",
        OAUTH,
        CLIENT_IS_WRONG,
        raises=ClientRefused,
        says=CLIENT_REFUSED,
    ),
    Row(
        "refused",
        "any other OAuth error is final (RFC 8628 §3.5)",
        OAUTH,
        ANY_ERROR,
        raises=SignInEnded,
        says=tr("{host} ended the request{said}"),
        hint=START_AGAIN,
    ),
    Row(
        "refused",
        "never poll after a 200 of the server's: a second poll revokes what the first one got",
        SUCCESS,
        shape="no_token",
        raises=SignInEnded,
        says=APPROVAL_UNREADABLE,
        hint=START_AGAIN,
    ),
    Row(
        "refused",
        "the same, in a content coding that cannot be undone here",
        SUCCESS,
        shape="encoded",
        raises=SignInEnded,
        says=APPROVAL_UNREADABLE,
        hint=START_AGAIN,
    ),
    _NETWORK._replace(
        why="another network, a portal: nothing was sent, and the code may still be approved",
        failure=("UntrustedError",),
        raises=ConfigError,
        says=CANNOT_BE_ASKED,
    ),
    _UNUSABLE,
    _NETWORK,
    _PORTAL._replace(
        why="a client error that is not OAuth: it ends the login if it repeats",
        status=REJECTED,
        raises=SignInEnded,
        says=REQUEST_REJECTED,
        hint=START_AGAIN,
    ),
    _PORTAL,
)

_NOT_OAUTH: Row[Literal["unrecognized"]] = Row(
    "unrecognized",
    "not an OAuth answer, so it says nothing about the login: a redirect, a portal, a proxy's page",
    raises=Blocked,
    says=ANSWERS_SOMETHING_ELSE,
    hint=PROXY_OR_ENDED,
)

EXCHANGE: Table[ExchangeOutcome] = (
    Row("tokens", "RFC 6749 §5.1; the refresh token may be rotated (§6)", SUCCESS, shape="token"),
    Row(
        "revoked",
        "RFC 6749 §5.2, or a code that the platform lists as final",
        CLIENT_ERROR,
        GRANT_GONE,
        raises=Revoked,
        says=tr("{host} ended the login{said}"),
    ),
    Row(
        "misconfigured",
        "the program is refused, not the login (RFC 6749 §5.2)",
        CLIENT_ERROR,
        REQUEST_IS_WRONG,
        raises=ClientRefused,
        says=CLIENT_REFUSED,
    ),
    Row(
        "not_processed",
        "rate-limited before it was processed (RFC 6585 §4)",
        TOO_MANY,
        raises=Unreachable,
        says=TOO_FAST,
        hint=NOT_SENT_HINT,
    ),
    Row(
        "in_doubt",
        "it may have rotated before it failed",
        SERVER_ERROR,
        raises=Unreachable,
        says=RETURNED_AN_ERROR,
        hint=IN_DOUBT_HINT,
    ),
    Row(
        "in_doubt",
        "the same, said as an OAuth error (RFC 6749 §4.1.2.1)",
        CLIENT_ERROR,
        NOT_NOW,
        raises=Unreachable,
        says=RETURNED_AN_ERROR,
        hint=IN_DOUBT_HINT,
    ),
    Row("not_processed", "nothing was sent", NO_ANSWER, failure=UNUSABLE, raises=ConfigError, says=CANNOT_BE_ASKED),
    Row(
        "not_processed",
        "the metadata names an origin that this login is not bound to: nothing was sent",
        NO_ANSWER,
        failure=("UnpinnedError",),
        raises=ConfigError,
        says=NOT_PINNED,
        hint=PIN_IT,
    ),
    Row(
        "not_processed",
        "no connection, or none beyond the proxy: the token was not sent",
        NO_ANSWER,
        failure=NEVER_SENT,
        raises=Unreachable,
        says=CANNOT_BE_REACHED,
        hint=NOT_SENT_HINT,
    ),
    Row(
        "in_doubt",
        "the token may have been sent, and a server finishes a request whose client has gone",
        failure=MAYBE_SENT,
        raises=Unreachable,
        says=ANSWER_INCOMPLETE,
        hint=IN_DOUBT_HINT,
    ),
    Row(
        "in_doubt",
        "an unknown failure counts as the worst",
        failure=ANY_FAILURE,
        raises=Unreachable,
        says=ANSWER_INCOMPLETE,
        hint=IN_DOUBT_HINT,
    ),
    _NOT_OAUTH._replace(why="an error that should not come with a 200", status=SUCCESS, error=ANY_ERROR),
    _NOT_OAUTH._replace(why="a page for people: a proxy or a portal sent it", status=SUCCESS, shape="page"),
    Row(
        "in_doubt",
        "a 200 without a token that can be read: the one that was sent may be spent",
        SUCCESS,
        raises=Unreachable,
        says=ANSWER_UNREADABLE,
        hint=IN_DOUBT_HINT,
    ),
    _NOT_OAUTH,
)

REVOKE: Table[RevokeOutcome] = (
    Row(
        "failed",
        "a page for people, where RFC 7009 §2.2 has none: a proxy or a portal sent it",
        SUCCESS,
        shape="page",
        raises=KimiAuthError,
        says=tr("{host} did not confirm that the token is revoked ({got}){said}"),
        hint=NOT_REVOKED_HINT,
    ),
    Row("revoked", "RFC 7009 §2.2: the status says it, whatever else the body", SUCCESS),
    Row(
        "unsupported",
        "RFC 7009 §2.2.1",
        CLIENT_ERROR,
        frozenset({"unsupported_token_type"}),
        raises=KimiAuthError,
        says=tr("{host} cannot revoke this kind of token"),
        hint=NOT_REVOKED_HINT,
    ),
    Row(
        "unsupported",
        "there is nothing at this address",
        (range(404, 406),),
        raises=KimiAuthError,
        says=tr("{host} has no revocation at the address it names ({got})"),
        hint=NOT_REVOKED_HINT,
    ),
    Row(
        "unsupported",
        "neither the platform nor the server's metadata (RFC 8414 §2) names an endpoint",
        failure=("NoEndpointError",),
        raises=KimiAuthError,
        says=tr("{host} names no address for revoking tokens"),
        hint=NOT_REVOKED_HINT,
    ),
    Row("failed", "nothing was sent", failure=UNUSABLE, raises=ConfigError, says=CANNOT_BE_ASKED),
    Row(
        "failed",
        "the metadata names an origin that this login is not bound to: nothing was sent",
        failure=("UnpinnedError",),
        raises=ConfigError,
        says=NOT_PINNED,
        hint=NOT_REVOKED_HINT,
    ),
    Row(
        "failed", "the network", failure=ANY_FAILURE, raises=Unreachable, says=CANNOT_BE_REACHED, hint=NOT_REVOKED_HINT
    ),
    Row(
        "failed",
        "anything else, 503 included (RFC 7009 §2.2.1)",
        raises=KimiAuthError,
        says=tr("{host} did not revoke the token ({got}){said}"),
        hint=NOT_REVOKED_HINT,
    ),
)

_API_REFUSALS: Table[Literal["rejected", "forbidden", "unavailable"]] = (
    Row(
        "rejected",
        "this bearer is refused by the API's own origin: redirects are not followed (RFC 6750 §3.1)",
        (range(401, 402),),
        raises=KimiAuthError,
        says=tr("{host} refuses the access token ({got}){said}"),
        hint=tr("renew it: kimi-auth token --refresh"),
    ),
    Row(
        "forbidden",
        "membership or a proxy, never the login",
        (range(402, 404),),
        raises=KimiAuthError,
        says=tr("{host} refuses this account, or a proxy refuses the request ({got}){said}"),
        hint=tr("check the membership on the web page of the platform, and the proxy"),
    ),
    Row("unavailable", "nothing was sent", failure=UNUSABLE, raises=ConfigError, says=CANNOT_BE_ASKED),
    Row("unavailable", "the network", failure=ANY_FAILURE, raises=Unreachable, says=CANNOT_BE_REACHED),
)
"""The answers of an API to a bearer that give nothing, whatever was asked."""

MODELS: Table[ModelsOutcome] = (
    Row("models", "a JSON object with a list `data`", SUCCESS, shape="models"),
    Row(
        "unchanged",
        "the resource named by ETag is unchanged (RFC 9110 §15.4.5)",
        (range(304, 305),),
        shape="asked_by_etag",
    ),
    *_API_REFUSALS,
    Row(
        "unavailable",
        "anything else",
        raises=Unreachable,
        says=tr("{host} gives no list of models ({got}){said}"),
    ),
)

ACCOUNT: Table[AccountOutcome] = (
    Row("account", "a JSON object that is no error", SUCCESS, shape="account"),
    *_API_REFUSALS,
    Row(
        "unavailable",
        "anything else",
        raises=Unreachable,
        says=tr("{host} says nothing of the account ({got}){said}"),
        hint=tr("try again later"),
    ),
)

TABLES: Mapping[str, Table[Any]] = {
    "device code": CODE,
    "poll": POLL,
    "exchange": EXCHANGE,
    "revoke": REVOKE,
    "models": MODELS,
    "account": ACCOUNT,
}
"""All tables by request: for tests that visit every row and for pages that show them."""
