"""The answers of `/me` and `/usages`: the readable part, and the harm that a hostile one can do."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_auth.models.profile import LIMITS_MAX, TEXT_MAX, Account, Limit, Usage, account_of, usage_of

RESET = "2026-08-10T10:01:47.875212987Z"
RESET_S = 1786356107.875212
FIVE_HOURS = {"duration": 300, "timeUnit": "TIME_UNIT_MINUTE"}

ACCOUNTS: list[tuple[dict[str, Any], Account | None]] = [
    (
        {
            "user_id": "u1",
            "nickname": "Li",
            "user_level_name": "Allegretto",
            "email": "l@example.com",
            "region": "REGION_CN",
        },
        Account("u1", "Li", "REGION_CN", "Allegretto", "l@example.com"),
    ),
    ({"userId": 7, "user": {"membership": {"level": "LEVEL_BASIC"}}}, Account("7", level="LEVEL_BASIC")),
    ({"nickname": "a\x1b[2J\u202eb\nc"}, Account(nickname="a[2Jb c")),
    ({"nickname": "", "id": "u"}, Account("u")),
    ({"nickname": ["x"], "user_id": {"y": 1}, "email": "l@example.com"}, None),
    ({"user_id": True, "nickname": None}, None),
    ({"user_id": "\ud800", "nickname": " \u200b"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("data", "expected"), ACCOUNTS)
def test_account(data: dict[str, Any], expected: Account | None) -> None:
    """Each member under one of its names, cleaned; without a name or an id there is no account."""
    assert account_of(data) == expected


def test_the_name_of_an_account_is_no_address() -> None:
    """What status and login show is the nickname, else the id."""
    assert Account("u1", "Li", email="l@example.com", phone="1").name == "Li"
    assert Account("u1", email="l@example.com", phone="1").name == "u1"


USAGES: list[tuple[dict[str, Any], Usage | None]] = [
    (
        {
            "user": {"membership": {"level": "LEVEL_INTERMEDIATE"}},
            "usage": {"limit": "100", "used": "26", "remaining": "74", "resetTime": RESET},
            "limits": [{"window": FIVE_HOURS, "detail": {"limit": "100", "used": "15", "resetTime": RESET}}],
            "parallel": {"limit": "20"},
            "totalQuota": {},
        },
        Usage(
            "LEVEL_INTERMEDIATE",
            20,
            (
                Limit("plan", None, 100, 26, 74, 0.74, RESET_S),
                Limit("5 h", 18_000, 100, 15, 85, 0.85, RESET_S),
            ),
        ),
    ),
    (
        {"limits": [{"window": FIVE_HOURS, "detail": {"limit": 100, "remaining": 0}}]},
        Usage(limits=(Limit("5 h", 18_000, 100, 100, 0, 0.0),)),
    ),
    (
        {
            "usages": {
                "limit_5h": {"used_ratio": 0.25, "reset_time": RESET},
                "limit_7d": {"used_ratio": 2},
                "x": {"used_ratio": 1},
            }
        },
        Usage(
            limits=(Limit("5 h", 18_000, left_share=0.75, resets_at_s=RESET_S), Limit("7 d", 604_800, left_share=0.0))
        ),
    ),
    (
        {"limits": [{"window": {"duration": 2, "timeUnit": "MOON"}, "detail": {"limit": 3}}]},
        Usage(limits=(Limit("window", limit=3),)),
    ),
    ({"usage": {"limit": 0, "used": 0}}, Usage(limits=(Limit("plan", limit=0, used=0, remaining=0),))),
    (
        {"usage": {"limit": 10, "used": 12, "resetTime": 1786356107000}},
        Usage(limits=(Limit("plan", None, 10, 12, 0, 0.0, 1786356107.0),)),
    ),
    ({"usage": {"limit": "NaN"}, "limits": [{"detail": {"limit": -1}}, 7, None]}, None),
    ({"usage": {"limit": "9" * 5000}, "limits": {"a": 1}, "usages": [1], "parallel": 3}, None),
    ({}, None),
]


@pytest.mark.parametrize(("data", "expected"), USAGES)
def test_usage(data: dict[str, Any], expected: Usage | None) -> None:
    """Limits of each form that the API has had; a missing number is computed where it can be, and unknown where not."""
    assert usage_of(data) == expected


def test_an_answer_is_bounded() -> None:
    """However long an answer is, little of it is used."""
    many = [{"window": FIVE_HOURS, "detail": {"limit": 1, "used": 0}}] * 10_000
    found = usage_of({"limits": many, "user": {"membership": {"level": "x" * 100_000}}})
    assert found is not None
    assert (len(found.limits), len(found.level)) == (LIMITS_MAX, TEXT_MAX)
    account = account_of({"nickname": "x" * 100_000, "id": 10**4000})
    assert account == Account(nickname="x" * (TEXT_MAX - 1) + "…")


NAMES = [
    "user_id",
    "nickname",
    "usage",
    "limits",
    "window",
    "detail",
    "limit",
    "used",
    "duration",
    "timeUnit",
    "resetTime",
    "usages",
    "limit_5h",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=30,
)


@pytest.mark.fuzz
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8))
def test_any_answer(data: dict[str, Any]) -> None:
    """No object raises, and the result can be shown and written as JSON."""
    account, usage = account_of(data), usage_of(data)
    if account is not None:
        assert account.name.isprintable()
    for limit in usage.limits if usage else ():
        json.dumps(dataclasses.asdict(limit), allow_nan=False)
        assert limit.left_share is None or 0 <= limit.left_share <= 1
