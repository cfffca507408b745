"""A login for the tests of a program: a session at a server in memory, and the token source that only gives one token."""

from __future__ import annotations

from pathlib import Path

from kimi_auth.clock import Clock
from kimi_auth.session import Session
from kimi_auth.store import MemoryStore
from kimi_auth.token import Token

from .simulated_server import SimulatedServer

__all__ = ["Login", "StaticTokens"]


class Login:
    """A `session` that is signed in at `server`; `clock` is their time. Times are seconds.

    `session` goes to the code under test. The methods do to the login what happens to it in real life.
    """

    def __init__(self, clock: Clock, share_dir: Path, *, access_ttl_s: float = 900.0) -> None:
        self.clock: Clock = clock
        self.server: SimulatedServer = SimulatedServer(clock, access_ttl_s=access_ttl_s)
        self._store = MemoryStore(clock)
        self.session: Session = Session(share_dir, environ={}, clock=clock, store=self._store, server=self.server)
        self._access_ttl_s = access_ttl_s
        self.sign_in()

    def sign_in(self) -> None:
        """Signs in for a test: a new login replaces the stored one."""
        given = self.server.issue()
        ends_at_s = self.clock.wall_s() + self._access_ttl_s
        with self._store.locked(None):
            self._store.put(Token(given.access_token, given.refresh_token or "", ends_at_s, self._access_ttl_s))

    def expire(self) -> None:
        """Expires the stored access token for a test: it ends now, and the next call renews it."""
        token = self._store.read().token
        if token is not None:
            with self._store.locked(None):
                self._store.put(
                    Token(token.access_token, token.refresh_token, self.clock.wall_s() - 1, token.expires_in_s)
                )

    def revoke(self) -> None:
        """Ends every login at the server, as the person of a test would: the API answers 401, and no renewal succeeds."""
        self.server.end_logins()

    def sign_out(self) -> None:
        """Removes the login of a test from this machine: the next call raises NotSignedIn."""
        with self._store.locked(None):
            self._store.sign_out(self.clock.wall_s())


class StaticTokens:
    """A `TokenSource` that gives `token` and never another one: for `BearerAuth` and for code that takes a source.

    `api_origin` is a URL at the only origin that gets it. `rejections` are the bearers that were reported as refused.
    """

    def __init__(self, token: str = "token-of-the-test", *, api_origin: str = "https://api.example") -> None:
        self.api_origin: str = api_origin
        self.rejections: list[str] = []
        self._token = token

    def __repr__(self) -> str:
        return f"StaticTokens(api_origin={self.api_origin!r})"

    async def access_token(self) -> str:
        """The token."""
        return self._token

    def access_token_sync(self) -> str:
        """The token."""
        return self._token

    async def rejected(self, bearer: str) -> str | None:
        """None: a token source that only gives one token has no other."""
        return self.rejected_sync(bearer)

    def rejected_sync(self, bearer: str) -> str | None:
        """None: a token source that only gives one token has no other."""
        self.rejections.append(bearer)
        return None
