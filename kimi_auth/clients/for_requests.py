"""A token in every request of `requests`.

session.get(url, auth=RequestsAuth(login))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from .bearers import Answer, Bearers, Signing, bearer_of
from .origins import origin_of_text

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

__all__ = ["RequestsAuth"]


class RequestsAuth(Signing):
    """What requests takes as `auth`; the promises are those of `BearerAuth`.

    Sent again after a 401: bodies in memory, and files that can seek. A generator is spent: the 401 is returned, and a log
    record says so. The calling thread waits for the source. One instance serves any number of sessions and threads.
    """

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Signs a request that is about to be sent. Raises KimiAuthError where there is neither a token nor a static key."""
        if self._bearers.is_at_home(origin_of_text(request.url or "")):
            bearer = self._bearers.token_sync()
            request.headers["Authorization"] = f"Bearer {bearer}"
            request.register_hook("response", _Conversation(self._bearers, bearer, request.body))
        return request


class _Conversation:
    """The answers to one request, redirects included; at most one is asked for again."""

    def __init__(self, bearers: Bearers, bearer: str, body: Any) -> None:
        self._bearers, self._bearer = bearers, bearer
        self._body = body
        self._starts_at = _position(body)
        self._was_sent_again = False

    def __call__(self, response: Response, **sending: Any) -> Response:
        self._keep_at_home(response)
        if self._was_sent_again:
            return response
        newer = self._bearers.newer_sync(_answer(response), self._bearer)
        if newer is None:
            return response
        if not self._rewind(response.request.body):
            self._bearers.spent()
            return response
        self._was_sent_again = True
        _ = response.content  # read to its end, the connection is free for the second request
        response.close()
        again = response.request.copy()
        again.headers["Authorization"] = f"Bearer {newer}"
        answered: Response = response.connection.send(again, **sending)
        answered.history.append(response)
        answered.request = again
        self._bearers.note(_answer(answered))
        self._keep_at_home(answered)
        return answered

    def _keep_at_home(self, response: Response) -> None:
        """requests copies the headers of this request for the next one, and keeps Authorization on the way from http to
        https of one host, which is another origin."""
        there = urljoin(response.url, response.headers.get("Location", ""))
        if response.is_redirect and origin_of_text(there) != self._bearers.origin:
            response.request.headers.pop("Authorization", None)

    def _rewind(self, body: Any) -> bool:
        """Whether `requests` can send the body of the refused request twice; a redirect may have left it out."""
        if body is None or isinstance(body, (bytes, str)):
            return True
        if body is not self._body or self._starts_at is None or getattr(body, "closed", False):
            return False
        body.seek(self._starts_at)
        return True


def _position(body: Any) -> int | None:
    """Where a file will be read from; None for a body that cannot seek."""
    seekable = getattr(body, "seekable", None)
    if seekable is None or not seekable():
        return None
    position: int = body.tell()
    return position


def _answer(response: Response) -> Answer:
    sent = response.request
    url = sent.url or ""
    return Answer(
        response.status_code,
        sent.method or "",
        origin_of_text(url),
        urlsplit(url).path,
        bearer_of(sent.headers.get("Authorization")),
    )
