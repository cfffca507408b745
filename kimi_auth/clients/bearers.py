"""Which bearer a request gets, and what a 401 says about it: the rules that every auth class of this room shares.

No HTTP library is used here. An auth class tells each answer as an `Answer`, and sends again what it can.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kimi_auth.errors import KimiAuthError
from kimi_auth.support.language import tr
from kimi_auth.support.logs import logger

from .origins import bearer_origin
from .source import TokenSource

__all__ = ["SPENT_BODY", "Answer", "Bearers", "Signing", "bearer_of"]

SPENT_BODY = "the request body was a stream and is consumed: send the request again, a newer token is available"

URLS_MAX = 256
"""Of URLs that refuse a token which their origin accepts elsewhere, so many are remembered."""

_NO_NEWER_TOKEN = "401, and no newer token: %s"
_log = logger("clients")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and the request that it answers: the last one, where redirects were followed. `bearer`: the token that
    this request carried, "" for none."""

    status: int
    method: str
    origin: str
    path: str
    bearer: str = field(repr=False)


def bearer_of(authorization: object) -> str:
    """The bearer that a client's request got, from its `Authorization` header; "" where it has none or another scheme."""
    text = authorization.decode("latin-1") if isinstance(authorization, bytes) else authorization
    return text.removeprefix("Bearer ") if isinstance(text, str) and text.startswith("Bearer ") else ""


class Bearers:
    """The tokens of one source, for requests to one origin.

    `origin` is a URL at that origin; without it, the source's `api_origin`. Raises ValueError where no origin is known, or
    one to which no bearer may be sent. Thread-safe, and free of event loops.
    """

    def __init__(self, source: TokenSource, origin: str | None) -> None:
        known = getattr(source, "api_origin", None) if origin is None else origin
        if known is None:
            raise ValueError("the token source knows no origin: name the only one that gets its tokens with origin=")
        self.origin: str = bearer_origin(known)
        self._source = source
        self._seen = _Seen(self.origin)

    def is_at_home(self, origin: str) -> bool:
        """Whether an auth class gives one of these bearers to a request to this origin."""
        if origin != self.origin:
            _log.debug("not signed: %s is not %s", origin, self.origin)
        return origin == self.origin

    async def token(self) -> str:
        """The bearer that a request gets; where there is no token, the static key. Raises KimiAuthError where there is neither."""
        try:
            bearer = await self._source.access_token()
        except KimiAuthError as error:
            bearer = self._static_instead(error)
        return _checked(bearer)

    def token_sync(self) -> str:
        """As `token`, blocking the calling thread: the bearer that a request gets."""
        try:
            bearer = self._source.access_token_sync()
        except KimiAuthError as error:
            bearer = self._static_instead(error)
        return _checked(bearer)

    async def newer(self, answer: Answer, bearer: str) -> str | None:
        """The other bearer to send the request again with, after this answer to `bearer`; None if there is none, or if the
        answer says nothing about `bearer`. Why there is none after a 401 is logged."""
        refuses, is_the_url = self._seen.look(answer, bearer)
        return await self.other(bearer, reports=not is_the_url) if refuses else None

    def newer_sync(self, answer: Answer, bearer: str) -> str | None:
        """As `newer`, blocking the calling thread: the other bearer for a request that got this answer."""
        refuses, is_the_url = self._seen.look(answer, bearer)
        return self.other_sync(bearer, reports=not is_the_url) if refuses else None

    async def other(self, bearer: str, *, reports: bool = True) -> str | None:
        """Another bearer than this one, which got a 401, or None; `reports` it to the source, which may have it renewed."""
        try:
            return self._other(await self._source.rejected(bearer) if reports else None, bearer)
        except KimiAuthError as error:
            _log.warning(_NO_NEWER_TOKEN, error.line)
            return None

    def other_sync(self, bearer: str, *, reports: bool = True) -> str | None:
        """`other` for an auth class that blocks its thread: another bearer than this one, which got a 401."""
        try:
            return self._other(self._source.rejected_sync(bearer) if reports else None, bearer)
        except KimiAuthError as error:
            _log.warning(_NO_NEWER_TOKEN, error.line)
            return None

    def note(self, answer: Answer) -> None:
        """Notes the answer to a request that was sent again; it is the caller's, whatever it says."""
        self._seen.note(answer)

    def spent(self) -> None:
        """Logs that a request whose bearer was refused cannot be sent again."""
        _log.warning("401 from %s: %s", self.origin, SPENT_BODY)

    def _other(self, newer: str | None, bearer: str) -> str | None:
        other = newer or self._static_key()
        return _checked(other) if other and other != bearer else None

    def _static_instead(self, error: KimiAuthError) -> str:
        """The static key, where there is no token; raises `error`, which says why there is none, if there is no key either."""
        if not (key := self._static_key()):
            raise error
        _log.info("the static key is used: %s", error.line)
        return key

    def _static_key(self) -> str:
        asked = getattr(self._source, "__static_key__", None)
        key: str = asked() if asked is not None else ""
        return key


class Signing:
    """What every auth class for a client begins with: the tokens of `source`, for requests to `origin` (see `Bearers`)."""

    def __init__(self, source: TokenSource, *, origin: str | None = None) -> None:
        """Raises ValueError where no origin is known, or one to which no bearer may be sent."""
        self._bearers = Bearers(source, origin)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(origin={self._bearers.origin!r})"


class _Seen:
    """Which URLs of the `origin` refuse a token that it accepts elsewhere.

    `_accepted`: the last bearer that was answered with 2xx, since when no 401 was reported. `_refusing`: URLs (method, path)
    that answered 401 and not 2xx since; the oldest of too many is forgotten, and is then reported once more.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._accepted = ""
        self._refusing: dict[tuple[str, str], None] = {}

    def look(self, answer: Answer, bearer: str) -> tuple[bool, bool]:
        """Notes what the answer says of the bearer. Whether it is the token's own origin saying 401 to this very token,
        for redirects may have led elsewhere; and whether that is about the URL and not about the token."""
        if not (answer.status == 401 and answer.origin == self._origin and answer.bearer == bearer):
            self.note(answer)
            return False, False
        url = answer.method, answer.path
        if url in self._refusing and self._accepted == bearer:
            _log.info("401 from %s again, which accepts this token at other URLs: not reported", self._origin)
            return True, True
        self._accepted = ""
        self._refuse(url)
        return True, False

    def note(self, answer: Answer) -> None:
        """Notes what an answer says about the bearer that its request got."""
        if answer.origin != self._origin:
            return
        url = answer.method, answer.path
        if 200 <= answer.status < 300:
            self._accepted = answer.bearer
            self._refusing.pop(url, None)
        elif answer.status == 401:
            self._refuse(url)

    def _refuse(self, url: tuple[str, str]) -> None:
        self._refusing[url] = None
        if len(self._refusing) > URLS_MAX:
            self._refusing.pop(next(iter(self._refusing), url), None)


def _checked(bearer: object) -> str:
    """Raises KimiAuthError for a bearer that cannot be sent, which would be quoted in the error of an HTTP library."""
    if isinstance(bearer, str) and bearer and bearer.isascii() and bearer.isprintable() and " " not in bearer:
        return bearer
    raise KimiAuthError(tr("the token source returned a value that is not valid in a header (RFC 6750 §2.1)"))
