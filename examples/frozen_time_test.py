"""You will see a test of your own code live through a day of tokens in milliseconds: pytest examples/frozen_time_test.py"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from freezegun import freeze_time

from kimi_auth import Session, Token
from kimi_auth.clock import SystemClock
from kimi_auth.store import MemoryStore
from kimi_auth.testing import SimulatedServer


def your_code(session: Session) -> str:
    """The code under test: it asks for a token whenever it needs one."""
    return f"Bearer {session.access_token_sync()}"


def test_your_code_never_uses_a_dead_token(tmp_path: Path) -> None:
    """fresh → expiring → refreshing → fresh, and a night's sleep."""
    with freeze_time("2026-03-01 09:00:00", real_asyncio=True) as frozen:
        clock = SystemClock()
        store, server = MemoryStore(clock), SimulatedServer(clock, access_ttl_s=900)
        given = server.issue()  # as after a sign-in
        with store.locked(0):
            store.put(Token(given.access_token, given.refresh_token, time.time() + 900, 900))
        session = Session(tmp_path, environ={}, store=store, server=server)

        assert (session.status().state, your_code(session)) == ("fresh", "Bearer access-1")
        frozen.tick(timedelta(seconds=400))
        assert (session.status().state, your_code(session)) == ("expiring", "Bearer access-1")  # renewed beside
        session.drain()
        assert (session.status().state, your_code(session)) == ("fresh", "Bearer access-2")
        frozen.tick(timedelta(hours=8))
        assert (session.status().state, your_code(session)) == ("expired", "Bearer access-3")  # renewed first
        assert server.is_live("access-3")
