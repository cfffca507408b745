"""Backoffs: each reason by itself, whose it is, and which of them are void."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_auth.credential.backoff import (
    attainable,
    forced_until_s,
    is_forced,
    postponed,
    retry_at_s,
    transient_error,
)
from kimi_auth.credential.classify import not_ours
from kimi_auth.credential.contracts import Need
from kimi_auth.errors import ClientRefused, Unreachable
from kimi_auth.store import Backoff, Binding, Snapshot
from kimi_auth.token import Token, fingerprint

NOW_S = 1_700_000_000.0
UNRECOGNIZED = {
    "unrecognized_fp": "f",
    "unrecognized_count": 2,
    "unrecognized_first_at_s": NOW_S - 200,
    "unrecognized_last_at_s": NOW_S - 10,
}
UNRECOGNIZED["unrecognized_retry_at_s"] = NOW_S + 110


@pytest.mark.parametrize(
    ("backoff", "asked", "waits_s"),
    [
        ({}, {}, None),
        ({"retry_at_s": NOW_S + 5}, {}, 5),
        ({"retry_at_s": NOW_S - 5}, {}, None),
        ({"retry_at_s": NOW_S + 5000}, {}, None),
        ({"retry_at_s": NOW_S + 5}, {"insist": True}, 5),
        ({"retry_at_s": NOW_S + 5}, {"own_retry_at_s": NOW_S + 5}, None),
        ({"retry_at_s": NOW_S + 7}, {"own_retry_at_s": NOW_S + 5}, 7),
        ({"forced_retry_at_s": NOW_S + 30}, {}, None),
        ({"retry_at_s": NOW_S + 5000, **UNRECOGNIZED}, {"is_blocked_now": True}, 890),
        ({"retry_at_s": NOW_S + 110, **UNRECOGNIZED}, {}, 110),
        ({"retry_at_s": NOW_S + 110, **UNRECOGNIZED}, {"insist": True}, None),
        ({"retry_at_s": NOW_S + 890, **UNRECOGNIZED}, {"is_blocked_now": True, "own_retry_at_s": NOW_S + 890}, None),
        ({"retry_at_s": NOW_S + 800, **UNRECOGNIZED}, {"insist": True}, 800),
        (UNRECOGNIZED, {"is_blocked_now": True}, 890),
        (UNRECOGNIZED, {"is_blocked_now": True, "insist": True}, None),
    ],
)
def test_until_when(backoff: dict[str, Any], asked: dict[str, Any], waits_s: float | None) -> None:
    """The longest of what binds the asker; what lies too far ahead is void and hides nothing else."""
    until_s = retry_at_s(Backoff(**backoff), NOW_S, **asked)
    assert (until_s - NOW_S if until_s else None) == waits_s


@pytest.mark.parametrize(
    ("left_s", "bearer", "expected"),
    [(60, "a", True), (20, "a", False), (-1, "a", False), (60, "", False), (60, "b", False)],
)
def test_forced(left_s: float, bearer: str, expected: bool) -> None:
    """Only a token that has life left is renewed by force, and only for the caller whose bearer it is."""
    token = Token("a", "r", NOW_S + left_s, 900.0)
    need = Need(not_bearer=bearer)
    assert is_forced(Snapshot("present", token=token, fp=fingerprint(token)), need, NOW_S) is expected


@pytest.mark.parametrize(("ahead_s", "waits_s"), [(-5, None), (0, None), (30, 30), (900, 900), (5000, None)])
def test_until_when_no_rotation_is_forced(ahead_s: float, waits_s: float | None) -> None:
    """A forced rotation waits for the last one; a time too far ahead was written under another clock."""
    until_s = forced_until_s(Backoff(forced_retry_at_s=NOW_S + ahead_s), NOW_S)
    assert (until_s - NOW_S if until_s else None) == waits_s


@pytest.mark.parametrize(
    ("life_s", "min_ttl_s", "asks"),
    [(0, 3600, 3600), (900, 600, 600), (900, 900, 900), (900, 3600, 525), (899.9, 900, 525)],
)
def test_what_a_server_can_give(life_s: float, min_ttl_s: float, asks: float) -> None:
    """More life than the server has been seen to give is a need for a token that is fresh: 7/12 of its life left."""
    need = attainable(Need(min_ttl_s=min_ttl_s, not_fp="f"), Backoff(life_s=life_s))
    assert need.min_ttl_s == pytest.approx(asks, abs=0.1)
    assert need.not_fp == "f"


@pytest.mark.parametrize(
    ("code", "kind"), [(ClientRefused.code, ClientRefused), (Unreachable.code, Unreachable), ("", Unreachable)]
)
def test_the_pace_keeps_what_was_the_matter(code: str, kind: type) -> None:
    """The reason does not change while every process waits: a program that is refused is not offline."""
    assert type(transient_error(Backoff(code=code, message="no"))) is kind
    assert postponed(transient_error(Backoff(code=code, message="no")), 5.0).message == "no; not tried again for 5 s"
    assert type(postponed(transient_error(Backoff(code=code, message="no")), 5.0)) is kind


HOME, OTHER = "https://auth.kimi.com", "https://other.example"


@pytest.mark.parametrize(
    ("record", "bound", "selected", "says"),
    [
        ("", None, HOME, None),
        ("", None, OTHER, f"belongs to {HOME}, because nothing beside it names another host"),
        (HOME, None, HOME, None),
        (HOME + "/", None, HOME, None),
        (HOME, None, OTHER, f"belongs to {HOME}, not to {OTHER}"),
        (OTHER, None, OTHER, None),
        ("", HOME, HOME, None),
        ("", HOME, OTHER, f"belongs to {HOME}, not to {OTHER}"),
        ("", OTHER, OTHER, None),
        ("", OTHER, HOME, f"belongs to {OTHER}, not to {HOME}"),
        (OTHER, OTHER, OTHER, None),
        (OTHER, OTHER, HOME, f"belongs to {OTHER}, not to {HOME}"),
        (HOME, OTHER, HOME, f"says that it belongs to {HOME}, its binding says {OTHER}"),
        (HOME, OTHER, OTHER, f"says that it belongs to {HOME}, its binding says {OTHER}"),
        (HOME, "", HOME, "cannot be read"),
        ("", "", HOME, "cannot be read"),
    ],
)
def test_whose_a_pair_is(record: str, bound: str | None, selected: str, says: str | None) -> None:
    """Record and binding agree with the selected host, or there is neither and it is the built-in one; else it is not sent."""
    binding = None if bound is None else Binding(bound)
    found = not_ours(Token("a", "r", NOW_S, 900.0, issuer=record), binding, selected, HOME)
    assert (found is None) == (says is None)
    if found is not None and says is not None:
        assert says in found.message
        assert found.exit_status == 9
        assert "kimi-auth adopt --issuer URL" in found.hint
