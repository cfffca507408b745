"""Tells, without reading the record again, whether the token in memory is still fresh."""

from __future__ import annotations

from collections.abc import Callable

from kimi_auth.clock import Clock
from kimi_auth.credential.context import Need
from kimi_auth.credential.credential import RENEWABLE, Credential
from kimi_auth.errors import CorruptCredential, NotSignedIn, SignInEnded, WrongIssuer
from kimi_auth.store import CredentialStore, Stamp
from kimi_auth.token import Token, window_s

__all__ = ["AgeClock", "CachedToken", "Refresher"]

LOOK_AGAIN_S = 1.0

ENDED = (NotSignedIn, SignInEnded, WrongIssuer, CorruptCredential)
"""Errors after which no stored token is usable: running clients get their static key, or nothing. After any other error
(offline, in doubt, a file that cannot be read now) they keep their token."""


class AgeClock:
    """Unix time for computing ages: the later of the wall clock and the time elapsed since this record was first seen.

    The elapsed time is measured on the clock that counts suspension, so an old token never looks young after the wall
    clock was set back, even with a suspension in between. A new record starts it again.
    """

    def __init__(self, clock: Clock, store: CredentialStore) -> None:
        self._clock = clock
        self._store = store
        self._offset_s = 0.0
        self.stamp: Stamp = ()

    def stamp_now(self) -> Stamp:
        """The record's current stamp."""
        return self._store.stamp()

    def now_s(self) -> float:
        """Now, unix seconds."""
        wall_s, boottime_s = self._clock.wall_s(), self._clock.boottime_s()
        stamp = self.stamp_now()
        if stamp != self.stamp:
            self.stamp, self._offset_s = stamp, wall_s - boottime_s
        return max(wall_s, boottime_s + self._offset_s)


class CachedToken:
    """A fresh access token in memory, and the time until which a check of the credential's stamp suffices.

    Both clocks must agree that it is fresh; the stamp is checked once in `recheck_every_s` seconds (0.0: at every use).
    """

    __slots__ = (
        "access_token",
        "from_wall_s",
        "look_again_s",
        "recheck_every_s",
        "stamp",
        "until_boottime_s",
        "until_wall_s",
    )

    def __init__(self, token: Token, stamp: Stamp, clock: Clock, now_s: float, recheck_every_s: float) -> None:
        """Caches a token that was just read and is fresh at `now_s` (by `AgeClock`)."""
        boottime_s = clock.boottime_s()
        until_s = token.expires_at_s - window_s(token)
        self.access_token: str = token.access_token
        self.stamp: Stamp = stamp
        self.from_wall_s: float = clock.wall_s()
        self.until_wall_s: float = until_s
        self.until_boottime_s: float = boottime_s + until_s - now_s
        self.recheck_every_s: float = recheck_every_s
        self.look_again_s: float = boottime_s + min(recheck_every_s, max(0.0, until_s - now_s))

    def serves(self, clock: Clock, store: CredentialStore) -> bool:
        """True while the token in memory is fresh and still the stored one."""
        boottime_s = clock.boottime_s()
        if boottime_s < self.look_again_s:
            return True
        if not (boottime_s < self.until_boottime_s and self.from_wall_s - 5.0 <= clock.wall_s() < self.until_wall_s):
            return False
        if self.recheck_every_s:
            self.look_again_s = min(boottime_s + self.recheck_every_s, self.until_boottime_s)
        return store.still(self.stamp)


class Refresher:
    """Renews the credential when it is due, and gives the stored token to running clients, one round after another."""

    def __init__(self, credential: Credential, steady: AgeClock, serve: Callable[[str], object]) -> None:
        self._credential = credential
        self._age_clock = steady
        self._serve = serve
        self._stamp: Stamp = ()

    def has_changed(self) -> bool:
        """True if any program has written the credential since the last round; told without reading the record."""
        return self._age_clock.stamp_now() != self._stamp

    async def look(self, timeout_s: float | None = None) -> float:
        """One look at the age of the token in memory; returns the seconds until the next one. Raises as `obtain` if no token is
        available within `timeout_s`, by default the patience of every caller."""
        landing = self._credential.inspect()
        self._stamp = landing.ctx.snapshot.stamp
        if landing.state == "expiring":
            self._credential.renew_in_background(landing)  # advisory: the current token works, so no caller waits
        elif landing.token is None and landing.state in RENEWABLE:
            landing = await self._credential.wait(
                lambda: self._credential.obtain(Need(), self._age_clock.now_s(), timeout_s), timeout_s
            )
        self._stamp = landing.ctx.snapshot.stamp
        token = landing.token
        if token is None:
            error = landing.error
            if isinstance(error, ENDED):
                self._serve("")
            raise error
        self._serve(token.access_token)
        now_s = self._age_clock.now_s()
        if landing.state == "fresh":
            return token.expires_at_s - window_s(token) - now_s
        return max(LOOK_AGAIN_S, self._credential.work.retry_in_s(landing.ctx.view))
