"""You will see your own code tested with the fixtures that kimi-auth brings, no network: pytest examples/fixtures_test.py"""

from __future__ import annotations

import httpx
import pytest

from kimi_auth import BearerAuth, Revoked, Session
from kimi_auth.testing import Emulator, Login, VirtualClock


def your_code(session: Session) -> str:
    """The code under test."""
    return f"Bearer {session.access_token_sync()}"


def test_a_renewal(kimi_login: Login, kimi_clock: VirtualClock) -> None:
    """A night passes; the next call has another token."""
    assert your_code(kimi_login.session) == "Bearer access-1"
    kimi_clock.advance(8 * 3600)
    assert your_code(kimi_login.session) == "Bearer access-2"


def test_a_login_that_the_person_ended(kimi_login: Login) -> None:
    """Your code has to say so."""
    kimi_login.revoke()
    kimi_login.expire()
    with pytest.raises(Revoked):
        your_code(kimi_login.session)


def test_a_request_over_http(kimi_emulator: Emulator) -> None:
    """`Session()` finds the emulator by the environment, as the programs do that the test starts."""
    kimi_emulator.sign_in()
    session = Session()
    with httpx.Client(auth=BearerAuth(session)) as client:
        assert client.get(f"{session.api_origin}/models").status_code == 200
