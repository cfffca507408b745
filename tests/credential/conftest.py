"""A credential that lives in memory, a server in this process, and time that stands still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from kimi_auth.clock import VirtualClock
from kimi_auth.credential.contracts import CredentialContext, Need
from kimi_auth.credential.credential import Credential, CredentialState
from kimi_auth.credential.ports import Ports, token_from
from kimi_auth.credential.token_lifecycle import CredentialHooks
from kimi_auth.machine import Library, recorder_from_environ, walk_sync
from kimi_auth.store import MemoryStore
from kimi_auth.testing import SimulatedServer
from kimi_auth.token import Token

ISSUER = "https://simulated.example"
ANY = Need()


class ByOthers:
    """What another program does to the store: under the lock if that is free, in spite of it if it is not."""

    def __init__(self, store: FlakyStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*args: object) -> object:
            with MemoryStore.locked(self._store, 0):
                return getattr(self._store, name)(*args)

        def call_in_spite(*args: object) -> object:
            return getattr(self._store, name)(*args)

        return call_in_spite if self._store.holder() else call


class FlakyStore(MemoryStore):
    """A store whose named operations do what a test says, once or for good."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.before: dict[str, Callable[[], None]] = {}

    @property
    def theirs(self) -> ByOthers:
        """This store as other programs write it."""
        return ByOthers(self)

    def __getattribute__(self, name: str) -> object:
        if not name.startswith("_") and (act := super().__getattribute__("__dict__").get("before", {}).pop(name, None)):
            act()
        return super().__getattribute__(name)


@dataclass
class Life:
    """One credential and everything around it."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    one_shot: bool = True
    served: list[str] = field(default_factory=list)
    config_fails: Exception | None = None
    restored: int = 0

    def __post_init__(self) -> None:
        self.store = FlakyStore(self.clock)
        self.server = SimulatedServer(self.clock)
        self.effects = Ports(self.store, self.server, self.clock, ISSUER, luck=lambda: 0.0)
        self.work = CredentialHooks(self.effects, serve=self.served.append, config=self)
        self.library = Library.load()
        self.credential = Credential(self.work, observe=recorder_from_environ(), one_shot=self.one_shot)

    def restore(self) -> bool:
        if self.config_fails is not None:
            raise self.config_fails
        self.restored += 1
        return True

    def sign_in(self, *, age_s: float = 0.0) -> Token:
        """A login that is `age_s` seconds old."""
        token = token_from(self.server.issue(), sent_at_s=self.clock.wall_s(), issuer=ISSUER)
        with self.store.locked(0):
            self.store.put(token)
        self.clock.advance(age_s)
        return token

    def walk(self, event: str, need: Need = ANY, *, patience_s: float = 30.0) -> CredentialState:
        """Inspects, then sends `event`."""
        at = self.credential.inspect()
        ctx = CredentialContext(need, patience_s, self.work.deadline_s(patience_s), at.ctx.view)
        machine = self.library["token_lifecycle"]
        return CredentialState(
            *walk_sync(machine, self.work, ctx, at=at.state, event=event, observe=recorder_from_environ())
        )

    @property
    def state(self) -> str:
        return self.credential.inspect().state

    @property
    def stored(self) -> Token:
        token = self.store.read().token
        assert token is not None
        return token


@pytest.fixture
def life() -> Life:
    return Life()
