"""One HTTP request as data, and the checks before it may leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from kimi_auth._version import __version__
from kimi_auth.support.http_libraries import classes
from kimi_auth.support.language import tr
from kimi_auth.support.text import repr_without
from kimi_auth.support.urls import host_of, parsed

from .failures import UnsendableError, reason_of
from .sanitize import clean

if TYPE_CHECKING:
    from kimi_auth.support import http_libraries

__all__ = ["CONNECT_TIMEOUT_S", "DEADLINE_S", "Request"]

DEADLINE_S = 15.0
CONNECT_TIMEOUT_S = 5.0

# Without Accept-Encoding the client asks for gzip; identity needs no decoder (RFC 9110 §12.5.3).
_HEADERS = {"User-Agent": f"kimi-auth/{__version__}", "Accept": "application/json", "Accept-Encoding": "identity"}


class Request(NamedTuple):
    """`form` is sent form-encoded (RFC 6749 appendix B); times are seconds; `secrets` never show in messages.

    Plain http goes to loopback only, unless `plain_http`.
    """

    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str]
    form: Mapping[str, str] | None = None
    deadline_s: float = DEADLINE_S
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    secrets: tuple[str, ...] = ()
    plain_http: bool = False

    def __repr__(self) -> str:
        return repr_without(self, "headers", "form", "secrets")

    @property
    def host(self) -> str:
        """The server's name for messages."""
        return host_of(self.url)

    def built(self, client: http_libraries.Client | http_libraries.AsyncClient, **extensions: object) -> Any:
        """This request, checked, as one of the HTTP library's `client`. Raises UnsendableError."""
        url = parsed(self.url)
        if url is None:
            raise UnsendableError(tr("its address is not a plain https URL"))
        if not (url.is_private or self.plain_http):
            raise UnsendableError(tr("plain http would let every host on the way read the login"))
        for name, value in self.headers.items():
            if not (value.isascii() and value.isprintable()):
                raise UnsendableError(
                    tr("the header {name} holds characters that cannot be sent", name=clean(name, 40))
                )
        said = {name.lower() for name in self.headers}
        headers = {name: value for name, value in _HEADERS.items() if name.lower() not in said} | dict(self.headers)
        timeout = self.connect_timeout_s, self.deadline_s, self.deadline_s, self.connect_timeout_s
        unwritable: tuple[type[Exception], ...] = (ValueError, *classes("InvalidURL"))
        try:
            return client.build_request(
                self.method, self.url, headers=headers, data=self.form, timeout=timeout, extensions=extensions
            )
        except unwritable as problem:
            raise UnsendableError(tr("the request cannot be written ({problem})", problem=reason_of(problem))) from None
