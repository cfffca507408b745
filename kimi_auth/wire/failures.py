"""Why a request has no complete answer: the failures of our own, and a message for each that repeats no secret."""

from __future__ import annotations

import os
import re
import socket
import ssl

from kimi_auth.support.language import said_by, tr

__all__ = [
    "SENTENCES",
    "DeadlineError",
    "NoEndpointError",
    "NotSentError",
    "UnpinnedError",
    "UnsendableError",
    "UntrustedError",
    "error_of_the_system",
    "is_any_of",
    "message_of",
    "reason_of",
]


class UnsendableError(Exception):
    """The request was not attempted: its URL, a header, or the proxy or certificate settings cannot be used. `hint` is
    the next step, "" for the usual one."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UntrustedError(UnsendableError):
    """The certificate that was presented is not trusted, so nothing was sent. Neither transient nor an answer."""


class UnpinnedError(Exception):
    """The endpoint's origin is not the issuer's and was not known when the person signed in: nothing was sent."""


class NotSentError(Exception):
    """Nothing of the request reached the server, and waiting may help. Its text may be shown."""


class DeadlineError(Exception):
    """The deadline of the request passed; the server may have received it."""


class NoEndpointError(Exception):
    """The server names no endpoint for this request, and the client never guesses one."""


_MESSAGES = (
    ("ConnectTimeout", tr("no connection in time")),
    ("PoolTimeout", tr("no connection in time")),
    ("WriteTimeout", tr("the request could not be sent in time")),
    ("TimeoutException", tr("no complete answer in time")),
    ("DeadlineError", tr("no complete answer in time")),
    ("NetworkError", tr("the connection broke")),
    ("RemoteProtocolError", tr("the connection ended early or does not speak HTTP")),
    ("LocalProtocolError", tr("the request is not valid HTTP")),
)
_OF_THE_SYSTEM: dict[str, str] = {
    said: said
    for said in (
        tr("Connection refused"),
        tr("Connection reset by peer"),
        tr("Connection timed out"),
        tr("Network is unreachable"),
        tr("No route to host"),
        tr("Name or service not known"),
        tr("No address associated with hostname"),
        tr("Temporary failure in name resolution"),
    )
}
"""The system's own messages for the commonest failures, as sentences."""

_BY_PROXY = tr("the proxy answers HTTP {status}")

SENTENCES = tuple(dict.fromkeys((*(said for _, said in _MESSAGES), *_OF_THE_SYSTEM, _BY_PROXY, tr("no connection"))))
"""The texts of ours that `message_of` gives."""

_WITH_TEXT_OF_THEIR_OWN = ("ProxyError", "NotSentError", "UnsendableError")
"""Failures whose own text may be shown; the text of others may quote a header or a body."""


def is_any_of(failure: type[BaseException], *names: str) -> bool:
    """Whether a request's failure is of a class of one of these names, or of one below it.

    httpx and httpx2 have the same names for classes that are not the same, and neither is loaded to classify a failure.
    """
    return not {kind.__name__ for kind in failure.__mro__}.isdisjoint(names)


def message_of(failure: Exception) -> str:
    """A short text for the failure. The text of most exceptions is not shown: it may quote a header or a body."""
    kind = type(failure)
    if is_any_of(kind, "ConnectError"):
        return reason_of(failure) or tr("no connection")
    if is_any_of(kind, "ProxyError") and (status := re.match(r"\d{3}\b", str(failure), re.ASCII)):
        # The proxy chooses the rest, which may repeat its password.
        return _BY_PROXY.format(status=status[0])
    if is_any_of(kind, *_WITH_TEXT_OF_THEIR_OWN):
        return said_by(failure)
    return next((message for name, message in _MESSAGES if is_any_of(kind, name)), kind.__name__)


def error_of_the_system(failure: BaseException) -> OSError | None:
    """The first error of the system in a failure, and none beyond it: what a caller handles meanwhile is its context, too."""
    cause: BaseException | None = failure
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause


def reason_of(failure: BaseException) -> str:
    """The first error of the system in a failure: "Connection refused" rather than "All connection attempts failed"."""
    cause: BaseException | None = error_of_the_system(failure)
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
    if isinstance(cause, OSError) and cause.strerror:
        numbered_elsewhere = isinstance(cause, ssl.SSLError | socket.gaierror)
        said = cause.strerror if numbered_elsewhere or not cause.errno else os.strerror(cause.errno)
        return _OF_THE_SYSTEM.get(said, said)
    return str(failure)
