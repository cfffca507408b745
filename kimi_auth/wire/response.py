"""A response as it arrived, before a table says what it means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from kimi_auth.clock import Clock
from kimi_auth.support.text import repr_without

from .certificates import untrusted
from .coding import BODY_MAX, decoded
from .decode import json_object
from .failures import message_of
from .request import Request
from .sanitize import clean, is_visible, redact, retry_after_s

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

__all__ = ["RawResponse", "ResponseBuffer"]

# Each look parses the whole body: without a limit, a server that drips `}` would cost quadratic time.
LOOKS_MAX = 16
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]+)", re.ASCII | re.IGNORECASE)


class RawResponse(NamedTuple):
    """A response from `host`. Only its size has been checked.

    `status` is 0 when no answer began. `body`: the part that arrived. `failure`: the class of the exception that ended
    the request, `message` its text and `hint` the next step that it knows; the exception itself is not kept, because it
    holds the request. `secrets` are the strings of the request that no message may repeat. `coding`: the content coding
    of a body that could not be decoded; `body` is then empty.
    """

    host: str
    status: int = 0
    content_type: str = ""
    body: bytes = b""
    etag: str = ""
    retry_after_s: float | None = None
    failure: type[Exception] | None = None
    message: str = ""
    secrets: tuple[str, ...] = ()
    charset: str = ""
    coding: str = ""
    hint: str = ""

    def __repr__(self) -> str:
        return repr_without(self, "body", "secrets")

    @property
    def is_page(self) -> bool:
        """True for a page for people: a portal or a proxy sent it, because our endpoints never do."""
        return self.content_type.lower() in {"text/html", "application/xhtml+xml"} or self.body.lstrip()[:1] == b"<"


class ResponseBuffer:
    """The part of an answer that has arrived so far. It stays if the connection breaks later."""

    def __init__(self, request: Request, clock: Clock) -> None:
        self._request = request
        self._clock = clock
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._raw = bytearray()
        self._looks = 0

    def head(self, response: http_libraries.Response) -> None:
        self._status, self._headers = response.status_code, response.headers.multi_items()

    def take(self, chunk: bytes) -> bool:
        """Keeps a chunk as it arrived, until a table says what the response means; False when the buffer is full."""
        self._raw += chunk[: BODY_MAX - len(self._raw)]
        return len(self._raw) < BODY_MAX

    def is_whole(self, chunk: bytes) -> bool:
        """True if a JSON object has arrived with the end of `chunk`. Parses LOOKS_MAX times at most."""
        if self._looks == LOOKS_MAX or not chunk.rstrip().endswith(b"}"):
            return False
        self._looks += 1
        return json_object(bytes(self._raw)) is not None

    def response(self, failure: Exception | None = None) -> RawResponse:
        failure = (failure and untrusted(failure)) or failure
        etag = self._header("etag")
        content_type, _, parameters = self._header("content-type").partition(";")
        charset = _CHARSET.search(f";{parameters}")
        body, coding = decoded(bytes(self._raw), self._header("content-encoding"))
        return RawResponse(
            self._request.host,
            self._status,
            clean(redact(content_type, self._request.secrets), 60),
            body,
            etag if is_visible(etag) and len(etag) <= 256 else "",
            self._retry_after_s(),
            type(failure) if failure else None,
            message_of(failure) if failure else "",
            self._request.secrets,
            charset[1] if charset else "",
            coding,
            getattr(failure, "hint", ""),
        )

    def _lines(self, name: str) -> list[str]:
        return [value for known, value in self._headers if known.lower() == name]

    def _header(self, name: str) -> str:
        """A header that may be repeated counts as one list (RFC 9110 §5.3)."""
        return ", ".join(self._lines(name))

    def _retry_after_s(self) -> float | None:
        """The longest wait, if the header is repeated."""
        said = (retry_after_s(line, self._clock.wall_s()) for line in self._lines("retry-after"))
        return max((wait_s for wait_s in said if wait_s is not None), default=None)
