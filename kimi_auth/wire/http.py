"""The only module that sends. A request goes out, and every result comes back as `RawResponse`; only cancellation
passes.

Threads (`send_sync`) and event loops (`send_async`) share everything except the sending itself. Bodies are read up to
1 MiB, redirects are not followed, cookies are not kept, the environment sets proxies and certificates, and every
request has a deadline that a slow, dripping server cannot extend.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import SplitResult
from urllib.request import getproxies, proxy_bypass

import httpx

from kimi_auth._version import __version__
from kimi_auth.clock import Clock

from .coding import BODY_MAX, decoded
from .decode import json_object
from .sanitize import clean, host_of, is_loopback, is_visible, redact, retry_after_s, split_url
from .tables import UnsendableError
from .verdict import RawResponse

__all__ = ["BODY_MAX", "Ask", "proxy_for", "send_async", "send_sync"]

DEADLINE_S = 15.0
CONNECT_TIMEOUT_S = 5.0
GRACE_S = 1.0
# Each look parses the whole body: without a limit, a server that drips `}` would cost quadratic time.
LOOKS_MAX = 16

# Without Accept-Encoding httpx asks for gzip; identity needs no decoder (RFC 9110 §12.5.3).
_HEADERS = {"User-Agent": f"kimi-auth/{__version__}", "Accept": "application/json", "Accept-Encoding": "identity"}

_SETTINGS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]+)", re.ASCII | re.IGNORECASE)
_FAILURES = (UnsendableError, httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError)

_TROUBLE: tuple[tuple[type[Exception], str], ...] = (
    (httpx.ConnectTimeout, "no connection in time"),
    (httpx.PoolTimeout, "no connection in time"),
    (httpx.WriteTimeout, "the request could not be sent in time"),
    (httpx.TimeoutException, "no complete answer in time"),
    (httpx.NetworkError, "the connection broke"),
    (httpx.RemoteProtocolError, "the connection ended early or does not speak HTTP"),
    (httpx.LocalProtocolError, "the request is not valid HTTP"),
)
_MAY_SPEAK = (httpx.ProxyError, UnsendableError)
"""Failures whose own text may be shown; the text of others may quote a header or a body."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `form` is sent form-encoded (RFC 6749 appendix B); times are seconds; `secrets` never show in
    messages.

    Plain http goes to loopback only, unless `plain_http`.
    """

    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str] = field(repr=False)
    form: Mapping[str, str] | None = field(repr=False, default=None)
    deadline_s: float = DEADLINE_S
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    secrets: tuple[str, ...] = field(repr=False, default=())
    plain_http: bool = False

    @property
    def host(self) -> str:
        """The server's name for messages."""
        return host_of(self.url)

    def request(self, client: httpx.Client | httpx.AsyncClient, **extensions: object) -> httpx.Request:
        """The request to send, or UnsendableError."""
        parts = split_url(self.url)
        if parts is None:
            raise UnsendableError("its address is not a plain https URL")
        if parts.scheme == "http" and not self.plain_http and not is_loopback(parts.hostname or ""):
            raise UnsendableError("plain http would let every host on the way read the login")
        for name, value in self.headers.items():
            if not (value.isascii() and value.isprintable()):
                raise UnsendableError(f"the header {clean(name, 40)} holds characters that cannot be sent")
        headers = httpx.Headers(_HEADERS)
        headers.update(self.headers)
        timeout = httpx.Timeout(self.deadline_s, connect=self.connect_timeout_s, pool=self.connect_timeout_s)
        with _preparing(_bad_request):
            return client.build_request(
                self.method, self.url, headers=headers, data=self.form, timeout=timeout, extensions=extensions
            )


def send_sync(client_of: Callable[[], AbstractContextManager[httpx.Client]], ask: Ask, clock: Clock) -> RawResponse:
    """Sends `ask` in this thread over the client that `client_of` lends, and returns the result. Never raises.

    `ask.deadline_s` (plus GRACE_S) bounds it once the server's name is resolved; the system's resolver bounds the
    resolution. Stops reading after one complete JSON object: further bytes could not change the answer.
    """
    buffer = _ResponseBuffer(ask, clock)
    deadline = _Deadline(ask, clock)
    try:
        with _preparing(_bad_settings):
            lent = client_of()
        with lent as client:
            request = ask.request(client, trace=deadline.watch)
            # `auth=None`: a client that the caller gave may have credentials of its own, which must not replace the
            # bearer. A redirect could send the token to another host.
            with closing(client.send(request, stream=True, auth=None, follow_redirects=False)) as response:
                buffer.head(response)
                # `response.stream` is the raw body. httpx's own decoders raise for a wrong label and have no limit;
                # see `coding`.
                for chunk in cast("httpx.SyncByteStream", response.stream):
                    if not buffer.take(chunk) or buffer.is_whole(chunk):
                        break
                    deadline.left_s()
    except _FAILURES as failure:
        return buffer.seen(failure)
    return buffer.seen()


async def send_async(client_of: Callable[[], httpx.AsyncClient], ask: Ask, clock: Clock) -> RawResponse:
    """Sends `ask` in this event loop, as `send_sync` does in a thread. Raises nothing but a cancellation of the caller."""
    buffer = _ResponseBuffer(ask, clock)
    try:
        with _preparing(_bad_settings):
            client = client_of()
        request = ask.request(client)
        async with asyncio.timeout(ask.deadline_s):
            answered = await client.send(request, stream=True, auth=None, follow_redirects=False)
            async with aclosing(answered) as response:
                buffer.head(response)
                async for chunk in cast("httpx.AsyncByteStream", response.stream):
                    if not buffer.take(chunk):
                        break
    except TimeoutError:
        return buffer.seen(httpx.ReadTimeout(""))
    except _FAILURES as failure:
        return buffer.seen(failure)
    return buffer.seen()


def proxy_for(url: str) -> httpx.Proxy | None:
    """The proxy that the environment sets for `url`. None if NO_PROXY exempts it, and for plain http to loopback,
    which is allowed only because it stays on this machine.

    Raises UnsendableError with the name of the variable, never its value: that may hold a password.
    """
    parts = split_url(url)
    proxies = getproxies()
    scheme = next((it for it in (parts.scheme, "all") if proxies.get(it)), "") if parts else ""
    if parts is None or not scheme or _is_exempt(parts, proxies.get("no", "")):
        return None
    if parts.scheme == "http" and is_loopback(parts.hostname or ""):
        return None
    address = proxies[scheme]
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
        if proxy.url.host:
            return proxy
    except (ValueError, httpx.InvalidURL):
        pass
    names = " or ".join(sorted(it for it in os.environ if it.lower() == f"{scheme}_proxy")) or "the system's settings"
    raise UnsendableError(
        f"the proxy in {names} has no address like http://host:port; in its password, write / as %2F, # as %23, ? as %3F"
    )


def _is_exempt(parts: SplitResult, no_proxy: str) -> bool:
    """True if an entry of NO_PROXY is the host or a suffix of its name. Ignores entries that it cannot interpret."""
    anything = "*" in no_proxy.replace(" ", "").split(",")
    return anything or any(proxy_bypass(name) for name in (parts.netloc, parts.hostname or ""))


@contextmanager
def _preparing(complaint: Callable[[Exception], str]) -> Iterator[None]:
    """Turns an error of a bad URL, header, proxy or certificate setting into UnsendableError: nothing has been sent
    yet."""
    try:
        yield
    except (ValueError, OSError, ImportError, httpx.InvalidURL) as problem:
        raise UnsendableError(complaint(problem)) from None


def _bad_request(problem: Exception) -> str:
    return f"the request cannot be written ({_reason(problem)})"


def _bad_settings(problem: Exception) -> str:
    """Names settings, never their values: a parser's message about a proxy's address may quote the password in it."""
    if isinstance(problem, ImportError):
        return "the proxy in the settings speaks SOCKS, which needs a package: pip install 'httpx[socks]'"
    said = f" ({_reason(problem)})" if isinstance(problem, OSError) else ""
    named = ", ".join(sorted(it for it in os.environ if it.upper() in _SETTINGS))
    return f"the proxy or certificate settings cannot be used{said}" + (f"; look at {named}" if named else "")


class _ResponseBuffer:
    """The part of an answer that has arrived so far. It stays if the connection breaks later."""

    def __init__(self, ask: Ask, clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._status = 0
        self._headers = httpx.Headers()
        self._raw = bytearray()
        self._looks = 0

    def head(self, response: httpx.Response) -> None:
        self._status, self._headers = response.status_code, response.headers

    def take(self, chunk: bytes) -> bool:
        """Stores `chunk`; False when the buffer is full."""
        self._raw += chunk[: BODY_MAX - len(self._raw)]
        return len(self._raw) < BODY_MAX

    def is_whole(self, chunk: bytes) -> bool:
        """True if a JSON object has arrived with the end of `chunk`. Parses LOOKS_MAX times at most."""
        if self._looks == LOOKS_MAX or not chunk.rstrip().endswith(b"}"):
            return False
        self._looks += 1
        return json_object(bytes(self._raw)) is not None

    def seen(self, failure: Exception | None = None) -> RawResponse:
        etag = self._headers.get("etag", "")
        content_type, _, parameters = self._headers.get("content-type", "").partition(";")
        charset = _CHARSET.search(f";{parameters}")
        body, coding = decoded(bytes(self._raw), self._headers.get("content-encoding", ""))
        return RawResponse(
            self._ask.host,
            self._status,
            clean(redact(content_type, self._ask.secrets), 60),
            body,
            etag if is_visible(etag) and len(etag) <= 256 else "",
            self._retry_after_s(),
            type(failure) if failure else None,
            _trouble(failure) if failure else "",
            self._ask.secrets,
            charset[1] if charset else "",
            coding,
        )

    def _retry_after_s(self) -> float | None:
        """The longest wait, if the header is repeated."""
        said = (retry_after_s(line, self._clock.wall_s()) for line in self._headers.get_list("retry-after"))
        return max((wait_s for wait_s in said if wait_s is not None), default=None)


class _Deadline:
    """The deadline of a request in a thread. httpx timeouts apply to one address, one handshake, one read, so each of
    these gets the time left, for connecting or for the whole request.

    After the deadline there is GRACE_S more, once: an answer that arrived while the process was stopped still counts.
    """

    def __init__(self, ask: Ask, clock: Clock) -> None:
        self._clock = clock
        now_s = clock.monotonic_s()
        self._connects_until_s = now_s + min(ask.connect_timeout_s, ask.deadline_s)
        self._ends_at_s = now_s + ask.deadline_s
        self._in_grace = False

    def left_s(self) -> float:
        """Seconds left; raises httpx.ReadTimeout when there are none."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._ends_at_s:
            if self._in_grace:
                raise httpx.ReadTimeout("")
            self._in_grace, self._ends_at_s = True, now_s + GRACE_S
        return self._ends_at_s - now_s

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """The `trace` extension of httpx, which reports every new connection before and after each step. Bounds its
        steps and reads from then on."""
        if event.endswith(".connect_tcp.started"):
            _bound(info, self._connects_until_s - self._clock.monotonic_s(), _addresses_of(info["host"], info["port"]))
        elif event.endswith(".start_tls.started"):
            _bound(info, self._connects_until_s - self._clock.monotonic_s())
        if not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            return
        stream = info["return_value"]
        read = stream.read

        def read_within(max_bytes: int, timeout: float | None = None) -> bytes:
            left_s = self.left_s()
            return cast("bytes", read(max_bytes, left_s if timeout is None else min(timeout, left_s)))

        stream.read = read_within


def _bound(info: Mapping[str, Any], left_s: float, parts: int = 1) -> None:
    """Changes the arguments of a step that is about to begin: it gets the time left, divided among its `parts`."""
    given_s = info["timeout"]
    wait_s = left_s if given_s is None else min(given_s, left_s)
    # Not 0: that would make the socket non-blocking instead of timing out.
    cast("dict[str, Any]", info)["timeout"] = max(wait_s, 0.001) / parts


def _addresses_of(host: str, port: int) -> int:
    """How many addresses httpx will try in turn."""
    try:
        return len(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)) or 1
    except OSError:
        return 1


def _trouble(failure: Exception) -> str:
    if isinstance(failure, httpx.ConnectError):
        return _reason(failure) or "no connection"
    if isinstance(failure, httpx.ProxyError) and (status := re.match(r"\d{3}\b", str(failure), re.ASCII)):
        return f"the proxy answers HTTP {status[0]}"  # a proxy chooses its own message, which may repeat its password
    if isinstance(failure, _MAY_SPEAK):
        return str(failure)
    return next((words for kind, words in _TROUBLE if isinstance(failure, kind)), type(failure).__name__)


def _reason(failure: BaseException) -> str:
    """The first error of the system: "Connection refused" rather than "All connection attempts failed"."""
    cause: BaseException | None = failure
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
    if isinstance(cause, OSError) and cause.strerror:
        numbered_elsewhere = isinstance(cause, ssl.SSLError | socket.gaierror)
        return cause.strerror if numbered_elsewhere or not cause.errno else os.strerror(cause.errno)
    return str(failure)
