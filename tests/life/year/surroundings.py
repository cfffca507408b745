"""The one store of the laptop's sessions, and the server, each in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kimi_auth.store import Claim, Committed, MemoryStore
from kimi_auth.token import Token
from kimi_auth.wire import Answer, ExchangeOutcome, Grant
from life.year.laptop import Laptop

__all__ = ["Door", "ServersClock", "SharedStore"]

POLL_S: Final = 0.25
"""How often a process that waits for the lock looks again."""

Exchange = Callable[[Any, str, float], Answer[ExchangeOutcome, Grant]]


class SharedStore(MemoryStore):
    """One store for all processes, whose lock waits in virtual time."""

    def __init__(self, laptop: Laptop, before_install: Callable[[], None]) -> None:
        super().__init__(laptop)
        self._laptop = laptop
        self._before_install = before_install

    def commit(self, claim: Claim, token: Token) -> Committed:
        self._before_install()
        return super().commit(claim, token)

    def _take(self, patience_s: float | None, give_up: Callable[[], bool] | None) -> bool:
        deadline_s = self._laptop.monotonic_s() + (float("inf") if patience_s is None else patience_s)
        while not self._lock.acquire(blocking=False):
            if self._laptop.monotonic_s() >= deadline_s or (give_up and give_up()):
                return False
            self._laptop.sleep(POLL_S)
        return True


class ServersClock:
    """Simulated servers live by the wall clock of this one."""

    def __init__(self, laptop: Laptop) -> None:
        self._laptop = laptop

    def wall_s(self) -> float:
        return self._laptop.true_s


class Door:
    """The server as one process reaches it."""

    def __init__(self, exchange: Exchange, process: object) -> None:
        self._exchange = exchange
        self._process = process

    def exchange(self, refresh_token: str, *, connect_timeout_s: float = 5.0) -> Answer[ExchangeOutcome, Grant]:
        return self._exchange(self._process, refresh_token, connect_timeout_s)
