"""The login that this server serves: one Session, kept fresh, and how a request of a sandbox is asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
from collections import deque
from collections.abc import AsyncIterator

from kimi_auth.errors import Unreachable
from kimi_auth.session import Session, components_of, supply_of
from kimi_auth.token import Token, key_fingerprint, left_s, phase

from .contracts import Wish

__all__ = ["ServedLogin"]

WAIT_MAX_S = 55.0
"""The longest wait for a change, in seconds: below the time after which proxies end a request without an answer."""

HAD_MAX = 64
"""So many tokens are known again; at a renewal every seven minutes they are those of a night."""


class ServedLogin:
    """The tokens of one session, for any number of requests at once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._components = components_of(session)
        self._supply = supply_of(session)
        self._token: Token | None = None
        self._latest_fp = ""
        self._had: deque[str] = deque(maxlen=HAD_MAX)
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """While the block runs the login is renewed in time, and waiting requests are told of every change."""
        serve = functools.partial(self._serve, asyncio.get_running_loop())
        async with self._session.kept_fresh(serve, timeout_s=0.0):
            yield

    async def token_for(self, wish: Wish) -> Token:
        """The served login's token for a wish. Raises a KimiAuthError where there is none now.

        A client whose token is not the current one gets the current one. One that has it and asks all the same was refused by
        the API, or asks early by habit, and a request does not tell which. In the last part of its life the token is renewed,
        as ever. Before that it counts as refused, which the login's own backoff allows once a step; else it is given again.
        """
        token = await self.current(wish.min_ttl_s)
        if key_fingerprint(token.access_token) != wish.has_fp:
            return token
        now_s = self._components.age_clock.now_s()
        if phase(token, now_s) == "fresh":
            await self._session.rejected(token.access_token)
            return await self.current()
        with contextlib.suppress(Unreachable):  # it still works where no server answers
            return await self.current(left_s(token, now_s) + 1.0)
        return token

    async def current(self, min_ttl_s: float = 0.0) -> Token:
        """The served login's current token, renewed first where it has to be. Raises a KimiAuthError where there is none."""
        held, token = self._supply.held, self._token
        if (
            held is not None
            and token is not None
            and token.access_token == held.access_token
            and held.serves(self._components.clock, self._components.store)
            and (not min_ttl_s or left_s(token, self._components.age_clock.now_s()) >= min_ttl_s)
        ):
            return token
        self._token = token = await self._supply.token(min_ttl_s=min_ttl_s)
        self._note(key_fingerprint(token.access_token))
        return token

    def has_had(self, access_token: str) -> bool:
        """Whether it is the access token of the served login, or was not long ago. Touches no file."""
        return key_fingerprint(access_token) in self._had

    async def is_current(self, access_token: str) -> bool:
        """Whether it is the served login's access token now. Raises a KimiAuthError where there is none."""
        now = await self.current()
        return hmac.compare_digest(now.access_token.encode(), access_token.encode())

    async def changed(self, has_fp: str, wait_s: float) -> None:
        """Returns when the served login's token has another fingerprint than `has_fp`, or after `wait_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(wait_s, WAIT_MAX_S)):
                while self._latest_fp in {"", has_fp}:
                    await self._changed.wait()

    def left_s(self, token: Token) -> float:
        """Seconds of life that `token` of the served login has left."""
        return left_s(token, self._components.age_clock.now_s())

    def state(self) -> str:
        """The state of the served login, for readiness and metrics."""
        return self._session.status().state

    def _serve(self, loop: asyncio.AbstractEventLoop, access_token: str) -> None:
        """The session's target: it is given every new token, "" for none, in whichever thread renewed."""
        latest_fp = key_fingerprint(access_token) if access_token else ""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._tell, latest_fp)

    def _note(self, fp: str) -> None:
        if fp and fp not in self._had:
            self._had.append(fp)

    def _tell(self, latest_fp: str) -> None:
        self._note(latest_fp)
        if latest_fp != self._latest_fp:
            self._latest_fp, told, self._changed = latest_fp, self._changed, asyncio.Event()
            told.set()
