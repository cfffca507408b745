"""An OAuth server inside this process: no HTTP, no randomness, no clock of its own. For our tests and for yours.

Its answers pass through the same tables as answers from the network, so a test sees the same outcomes, errors and
sentences as a user.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from kimi_auth.clock import Clock
from kimi_auth.wire.answers import Answer, CodeOutcome, DeviceCode, ExchangeOutcome, Grant, PollOutcome, RevokeOutcome
from kimi_auth.wire.contract import TokenHint
from kimi_auth.wire.interpret import code_answer, exchange_answer, poll_answer, revoke_answer
from kimi_auth.wire.response import RawResponse

__all__ = ["Request", "Reuse", "SimulatedServer"]

Request = Literal["request_code", "poll", "exchange", "revoke"]

Reuse = Literal["strict", "lenient", "grace", "none"]
"""The effect of a spent refresh token that comes again.

`strict`: the server revokes the whole login (RFC 9700 §4.14.2). `lenient`: it refuses the token, and the login lives.
`grace`: the token gets another pair for a while, then as `strict`. `none`: refresh tokens do not rotate, so none is
ever spent.
"""

Result = TypeVar("Result", bound=Answer[Any, Any])

_BAD_GRANT = "invalid_grant"


@dataclass(slots=True)
class _Code:
    user_code: str
    expires_at_s: float
    interval_s: float
    interpret: Literal["pending", "approved", "denied", "used"] = "pending"
    polled_at_s: float = float("-inf")
    login: int = 0


@dataclass(slots=True)
class _Refresh:
    login: int
    spent_at_s: float | None = None


@dataclass(slots=True)
class _State:
    codes: dict[str, _Code] = field(default_factory=dict)
    refresh: dict[str, _Refresh] = field(default_factory=dict)
    access: dict[str, tuple[int, float]] = field(default_factory=dict)
    ended_logins: set[int] = field(default_factory=set)
    logins: int = 0


class SimulatedServer:
    """An `OAuthServer` that rotates refresh tokens, treats reuse by `reuse`, and fails when told to.

    Codes and access tokens age by `clock.wall_s()`; times are seconds. Tokens count up (`access-1`, `refresh-1`), so
    each run of a test sees the same ones. Any thread may call it.

    `counts`: requests that arrived, by name. `reused`: spent refresh tokens that came again. A test may change
    `interval_s` at any time.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        reuse: Reuse = "strict",
        expires_in_s: float = 900.0,
        code_life_s: float = 1800.0,
        interval_s: float = 5.0,
        grace_s: float = 30.0,
    ) -> None:
        self.reuse = reuse
        self.expires_in_s = expires_in_s
        self.code_life_s = code_life_s
        self.interval_s = interval_s
        self.grace_s = grace_s
        self.counts: Counter[Request] = Counter()
        self.reused: list[str] = []
        self._clock = clock
        self._state = _State()
        self._faults: dict[Request, deque[tuple[Answer[Any, Any], bool]]] = {}
        self._guard = threading.RLock()

    # --- controls for tests -------------------------------------------------------------------------------------------

    def approve(self, user_code: str = "") -> None:
        """The person approves the login of `user_code`, or the newest, on the page. Raises KeyError if there is
        none."""
        with self._guard:
            self._code(user_code).interpret = "approved"

    def deny(self, user_code: str = "") -> None:
        """The person refuses."""
        with self._guard:
            self._code(user_code).interpret = "denied"

    def expire(self, user_code: str = "") -> None:
        """The code expires now."""
        with self._guard:
            self._code(user_code).expires_at_s = self._clock.wall_s()

    def fault(self, request: Request, answer: Answer[Any, Any], *, processed: bool = False) -> None:
        """The next `request` gets this answer; several queue up. With `processed` the server does its work, and only
        its true answer is lost on the way: the client gets no successor for a refresh token that is spent."""
        with self._guard:
            self._faults.setdefault(request, deque()).append((answer, processed))

    def issue(self) -> Grant:
        """Starts a new login without the device flow and returns its first pair."""
        with self._guard:
            return self._new_login()

    def end_logins(self) -> None:
        """Every login so far ends, as if the person had signed out everywhere."""
        with self._guard:
            self._state.ended_logins.update(range(1, self._state.logins + 1))

    def is_live(self, access_token: str) -> bool:
        """True if the API would accept this bearer now; False means 401."""
        with self._guard:
            login, ends_at_s = self._state.access.get(access_token, (0, 0.0))
            return login not in self._state.ended_logins and self._clock.wall_s() < ends_at_s

    # --- requests of a client -----------------------------------------------------------------------------------------

    async def request_code(self) -> Answer[CodeOutcome, DeviceCode]:
        return self._serve("request_code", lambda: code_answer(self._new_code()))

    async def poll(self, device_code: str) -> Answer[PollOutcome, Grant]:
        return self._serve("poll", lambda: poll_answer(self._polled(device_code)))

    def exchange(self, refresh_token: str, *, connect_timeout_s: float = 5.0) -> Answer[ExchangeOutcome, Grant]:
        del connect_timeout_s
        return self._serve("exchange", lambda: exchange_answer(self._exchanged(refresh_token)))

    def revoke(self, token: str, hint: TokenHint, *, deadline_s: float = 5.0) -> Answer[RevokeOutcome, None]:
        del hint, deadline_s
        return self._serve("revoke", lambda: revoke_answer(self._revoked(token)))

    async def aclose(self) -> None:
        """Does nothing: no connection is open."""

    def _serve(self, request: Request, work: Callable[[], Result]) -> Result:
        with self._guard:
            self.counts[request] += 1
            faults = self._faults.get(request)
            if not faults:
                return work()
            answer, processed = faults.popleft()
            if processed:
                work()
            return cast("Result", answer)

    # --- the server's work --------------------------------------------------------------------------------------------

    def _new_code(self) -> RawResponse:
        number = len(self._state.codes) + 1
        user_code = f"CODE-{number:04}"
        self._state.codes[f"device-{number}"] = _Code(
            user_code, self._clock.wall_s() + self.code_life_s, self.interval_s
        )
        uri = "https://simulated.example/device"
        return _ok(
            device_code=f"device-{number}",
            user_code=user_code,
            verification_uri=uri,
            verification_uri_complete=f"{uri}?user_code={user_code}",
            expires_in=self.code_life_s,
            interval=self.interval_s,
        )

    def _polled(self, device_code: str) -> RawResponse:
        code, now_s = self._state.codes.get(device_code), self._clock.wall_s()
        if code is None:
            return _error(_BAD_GRANT, "unknown device code")
        if code.interpret == "used":
            # A poll after the 200 revokes the tokens that it gave, as certified servers do.
            self._state.ended_logins.add(code.login)
            return _error(_BAD_GRANT, "the device code was used before")
        if now_s >= code.expires_at_s:
            return _error("expired_token")
        early = now_s - code.polled_at_s < code.interval_s
        code.polled_at_s = now_s
        if early:
            code.interval_s += 5.0
            return _error("slow_down")
        if code.interpret == "pending":
            return _error("authorization_pending")
        if code.interpret == "denied":
            return _error("access_denied")
        given = self._new_login()
        code.interpret, code.login = "used", self._state.logins
        return _pair(given)

    def _exchanged(self, refresh_token: str) -> RawResponse:
        known = self._state.refresh.get(refresh_token)
        if known is None or known.login in self._state.ended_logins:
            return _error(_BAD_GRANT, "unknown or revoked refresh token")
        now_s = self._clock.wall_s()
        if known.spent_at_s is not None:
            self.reused.append(refresh_token)
            if self.reuse != "grace" or now_s - known.spent_at_s > self.grace_s:
                if self.reuse != "lenient":
                    self._state.ended_logins.add(known.login)
                return _error(_BAD_GRANT, "the refresh token was used before")
        if self.reuse == "none":
            return _pair(self._give(known.login, rotate=False))
        known.spent_at_s = now_s if known.spent_at_s is None else known.spent_at_s
        return _pair(self._give(known.login))

    def _revoked(self, token: str) -> RawResponse:
        if (known := self._state.refresh.get(token)) is not None:
            self._state.ended_logins.add(known.login)
        self._state.access.pop(token, None)
        return _ok()

    def _code(self, user_code: str) -> _Code:
        codes = list(self._state.codes.values())
        found = [code for code in codes if code.user_code == user_code] if user_code else codes[-1:]
        if not found:
            raise KeyError(user_code or "no code was requested yet")
        return found[0]

    def _new_login(self) -> Grant:
        self._state.logins += 1
        return self._give(self._state.logins)

    def _give(self, login: int, *, rotate: bool = True) -> Grant:
        access = f"access-{len(self._state.access) + 1}"
        self._state.access[access] = (login, self._clock.wall_s() + self.expires_in_s)
        refresh = f"refresh-{len(self._state.refresh) + 1}" if rotate else ""
        if rotate:
            self._state.refresh[refresh] = _Refresh(login)
        return Grant(access, refresh, self.expires_in_s)


def _pair(grant: Grant) -> RawResponse:
    rotated = {"refresh_token": grant.refresh_token} if grant.refresh_token else {}
    return _ok(access_token=grant.access_token, token_type=grant.token_type, expires_in=grant.expires_in_s, **rotated)


def _ok(**body: str | float) -> RawResponse:
    return _seen(200, body)


def _error(code: str, description: str = "") -> RawResponse:
    return _seen(400, {"error": code, "error_description": description} if description else {"error": code})


def _seen(status: int, body: dict[str, Any]) -> RawResponse:
    return RawResponse("simulated.example", status, "application/json", json.dumps(body).encode())
