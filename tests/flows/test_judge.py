"""How long nobody tries: each reason by itself, whose it is, and which of them are void."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_auth.errors import ClientRefused, Unreachable
from kimi_auth.flows.judge import held_until_s, is_forced, not_ours, weather
from kimi_auth.store import Binding, Pace, Snapshot
from kimi_auth.token import Token, fingerprint

NOW_S = 1_700_000_000.0
UNCLEAR = {"unclear_fp": "f", "unclear_count": 2, "unclear_first_at_s": NOW_S - 200, "unclear_last_at_s": NOW_S - 10}


@pytest.mark.parametrize(
    ("pace", "asked", "waits_s"),
    [
        ({}, {}, None),
        ({"not_before_s": NOW_S + 5}, {}, 5),
        ({"not_before_s": NOW_S - 5}, {}, None),
        ({"not_before_s": NOW_S + 5000}, {}, None),
        ({"not_before_s": NOW_S + 5}, {"insist": True}, 5),
        ({"not_before_s": NOW_S + 5}, {"ours_s": NOW_S + 5}, None),
        ({"not_before_s": NOW_S + 7}, {"ours_s": NOW_S + 5}, 7),
        ({"forced_not_before_s": NOW_S + 30}, {}, None),
        ({"forced_not_before_s": NOW_S + 30}, {"forced": True}, 30),
        ({"not_before_s": NOW_S + 5000, "forced_not_before_s": NOW_S + 700}, {"forced": True}, 700),
        ({"not_before_s": NOW_S + 110, **UNCLEAR}, {}, 110),
        ({"not_before_s": NOW_S + 110, **UNCLEAR}, {"insist": True}, None),
        ({"not_before_s": NOW_S + 800, **UNCLEAR}, {"insist": True}, 800),
        (UNCLEAR, {"refused": True}, 890),
        (UNCLEAR, {"refused": True, "insist": True}, None),
    ],
)
def test_until_when(pace: dict[str, Any], asked: dict[str, Any], waits_s: float | None) -> None:
    """The longest of what binds the asker; what lies too far ahead is void and hides nothing else."""
    until_s = held_until_s(Pace(**pace), NOW_S, **asked)
    assert (until_s - NOW_S if until_s else None) == waits_s


@pytest.mark.parametrize(
    ("left_s", "is_rejected", "expected"), [(60, True, True), (-1, True, False), (60, False, False)]
)
def test_forced(left_s: float, is_rejected: bool, expected: bool) -> None:
    """Only a token that is alive is renewed by force."""
    token = Token("a", "r", NOW_S + left_s, 900.0)
    pace = Pace(rejected_fp=fingerprint(token) if is_rejected else "")
    assert is_forced(Snapshot("present", token=token, fp=fingerprint(token)), pace, NOW_S) is expected


@pytest.mark.parametrize(
    ("code", "kind"), [(ClientRefused.code, ClientRefused), (Unreachable.code, Unreachable), ("", Unreachable)]
)
def test_the_pace_keeps_what_was_the_matter(code: str, kind: type) -> None:
    """Who acts does not change while everybody waits: a program that is refused is not offline."""
    assert type(weather(Pace(code=code, words="no"))) is kind
    assert weather(Pace(words="no"), NOW_S + 5, NOW_S).message == "no; not tried again for 5 s"


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
