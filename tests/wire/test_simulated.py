"""The simulated server: it keeps the rules of a real one, and breaks them when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from kimi_auth.errors import AccessDenied, CodeExpired, Revoked, SignInEnded, Unreachable
from kimi_auth.testing import SimulatedServer
from kimi_auth.testing.emulator.records import SCOPE, CodeProblem
from kimi_auth.wire import Answer, DeviceCode, Grant, OAuthServer

T = TypeVar("T")


@pytest.fixture
def server(clock: Any) -> SimulatedServer:
    return SimulatedServer(clock)


def code_of(server: SimulatedServer) -> DeviceCode:
    answer = asyncio.run(server.request_code())
    assert answer.outcome == "code"
    assert answer.value is not None
    return answer.value


def poll(server: SimulatedServer, code: DeviceCode) -> Answer[Any, Grant]:
    return asyncio.run(server.poll(code.device_code))


def pair(answer: Answer[Any, Grant]) -> Grant:
    assert answer.value is not None
    return answer.value


def test_it_is_an_oauth_server(server: SimulatedServer) -> None:
    """It fits the contract that the flows depend on."""
    fits: OAuthServer = server
    asyncio.run(fits.aclose())
    assert asyncio.run(fits.request_code()).outcome == "code"


def test_a_login(server: SimulatedServer, clock: Any) -> None:
    """Pending until the person approves, then one pair; what came before and after is counted."""
    code = code_of(server)
    assert (code.expires_in_s, code.interval_s, code.user_code) == (1800.0, 5.0, "BBBB-BBBC")
    assert poll(server, code).outcome == "authorization_pending"
    server.approve()
    clock.sleep(5)
    granted = poll(server, code)
    assert granted.outcome == "granted"
    assert server.is_live(pair(granted).access_token)
    assert server.counts == {"request_code": 1, "poll": 2}
    clock.sleep(900)
    assert not server.is_live(pair(granted).access_token)


@pytest.mark.parametrize(
    ("act", "outcome", "error"),
    [
        (SimulatedServer.deny, "access_denied", AccessDenied),
        (SimulatedServer.expire, "expired_token", CodeExpired),
    ],
)
def test_a_login_that_fails(
    server: SimulatedServer, act: Callable[[SimulatedServer], None], outcome: str, error: type[Exception]
) -> None:
    """The person refuses, or the code runs out."""
    code = code_of(server)
    act(server)
    answer = poll(server, code)
    assert (answer.outcome, type(answer.error)) == (outcome, error)


def test_codes_run_out_by_themselves(server: SimulatedServer, clock: Any) -> None:
    """A code lives as long as it says, approved or not."""
    code = code_of(server)
    server.approve()
    clock.sleep(1800)
    assert poll(server, code).outcome == "expired_token"


def test_a_refusal_stands_after_the_codes_time(server: SimulatedServer, clock: Any) -> None:
    """The first end of a code is the answer to every later poll (RFC 8628 §3.5)."""
    code = code_of(server)
    server.deny()
    clock.sleep(1800)
    assert poll(server, code).outcome == "access_denied"


def test_polling_too_fast(server: SimulatedServer, clock: Any) -> None:
    """A poll before its time is told to slow down, by five seconds more, for good."""
    code = code_of(server)
    assert poll(server, code).outcome == "authorization_pending"
    clock.sleep(4.9)
    assert poll(server, code).outcome == "slow_down"
    clock.sleep(9.9)
    assert poll(server, code).outcome == "slow_down"
    clock.sleep(15)
    assert poll(server, code).outcome == "authorization_pending"


def test_codes_are_told_apart(server: SimulatedServer) -> None:
    """The newest code is meant unless a user code says otherwise; there must be one."""
    with pytest.raises(CodeProblem, match="unknown"):
        server.approve()
    first, second = code_of(server), code_of(server)
    server.approve(first.user_code)
    server.deny()
    assert poll(server, first).outcome == "granted"
    assert poll(server, second).outcome == "access_denied"
    with pytest.raises(CodeProblem, match="unknown"):
        server.deny("BBBB-ZZZZ")


def test_a_poll_after_the_grant_revokes_it(server: SimulatedServer, clock: Any) -> None:
    """As certified servers do: a client that polls on after the 200 loses its tokens."""
    code = code_of(server)
    server.approve()
    given = pair(poll(server, code))
    clock.sleep(5)
    again = poll(server, code)
    assert (again.outcome, type(again.error)) == ("refused", SignInEnded)
    assert not server.is_live(given.access_token)
    assert server.exchange(given.refresh_token).outcome == "revoked"


def test_an_unknown_code(server: SimulatedServer) -> None:
    """A code that was never given out is refused."""
    assert asyncio.run(server.poll("device-9")).outcome == "refused"


def test_rotation(server: SimulatedServer) -> None:
    """Each exchange gives another pair, the same ones in every run."""
    first = server.issue()
    second = pair(server.exchange(first.refresh_token, connect_timeout_s=1.5))
    third = pair(server.exchange(second.refresh_token))
    assert [first, second, third] == [Grant(f"access-{n}", f"refresh-{n}", 900.0, SCOPE) for n in (1, 2, 3)]
    assert server.is_live(first.access_token)
    assert server.state.reused == []


def exchange_twice(server: SimulatedServer, clock: Any, after_s: float = 0.0) -> tuple[Answer[Any, Grant], Grant]:
    """A refresh token that comes again: the second answer, and the successor that the first one gave."""
    first = server.issue()
    successor = pair(server.exchange(first.refresh_token))
    clock.sleep(after_s)
    return server.exchange(first.refresh_token), successor


def test_strict_reuse(server: SimulatedServer, clock: Any) -> None:
    """A spent token ends the login, its newest tokens included."""
    answer, successor = exchange_twice(server, clock)
    assert (answer.outcome, type(answer.error)) == ("revoked", Revoked)
    assert "invalid_grant: This refresh token was used before" in answer.message
    assert server.state.reused == ["refresh-1"]
    assert not server.is_live(successor.access_token)
    assert server.exchange(successor.refresh_token).outcome == "revoked"


def test_lenient_reuse(clock: Any) -> None:
    """A spent token is refused, and the login goes on."""
    server = SimulatedServer(clock, reuse="lenient")
    answer, successor = exchange_twice(server, clock)
    assert answer.outcome == "revoked"
    assert server.exchange(successor.refresh_token).outcome == "tokens"


@pytest.mark.parametrize(("after_s", "outcome"), [(29.9, "tokens"), (30.0, "revoked")])
def test_reuse_in_a_grace_period(clock: Any, after_s: float, outcome: str) -> None:
    """For a while a spent token gets another pair, then it ends the login; a second reuse does not extend the while."""
    server = SimulatedServer(clock, reuse="grace:30")
    answer, successor = exchange_twice(server, clock, after_s)
    assert answer.outcome == outcome
    assert server.is_live(successor.access_token) == (outcome == "tokens")
    clock.sleep(1)
    assert server.exchange("refresh-1").outcome == "revoked"


def test_no_rotation(clock: Any) -> None:
    """The answer names the old refresh token, which goes on."""
    server = SimulatedServer(clock, reuse="none")
    answer, successor = exchange_twice(server, clock)
    assert answer.outcome == "tokens"
    assert (successor.access_token, successor.refresh_token) == ("access-2", "refresh-1")
    assert server.state.reused == []


def test_an_unknown_refresh_token(server: SimulatedServer) -> None:
    """A token that was never given out is refused and ends nothing."""
    given = server.issue()
    assert server.exchange("refresh-9").outcome == "revoked"
    assert server.is_live(given.access_token)


LOST: Answer[Any, Any] = Answer("in_doubt", error=Unreachable("lost"))


@pytest.mark.parametrize(("processed", "outcome"), [(True, "revoked"), (False, "tokens")])
def test_faults(server: SimulatedServer, *, processed: bool, outcome: str) -> None:
    """A fault hides what happened: the token may be spent, or not, and only the next request shows it."""
    given = server.issue()
    server.fault("exchange", LOST, processed=processed)
    assert server.exchange(given.refresh_token) is LOST
    assert server.exchange(given.refresh_token).outcome == outcome
    assert server.counts["exchange"] == 2


def test_faults_queue_up(server: SimulatedServer) -> None:
    """Faults are for one kind of request, and come in order."""
    away: Answer[Any, Any] = Answer("unreachable", error=Unreachable("away"))
    server.fault("request_code", away)
    server.fault("request_code", LOST)
    given = server.issue()
    assert server.exchange(given.refresh_token).outcome == "tokens"
    assert [asyncio.run(server.request_code()).outcome for _ in range(3)] == ["unreachable", "in_doubt", "code"]


@pytest.mark.parametrize(("hint", "ends"), [("refresh_token", True), ("access_token", False)])
def test_revocation(server: SimulatedServer, hint: Any, *, ends: bool) -> None:
    """A refresh token takes its whole login along, an access token only itself; an unknown one is no error."""
    given = server.issue()
    token = given.refresh_token if hint == "refresh_token" else given.access_token
    assert server.revoke(token, hint, deadline_s=1.0).outcome == "revoked"
    assert not server.is_live(given.access_token)
    assert (server.exchange(given.refresh_token).outcome == "revoked") == ends
    assert server.revoke("unknown", hint).outcome == "revoked"


def test_logins_can_be_ended_from_outside(server: SimulatedServer) -> None:
    """Signing out everywhere ends earlier logins, not later ones."""
    old = server.issue()
    server.end_logins()
    new = server.issue()
    assert not server.is_live(old.access_token)
    assert server.exchange(old.refresh_token).outcome == "revoked"
    assert server.exchange(new.refresh_token).outcome == "tokens"
