"""The project's own emulator behind the same interface, so that it is held to what servers of others do."""

from __future__ import annotations

import httpx
from house.patience import NO_LIMIT_S

from kimi_auth.testing.emulator import Emulator
from servers.real_server import Decision, PageError, RealServer, ServerClock, Settings


class EmulatorServer(RealServer):
    """`kimi_auth.testing.emulator.Emulator`; decisions go to its test bench, because its page has tests of its own."""

    name = "emulator"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.jwt:
            raise ValueError("the emulator issues no JWTs; use oidc-provider")
        self._clock = ServerClock()
        self._emulator = Emulator(
            approve="page",
            access_ttl_s=settings.access_ttl_s,
            refresh_ttl_s=settings.refresh_ttl_s,
            code_ttl_s=settings.code_ttl_s,
            interval_s=settings.interval_s,
            now_s=self._clock.now_s,
        )
        self._emulator.__enter__()
        self.oauth_host = self._emulator.oauth_host
        self._running = True

    @property
    def running(self) -> bool:
        return self._running

    def stop(self) -> None:
        self._emulator.__exit__(None, None, None)
        self._running = False

    def _decide(self, decision: Decision, user_code: str) -> None:
        body = {"user_code": user_code}
        answer = httpx.post(f"{self.oauth_host}/_emulator/{decision}", json=body, trust_env=False, timeout=NO_LIMIT_S)
        if answer.status_code != 200:
            raise PageError(f"emulator: the code was not decided upon: {answer.text}")

    def _set_clock(self, ahead_s: float, stands_at_s: float | None) -> None:
        self._clock.set(ahead_s, stands_at_s)
