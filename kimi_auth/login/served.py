"""A client's login at `kimi-auth serve`: its store holds what the server handed out, and the server is asked for more.

The machines of a login run as ever: a renewal is an exchange with the server, which renews the login at most once however many
ask. The fingerprint of the access token stands for the refresh token; it is worth nothing elsewhere.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import NoReturn

from kimi_auth.clock import Clock
from kimi_auth.errors import KimiAuthError, Revoked, StorageError, StoreUnwritable, Unreachable
from kimi_auth.store import Binding, MemoryStore, Snapshot, Stamp
from kimi_auth.store.served import MARK, Address, ask, token_in
from kimi_auth.support.language import tr
from kimi_auth.support.text import clean
from kimi_auth.token import Token, fingerprint, key_fingerprint
from kimi_auth.wire import Answer, Grant
from kimi_auth.wire.answers import CodeOutcome, DeviceCode, ExchangeOutcome, PollOutcome, RevokeOutcome
from kimi_auth.wire.contract import TokenHint

__all__ = ["ServedServer", "ServedStore"]

LOOK_EVERY_S = 1.0
"""So often the server is asked whether its token is another one, in seconds."""

LOOK_TIMEOUT_S = 5.0
RETRY_S = 2.0


class _Refused(Exception):
    """The server gave no token: the HTTP status, and an error for people."""

    def __init__(self, status: int, error: KimiAuthError) -> None:
        super().__init__(str(status))
        self.status = status
        self.error = error


class ServedServer:
    """The OAuth server of such a login: `kimi-auth serve`. It signs nothing in or out."""

    def __init__(self, address: Address, issuer: str, clock: Clock) -> None:
        self._address = address
        self._issuer = issuer
        self._clock = clock

    @property
    def location(self) -> str:
        """Where the server is, for people."""
        return tr("kimi-auth serve at {path}", path=self._address.path)

    def current(self, timeout_s: float = LOOK_TIMEOUT_S) -> Token:
        """The current token of the client's login, asked of `kimi-auth serve`. Raises _Refused."""
        return self._asked("/v1/token", None, timeout_s)

    def exchange(self, refresh_token: str, *, connect_timeout_s: float = 5.0) -> Answer[ExchangeOutcome, Grant]:
        """Asks `kimi-auth serve` for another token than `refresh_token` names. `not_processed`: there is no other one now."""
        has_fp = refresh_token.removeprefix(MARK)
        try:
            token = self._asked("/v1/rejected", json.dumps({"fp": has_fp}), 40.0)
        except _Refused as refused:
            outcome: ExchangeOutcome = "revoked" if refused.status == 401 else "not_processed"
            return Answer(outcome, None, refused.error, RETRY_S, refused.error.message, refused.status)
        if key_fingerprint(token.access_token) == has_fp:
            error = Unreachable(tr("{location} has no other token now", location=self.location))
            return Answer("not_processed", None, error, RETRY_S, error.message, 200)
        left_s = token.expires_at_s - self._clock.wall_s()
        return Answer("tokens", Grant(token.access_token, token.refresh_token, left_s, token.scope), status=200)

    async def request_code(self) -> Answer[CodeOutcome, DeviceCode]:
        """There is no sign-in here."""
        return Answer("refused", error=_not_here(self.location))

    async def poll(self, device_code: str) -> Answer[PollOutcome, Grant]:
        """As `request_code`."""
        return Answer("refused", error=_not_here(self.location))

    def revoke(self, token: str, hint: TokenHint, *, deadline_s: float = 5.0) -> Answer[RevokeOutcome, None]:
        """What the server handed out is the host's to revoke."""
        return Answer("unsupported")

    async def aclose(self) -> None:
        """A client's login has nothing to close: nothing stays open between requests to `kimi-auth serve`."""

    def _asked(self, target: str, body: str | None, timeout_s: float) -> Token:
        try:
            status, answer = ask(self._address, target, body, timeout_s=timeout_s)
            told = json.loads(answer)
            if status == 200:
                return token_in(told, self._clock.wall_s(), self._issuer)
        except OSError as error:
            words = tr(
                "{location} cannot be reached: {reason}", location=self.location, reason=error.strerror or "timeout"
            )
            raise _Refused(0, Unreachable(words)) from None
        except (ValueError, RecursionError):
            raise _Refused(
                0, Unreachable(tr("{location} does not answer as it should", location=self.location))
            ) from None
        said = clean(str(told.get("error_description", ""))) if isinstance(told, dict) else ""
        words = tr("{location}: {reason}", location=self.location, reason=said or str(status))
        raise _Refused(status, Revoked(words) if status == 401 else Unreachable(words))


class ServedStore(MemoryStore):
    """Holds the token that the server handed out last, in this process; every read is from memory. Nothing is written: the
    login is the server's. While a token is in use, a thread asks once a second whether there is another one."""

    def __init__(self, server: ServedServer, clock: Clock) -> None:
        super().__init__(clock)
        self._server = server
        self._lock_of_looks = threading.Lock()
        self._looker: threading.Thread | None = None
        self._looked_s = float("-inf")

    @property
    def location(self) -> str:
        return self._server.location

    def is_current(self) -> bool:
        return self._clock.monotonic_s() - self._looked_s < LOOK_EVERY_S

    def look(self, patience_s: float) -> None:
        found: Token | _Refused
        try:
            found = self._server.current(max(patience_s, 0.01))
        except _Refused as refused:
            found = refused
        with self._lock_of_looks:
            self._looked_s = self._clock.monotonic_s()
            if isinstance(found, _Refused):
                self._lack(found)
            else:
                self._hold(found)

    def stamp(self) -> Stamp:
        self._look_beside()
        return super().stamp()

    def still(self, stamp: Stamp) -> bool:
        self._look_beside()
        return super().still(stamp)

    def binding(self) -> Binding | None:
        return None

    def check_writable(self) -> None:
        if not self._thread:  # a renewal, which holds the lock, writes memory only; a login asks before it takes it
            raise _not_here(self.location)

    def put(self, token: Token) -> NoReturn:
        raise _not_here(self.location)

    def sign_out(self, now_s: float) -> NoReturn:
        raise _not_here(self.location)

    def _look_beside(self) -> None:
        """Looks at the server in a thread, where the last look is a second ago: no caller, and no event loop, waits for it."""
        if self.is_current() or (self._looker is not None and self._looker.is_alive()):
            return
        looker = threading.Thread(target=self.look, args=(LOOK_TIMEOUT_S,), name="kimi-auth look", daemon=True)
        with suppress(RuntimeError):  # no thread may begin any more: the program ends
            looker.start()
            self._looker = looker

    def _hold(self, token: Token) -> None:
        held = self._found.token
        if self._found.state != "present" or held is None or held.access_token != token.access_token:
            self._installed += 1
            self._found = Snapshot("present", (self._installed,), token, fingerprint(token))

    def _lack(self, refused: _Refused) -> None:
        """The token that was seen last is kept while there is no answer; a grant that has ended takes its token along."""
        if refused.status == 401:
            self._installed += 1
            self._found = Snapshot("absent", (self._installed,))
        problem = StorageError(refused.error.message, hint=tr("see on the host: kimi-auth status"))
        self._found = self._found._replace(state="unreachable", problem=problem)


def _not_here(location: str) -> StoreUnwritable:
    return StoreUnwritable(
        tr("the login belongs to {location}", location=location), hint=tr("sign in and out on the host")
    )
