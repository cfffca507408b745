"""How a client of httpx or httpx2 is set up here, in threads and in event loops."""

from __future__ import annotations

from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Self

from .certificates import trusted
from .proxies import proxy_for

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

__all__ = ["Transport", "no_cookies", "safe", "settings_for"]


def settings_for(url: str, library: Any) -> dict[str, Any]:
    """The certificates and the proxy that set up a client for a request to `url`. Raises UnsendableError.

    `trust_env=False`: `proxy_for` chooses the proxy for each URL, with our exemption for loopback, and `trusted` the
    certificates.
    """
    proxy = proxy_for(url, library)
    if proxy is not None and proxy.url.scheme == "https":
        proxy.ssl_context = trusted()
    return {"verify": trusted(), "proxy": proxy, "trust_env": False}


class Transport:
    """A transport whose responses are safe for the client. Closes the one that it made, never a `given` one.

    The clients of both libraries call these four methods and ask for no base class.
    """

    def __init__(self, given: http_libraries.Transport | None, make: Callable[[], http_libraries.Transport]) -> None:
        self._inner = given or make()
        self._owns = given is None

    def handle_request(self, request: Any) -> http_libraries.Response:
        return safe(self._inner.handle_request(request))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._owns:
            self._inner.close()


def safe(response: http_libraries.Response) -> http_libraries.Response:
    """Without Location: the client builds the next request even if redirects are off, and raises for a bad URL. Without the
    reason phrase: the server chooses it, it may repeat a secret, and the client logs it at INFO."""
    response.headers.pop("Location", None)
    response.extensions.pop("reason_phrase", None)
    return response


def no_cookies() -> CookieJar:
    """A client's jar, set up to store and parse nothing: OAuth needs no cookies, and a server could attack the
    parser."""
    return CookieJar(DefaultCookiePolicy(netscape=False, rfc2965=False))
