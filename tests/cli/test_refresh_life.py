"""How long a login lasts that no program renews: read for people, and trusted for nothing."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from kimi_auth import Session, Token
from kimi_auth.clock import SystemClock
from kimi_auth.credential.ports import token_from
from kimi_auth.credential.refresh_life import ends_soon, refresh_ends_at_s
from kimi_auth.store import FileStore
from kimi_auth.token import parse_record
from kimi_auth.wire.decode import grant
from kimi_auth.wire.interpret import exchange_answer
from kimi_auth.wire.response import RawResponse

DAY_S = 86_400.0
NOW_S = 1_800_000_000.0


def jwt(claims: object) -> str:
    """A JWT whose signature no one made."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJFUzI1NiJ9.{body}.c2lnbmF0dXJl"


def pair(refresh: str, *, left_s: float = 900.0, now_s: float = NOW_S, ends_at_s: float = 0.0) -> Token:
    return Token("access", refresh, now_s + left_s, 900.0, refresh_expires_at_s=ends_at_s)


@pytest.mark.parametrize(
    ("refresh", "ends_at_s"),
    [
        (jwt({"exp": NOW_S + 5}), NOW_S + 5),
        (jwt({"exp": 1e300}), 0.0),
        (jwt({"exp": -1}), 0.0),
        (jwt({"exp": True}), 0.0),
        (jwt({"exp": "1800000000"}), 0.0),
        (jwt({"exp": float("nan")}), 0.0),
        (jwt([1]), 0.0),
        (jwt({"exp": 10**400}), 0.0),
        ("a.%%%.c", 0.0),
        (f"a.{'W' * 9_000}.c", 0.0),
        (f"a.{base64.urlsafe_b64encode(b'[' * 5_000).decode()}.c", 0.0),
        ("a.é.c", 0.0),
        ("opaque", 0.0),
        ("", 0.0),
    ],
    ids=lambda value: "" if isinstance(value, float) else str(len(value)),
)
def test_a_refresh_token_is_asked_when_it_ends(refresh: str, ends_at_s: float) -> None:
    """`exp` of a JWT, where it is a time; every other text says nothing, and none raises."""
    assert refresh_ends_at_s(pair(refresh)) == ends_at_s


def test_the_servers_word_comes_first() -> None:
    """What the token answer said is believed before the token's own claim."""
    assert refresh_ends_at_s(pair(jwt({"exp": NOW_S + 5}), ends_at_s=NOW_S + 9)) == NOW_S + 9


@pytest.mark.parametrize(
    ("left_days", "given_days", "soon"),
    [(29, 30, False), (5.1, 30, False), (4.9, 30, True), (-1, 30, True), (0.9, 1, False), (0.2, 1, True)],
)
def test_soon_is_five_days_or_a_quarter(left_days: float, given_days: float, soon: bool) -> None:
    """A warning comes days ahead, and none about a short life that programs renew all the time."""
    granted_s = NOW_S - (given_days - left_days) * DAY_S
    end_s = NOW_S + left_days * DAY_S
    token = Token("a", "r", granted_s + 900, 900.0, refresh_expires_at_s=end_s, refresh_granted_at_s=granted_s)
    assert ends_soon(token, NOW_S) is soon


def renewed_until(left_s: float, life_days: float, renewals: str) -> Token:
    """A pair that a program has renewed every ten days until shortly before NOW_S, when the login has `left_s` left."""
    end_s = NOW_S + left_s
    start_s = end_s - life_days * DAY_S

    def grant_at(at_s: float) -> Token:
        moving = at_s + life_days * DAY_S
        body: dict[str, Any] = {"access_token": f"a{at_s}"}
        if renewals == "kept":
            body |= {"refresh_token": "r", "refresh_token_timeout": end_s - at_s} if at_s == start_s else {}
        elif renewals == "echoed":
            body |= {"refresh_token": "r", "refresh_token_timeout": end_s - at_s}
        elif renewals == "rotated":
            body |= {"refresh_token": f"r{at_s}", "refresh_token_timeout": moving - at_s}
        else:
            exp = moving if renewals == "jwt rotated" else end_s
            body |= {"refresh_token": jwt({"exp": exp, "iat": at_s})}
        found = exchange_answer(RawResponse("host", 200, "application/json", json.dumps(body).encode())).value
        assert found is not None
        return token_from(found, sent_at_s=at_s, issuer="i", before=token)

    token, at_s = None, start_s
    while at_s < NOW_S - 600:
        token, at_s = grant_at(at_s), at_s + min(10 * DAY_S, life_days * DAY_S / 3)
    token = grant_at(NOW_S - 600)
    return parse_record(json.loads(json.dumps(token.record())))


@pytest.mark.parametrize(
    ("renewals", "left_s", "life_days", "soon"),
    [
        ("kept", 3_600, 30, True),
        ("kept", 6 * DAY_S, 30, False),
        ("echoed", 3_600, 30, True),
        ("jwt fixed", 3_600, 30, True),
        ("jwt fixed", 6 * DAY_S, 30, False),
        ("rotated", DAY_S / 2, 1, False),
        ("jwt rotated", DAY_S / 2, 1, False),
        ("rotated", DAY_S, 30, False),
        ("jwt rotated", DAY_S, 30, False),
    ],
)
def test_renewals_that_move_the_end_and_those_that_do_not(
    renewals: str, left_s: float, life_days: float, soon: bool
) -> None:
    """An end that renewals do not move comes however young the pair is; one that they move along is not warned of."""
    assert ends_soon(renewed_until(left_s, life_days, renewals), NOW_S) is soon


def test_a_token_that_another_program_stored() -> None:
    """The start is the JWT's own `iat`; where nothing says it, five days count."""
    for claims, soon in (
        ({"exp": NOW_S + 3_600, "iat": NOW_S - 29 * DAY_S}, True),
        ({"exp": NOW_S + DAY_S, "iat": NOW_S - 600}, False),
        ({"exp": NOW_S + 3_600}, True),
        ({"exp": NOW_S + 6 * DAY_S}, False),
    ):
        assert ends_soon(pair(jwt(claims)), NOW_S) is soon


@pytest.mark.parametrize(
    ("said", "life_s"),
    [
        ({"refresh_token_timeout": 600}, 600.0),
        ({"refresh_token_expires_in": "600"}, 600.0),
        ({"refresh_expires_in": 600}, 600.0),
        ({"refresh_token_timeout": 600, "authorization_expires_in": 60}, 60.0),
        ({"refresh_token_timeout": -5}, 0.0),
        ({"refresh_token_timeout": 1e20}, 0.0),
        ({"refresh_token_timeout": "soon", "refresh_expires_in": None}, 0.0),
        ({}, 0.0),
    ],
)
def test_what_servers_say_of_it(said: dict[str, Any], life_s: float) -> None:
    """The members of the draft and those of servers before it; the first to end counts, and nonsense is no life."""
    _, found = grant({"access_token": "a", "refresh_token": "r", **said})
    assert found is not None
    assert found.refresh_expires_in_s == life_s


def test_it_is_kept_beside_the_pair() -> None:
    """A renewal that rotates brings its own end; one that keeps the refresh token keeps its end, unless it says another."""
    answer = {"access_token": "a", "refresh_token": "r2", "refresh_token_timeout": 600}

    def renewed(before: Token, **body: Any) -> Token:
        found = exchange_answer(RawResponse("host", 200, "application/json", json.dumps(body).encode())).value
        assert found is not None
        return token_from(found, sent_at_s=NOW_S, issuer="i", before=before)

    old = pair("r", ends_at_s=NOW_S + 7)
    new = renewed(old, **answer)
    assert new.refresh_expires_at_s == NOW_S + 600
    assert renewed(new, access_token="b").refresh_expires_at_s == NOW_S + 600
    assert renewed(new, access_token="b", refresh_token="r3").refresh_expires_at_s == 0.0
    assert parse_record(json.loads(json.dumps(new.record()))) == new


def put(share_dir: Path, left_days: float, issuer: str) -> None:
    now_s, store = time.time(), FileStore(share_dir, clock=SystemClock())
    granted_s = now_s - (30 - left_days) * DAY_S
    with store.locked(None):
        store.put(
            Token(
                "access",
                jwt({"exp": now_s + left_days * DAY_S + 60}),
                granted_s + 900,
                900.0,
                issuer=issuer,
            )
        )


@pytest.mark.parametrize(
    ("left_days", "says", "step"),
    [
        (20.0, "login: ends in 20 days if nothing renews it", ""),
        (3.0, "login: ends in 3 days if nothing renews it: kimi-auth login --force", "kimi-auth token --refresh"),
        (-4.0, "login: ended 3 days ago: kimi-auth login --force", "kimi-auth login"),
    ],
    ids=["far", "soon", "over"],
)
def test_status_and_doctor_say_it(
    kimi: Any, environ: dict[str, str], share_dir: Path, left_days: float, says: str, step: str
) -> None:
    """A row of status with the next step days ahead, its JSON, and a finding of doctor; the exit status does not change."""
    put(share_dir, left_days, environ["KIMI_CODE_OAUTH_HOST"])
    shown = kimi("status")
    assert shown.status == 0
    assert says in shown.out.splitlines()
    data = json.loads(kimi("status", "--json").out)
    assert data["ends_soon"] is bool(step)
    assert abs(data["refresh_expires_at"] - time.time() - left_days * DAY_S) < 600
    checks = json.loads(kimi("doctor", "--json").out)["checks"]
    found = [check for check in checks if check["check"] == "refresh token"]
    assert [check["step"].partition(";")[0] for check in found] == ([step] if step else [])


def test_nothing_is_decided_by_it(tmp_path: Path) -> None:
    """A refresh token that says that it has ended is sent all the same: only the server knows."""
    from kimi_auth.testing import MemoryStore, SimulatedServer

    clock = SystemClock()
    server, store = SimulatedServer(clock), MemoryStore(clock)
    given = server.issue()
    with store.locked(None):
        store.put(
            Token(
                given.access_token,
                given.refresh_token,
                clock.wall_s() - 1,
                900.0,
                refresh_expires_at_s=clock.wall_s() - 9,
            )
        )
    session = Session(tmp_path, environ={}, store=store, server=server)
    assert session.status().ends_soon
    assert session.access_token_sync() == "access-2"
