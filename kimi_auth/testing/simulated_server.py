"""An OAuth server inside this process: no HTTP, no randomness, no clock of its own. For our tests and for yours.

It calls the emulator's endpoints without a network, and their answers pass through the same tables as answers from the
network, so a test sees the same outcomes, errors and sentences as a user.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urlencode

from kimi_auth.clock import Clock
from kimi_auth.wire.answers import Answer, CodeOutcome, DeviceCode, ExchangeOutcome, Grant, PollOutcome, RevokeOutcome
from kimi_auth.wire.contract import TokenHint
from kimi_auth.wire.interpret import code_answer, exchange_answer, poll_answer, revoke_answer
from kimi_auth.wire.response import RawResponse

from .emulator import oauth
from .emulator.authorization_server import State
from .emulator.call import FORM, Call, Endpoint
from .emulator.records import USER_CODE_ALPHABET, Reuse, Settings

__all__ = ["Request", "SimulatedServer"]

Request = Literal["request_code", "poll", "exchange", "revoke"]

Result = TypeVar("Result", bound=Answer[Any, Any])

_HOST = "simulated.example"
_FOR_EVER_S = 100 * 365 * 86_400.0


class SimulatedServer:
    """An `OAuthServer` that rotates refresh tokens, treats reuse by `reuse`, and fails when told to.

    `reuse`: `strict`, `lenient`, `none` or `grace:SECONDS`, as for the emulator. Codes and access tokens age by
    `clock.wall_s()`; times are seconds. Tokens count up (`access-1`, `refresh-1`), so each run of a test sees the same
    ones. Any thread may call it.

    `state`: the server itself; a test may change its `settings` at any time. `counts`: requests that arrived, by name.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        reuse: str = "strict",
        access_ttl_s: float = 900.0,
        code_ttl_s: float = 1800.0,
        interval_s: float = 5.0,
    ) -> None:
        settings = Settings(
            approve="page",
            access_ttl_s=access_ttl_s,
            refresh_ttl_s=_FOR_EVER_S,
            code_ttl_s=code_ttl_s,
            interval_s=interval_s,
            reuse=Reuse.parse(reuse),
        )
        self.state: State = State(settings, clock.wall_s, _counted_names())
        self.counts: Counter[Request] = Counter()
        self._faults: dict[Request, deque[tuple[Answer[Any, Any], bool]]] = {}
        self._guard = threading.RLock()

    # --- controls for tests -------------------------------------------------------------------------------------------

    def approve(self, user_code: str = "") -> None:
        """In this server the person approves the login of `user_code`, or the newest. Raises CodeProblem if there is none."""
        self.state.find_code(user_code).verdict = "approved"

    def deny(self, user_code: str = "") -> None:
        """The person refuses."""
        self.state.find_code(user_code).verdict = "denied"

    def expire(self, user_code: str = "") -> None:
        """The code expires now."""
        self.state.find_code(user_code).expires_at_s = self.state.now_s()

    def fault(self, request: Request, answer: Answer[Any, Any], *, processed: bool = False) -> None:
        """The next `request` gets this answer; several queue up. With `processed` the server does its work, and only
        its true answer is lost on the way: the client gets no successor for a refresh token that is spent."""
        with self._guard:
            self._faults.setdefault(request, deque()).append((answer, processed))

    def issue(self) -> Grant:
        """Starts a new login in this server without the device flow and returns its first pair."""
        return self.state.issue()

    def end_logins(self) -> None:
        """Ends every login so far in this server, as if the person had signed out everywhere."""
        self.state.revoke_family()

    def is_live(self, access_token: str) -> bool:
        """True if this server's API would accept the bearer now; False means 401."""
        return self.state.judge(access_token) == "ok"

    # --- requests of a client -----------------------------------------------------------------------------------------

    async def request_code(self) -> Answer[CodeOutcome, DeviceCode]:
        return self._serve("request_code", lambda: code_answer(self._post(oauth.device_authorization)))

    async def poll(self, device_code: str) -> Answer[PollOutcome, Grant]:
        form = {"grant_type": oauth.DEVICE_CODE_GRANT, "device_code": device_code}
        return self._serve("poll", lambda: poll_answer(self._post(oauth.token, **form)))

    def exchange(self, refresh_token: str, *, connect_timeout_s: float = 5.0) -> Answer[ExchangeOutcome, Grant]:
        del connect_timeout_s
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self._serve("exchange", lambda: exchange_answer(self._post(oauth.token, **form)))

    def revoke(self, token: str, hint: TokenHint, *, deadline_s: float = 5.0) -> Answer[RevokeOutcome, None]:
        del hint, deadline_s
        return self._serve("revoke", lambda: revoke_answer(self._post(oauth.revoke, token=token)))

    async def aclose(self) -> None:
        """The server inside this process has nothing to close: no connection is open."""

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

    def _post(self, endpoint: Endpoint, **form: str) -> RawResponse:
        body = urlencode({"client_id": oauth.CLIENT_ID, **form}).encode()
        answer = endpoint(self.state, Call("POST", f"https://{_HOST}", {"content-type": FORM}, body=body))
        return RawResponse(_HOST, answer.status, answer.media_type, b"".join(answer.chunks))


def _counted_names() -> Callable[[str], str]:
    """This server's tokens: `access-1`, `access-2`, ...; a user code has the letters of its number."""
    issued: Counter[str] = Counter()

    def name(kind: str) -> str:
        issued[kind] += 1
        if kind != "user_code":
            return f"{kind}-{issued[kind]}"
        base = len(USER_CODE_ALPHABET)
        return "BBBB-" + "".join(USER_CODE_ALPHABET[issued[kind] // base**digit % base] for digit in (3, 2, 1, 0))

    return name
