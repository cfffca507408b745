"""How a pair of tokens is read, named and classified: every boundary, to the last representable number."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kimi_auth.token as tokens
from kimi_auth.token import (
    DEFAULT_LIFETIME_S,
    END_MAX_S,
    LIFETIME_MAX_S,
    LIFETIME_MIN_S,
    RecordError,
    Token,
    at_leisure,
    fingerprint,
    left_s,
    lifetime_s,
    margin_s,
    parse_record,
    phase,
    window_s,
)

NOW = 1_800_000_000.0
NAN, INF = math.nan, math.inf


def token(left: float, expires_in_s: float = 900.0) -> Token:
    return Token("access", "refresh", NOW + left, expires_in_s)


# --- how old ---------------------------------------------------------------------------------------------------------

# Seconds left, life that the server gave, phase, whether a one-shot command may leave it alone.
PHASES: list[tuple[float, float, str, bool]] = [
    # 900 s: margin 30, window 525, its half 262.5, slack up to 905.
    (-1e9, 900.0, "expired", False),
    (-1.0, 900.0, "expired", False),
    (0.0, 900.0, "expired", False),
    (29.75, 900.0, "expired", False),
    (30.0, 900.0, "expiring", False),
    (262.25, 900.0, "expiring", False),
    (262.5, 900.0, "expiring", False),
    (262.75, 900.0, "expiring", True),
    (525.0, 900.0, "expiring", True),
    (525.25, 900.0, "fresh", True),
    (900.0, 900.0, "fresh", True),
    (905.0, 900.0, "fresh", True),
    (905.25, 900.0, "expiring", False),
    (1e9, 900.0, "expiring", False),
    # 60 s: margin 6, window 35, its half 17.5, slack up to 65.
    (5.75, 60.0, "expired", False),
    (6.0, 60.0, "expiring", False),
    (17.5, 60.0, "expiring", False),
    (17.75, 60.0, "expiring", True),
    (35.0, 60.0, "expiring", True),
    (35.25, 60.0, "fresh", True),
    (65.0, 60.0, "fresh", True),
    (65.25, 60.0, "expiring", False),
    # 300 s: the margin's two rules meet at 30.
    (29.75, 300.0, "expired", False),
    (30.0, 300.0, "expiring", False),
    # A day: the margin stays 30, the window is 50 400.
    (29.75, 86_400.0, "expired", False),
    (30.0, 86_400.0, "expiring", False),
    (50_400.0, 86_400.0, "expiring", True),
    (50_400.25, 86_400.0, "fresh", True),
    # One second: still a margin and a window.
    (0.0625, 1.0, "expired", False),
    (0.125, 1.0, "expiring", False),
    (0.75, 1.0, "fresh", True),
    # A life that says nothing counts as 900 s.
    (30.0, 0.0, "expiring", False),
    (525.25, 0.0, "fresh", True),
    (905.25, 0.0, "expiring", False),
    (525.25, -900.0, "fresh", True),
    (525.25, NAN, "fresh", True),
    (525.25, INF, "fresh", True),
    (525.25, -INF, "fresh", True),
    (525.25, LIFETIME_MAX_S * 2, "fresh", True),
    # An end that says nothing has passed.
    (-NOW, 900.0, "expired", False),
    (NAN, 900.0, "expired", False),
    (INF, 900.0, "expired", False),
    (-INF, 900.0, "expired", False),
    # Milliseconds are no seconds.
    (1000 * NOW, 900.0, "expired", False),
    (END_MAX_S - NOW, 900.0, "expiring", False),
    (math.nextafter(END_MAX_S, INF) - NOW, 900.0, "expired", False),
]


@pytest.mark.parametrize(("left", "expires_in", "name", "leisure"), PHASES)
def test_phase_at_its_boundaries(left: float, expires_in: float, name: str, leisure: bool) -> None:
    """Each boundary belongs to the side that the table says, for usual, tiny, huge and senseless lives."""
    assert phase(token(left, expires_in), NOW) == name
    assert at_leisure(token(left, expires_in), NOW) is leisure


@pytest.mark.parametrize(
    ("expires_in", "lifetime", "margin", "window"),
    [
        (900.0, 900.0, 30.0, 525.0),
        (300.0, 300.0, 30.0, 175.0),
        (299.0, 299.0, 29.9, 299.0 * 7 / 12),
        (60.0, 60.0, 6.0, 35.0),
        (LIFETIME_MAX_S, LIFETIME_MAX_S, 30.0, LIFETIME_MAX_S * 7 / 12),
        (math.nextafter(LIFETIME_MAX_S, INF), DEFAULT_LIFETIME_S, 30.0, 525.0),
        (LIFETIME_MIN_S, 1.0, 0.1, 7 / 12),
        (math.nextafter(LIFETIME_MIN_S, 0), DEFAULT_LIFETIME_S, 30.0, 525.0),
        (0.0, 900.0, 30.0, 525.0),
        (-5.0, 900.0, 30.0, 525.0),
        (NAN, 900.0, 30.0, 525.0),
        (INF, 900.0, 30.0, 525.0),
    ],
)
def test_the_measures_of_a_life(expires_in: float, lifetime: float, margin: float, window: float) -> None:
    """Life, margin and window in seconds; what the server cannot have meant counts as 900."""
    one = token(1.0, expires_in)
    assert (lifetime_s(one), margin_s(one), window_s(one)) == pytest.approx((lifetime, margin, window))


@given(st.floats(), st.floats(), st.floats())
def test_any_numbers_have_a_phase(expires_at: float, expires_in: float, now_s: float) -> None:
    """No number makes the judgement fail, contradict itself, or call something fresh that has no life left."""
    one = Token("a", "r", expires_at, expires_in)
    name = phase(one, now_s)
    assert name in {"fresh", "expiring", "expired"}
    assert 0 <= left_s(one, now_s) < INF
    if name == "fresh":
        assert window_s(one) < left_s(one, now_s) <= lifetime_s(one) + 5.0
        assert at_leisure(one, now_s)
    if name == "expired":
        assert not at_leisure(one, now_s)


@given(st.floats(1.0, 1e8), st.floats(0.0, 1.2))
def test_a_token_only_grows_older(expires_in: float, share: float) -> None:
    """As time passes the phases come in their order and none comes back, from the moment that a token was given."""
    order = ["fresh", "expiring", "expired"]
    one = Token("a", "r", expires_in, expires_in)
    steps = [phase(one, expires_in * share * part / 7) for part in range(8)]
    assert steps == sorted(steps, key=order.index)


# --- what a record says ----------------------------------------------------------------------------------------------

RECORD: dict[str, object] = {
    "access_token": "a.b-c_d~e+f/g=",
    "refresh_token": "r",
    "expires_at": 5.5,
    "expires_in": 900,
    "scope": "s",
    "token_type": "Bearer",
}
WHOLE = Token("a.b-c_d~e+f/g=", "r", 5.5, 900.0, "s", "Bearer")

READINGS: list[tuple[dict[str, object], dict[str, object]]] = [
    ({}, {}),
    ({"unknown": {"x": [1]}}, {}),
    ({"refresh_token": ""}, {"refresh_token": ""}),
    ({"refresh_token": None}, {"refresh_token": ""}),
    ({"access_token": "", "refresh_token": ""}, {"access_token": "", "refresh_token": ""}),
    ({"access_token": "", "refresh_token": None}, {"access_token": "", "refresh_token": ""}),
    ({"refresh_token": "a b"}, {"refresh_token": "a b"}),
    ({"scope": None}, {"scope": ""}),
    ({"token_type": None}, {"token_type": "Bearer"}),
    ({"token_type": ""}, {"token_type": "Bearer"}),
    ({"issuer": "https://auth.kimi.com"}, {"issuer": "https://auth.kimi.com"}),
    ({"issuer": None}, {"issuer": ""}),
    ({"signed_out_at": 7}, {"signed_out_at_s": 7.0}),
    ({"expires_at": 5}, {"expires_at_s": 5.0}),
    ({"expires_at": "5.5"}, {"expires_at_s": 5.5}),
    ({"expires_at": "1e3"}, {"expires_at_s": 1000.0}),
    *(
        ({key: value}, {f"{key}_s": 0.0})
        for key in ("expires_at", "expires_in", "signed_out_at")
        for value in (None, "", "soon", "nan", "inf", NAN, INF, -INF, -1, 0, True, [], {}, 1e15, 10**400, "1" * 400)
    ),
    ({"expires_at": math.nextafter(1e15, 0)}, {"expires_at_s": math.nextafter(1e15, 0)}),
]


@pytest.mark.parametrize(("changes", "read"), READINGS)
def test_what_a_record_says(changes: dict[str, object], read: dict[str, object]) -> None:
    """Missing, null, quoted and senseless values each have their one reading."""
    wanted = copy.copy(WHOLE)
    for name, value in read.items():
        object.__setattr__(wanted, name, value)
    assert parse_record(RECORD | changes) == wanted


REFUSED: list[tuple[object, str]] = [
    *((value, "not a JSON object") for value in (None, 7, "x", [], [RECORD], True)),
    (RECORD | {"access_token": "a b"}, "access_token holds characters"),
    ({}, "access_token is missing"),
    (RECORD | {"access_token": None}, "access_token is missing"),
    *((RECORD | {"access_token": value}, "access_token is not a string") for value in (7, [], {}, True)),
    *((RECORD | {"refresh_token": value}, "refresh_token is not a string") for value in (7, [], {}, False)),
    (RECORD | {"access_token": ""}, "access_token is empty"),
    *((RECORD | {key: 7}, f"{key} is not a string") for key in ("scope", "token_type", "issuer")),
    *(
        (RECORD | {key: f"a{sign}b"}, f"{key} holds characters")
        for key in ("access_token", "refresh_token")
        for sign in ("\t", "\n", "\r", "\0", "\x7f", "\x80", "é", "\u2028", "\ud800", "令")
    ),
]


@pytest.mark.parametrize(("data", "words"), REFUSED)
def test_what_is_no_credential(data: object, words: str) -> None:
    """The reason names the key and never holds a value."""
    with pytest.raises(RecordError, match=words) as caught:
        parse_record(data)
    assert "a.b-c" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys([*RECORD, "issuer", "signed_out_at"], JSON)))
def test_any_value_is_read_or_refused(data: Any) -> None:
    """Whatever was decoded is a Token that can be stored and read again, or a RecordError."""
    try:
        one = parse_record(data)
    except RecordError:
        return
    assert parse_record(json.loads(json.dumps(one.record()))) == one
    assert phase(one, NOW) in {"fresh", "expiring", "expired"}


VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


@given(VISIBLE, VISIBLE, st.floats(0.1, 1e14), st.floats(0.1, 1e14), st.text(), VISIBLE, st.text())
def test_a_record_is_read_as_it_was_written(
    access: str, refresh: str, at: float, life: float, scope: str, kind: str, issuer: str
) -> None:
    """Through JSON and back nothing is lost."""
    one = Token(access, refresh, at, life, scope, kind, issuer)
    assert parse_record(json.loads(json.dumps(one.record()))) == one


def test_a_record_has_our_keys_only_when_they_say_something() -> None:
    """The Kimi CLI's six keys are always there; `issuer` and `signed_out_at` only with a value."""
    assert set(WHOLE.record()) == set(RECORD)
    assert Token("a", "r", 1.0, 1.0, issuer="i").record()["issuer"] == "i"
    assert Token("", "", 0.0, 0.0, signed_out_at_s=7.0).record()["signed_out_at"] == 7.0


# --- identity and secrecy --------------------------------------------------------------------------------------------


def test_a_fingerprint_is_of_the_pair_alone() -> None:
    """SHA-256 of refresh token, NUL, access token; the first 16 digits; no other field counts."""
    assert fingerprint(Token("a", "r", 1.0, 2.0)) == hashlib.sha256(b"r\0a").hexdigest()[:16]
    assert fingerprint(Token("a", "r", 9.0, 9.0, "s", "t", "i", 9.0)) == fingerprint(Token("a", "r", 1.0, 2.0))
    assert len({fingerprint(Token(*two, 1.0, 1.0)) for two in [("a", "r"), ("r", "a"), ("ar", ""), ("", "")]}) == 4
    assert len(fingerprint(Token("\ud800", "é", 1.0, 1.0))) == 16


def test_a_token_cannot_be_changed() -> None:
    """No caller can swap a token that another has classified."""
    with pytest.raises(AttributeError, match="immutable"):
        WHOLE.access_token = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="immutable"):
        del WHOLE.access_token


def test_a_token_never_shows_its_secrets() -> None:
    """Neither repr nor str nor a format string holds a token."""
    one = Token("SECRET-A", "SECRET-R", 1.0, 1.0, issuer="https://auth.kimi.com")
    for shown in (repr(one), str(one), f"{one}", repr([one]), repr(NAN) + repr(Token("SECRET-A", "", NAN, INF))):
        assert "SECRET" not in shown
    assert fingerprint(one) in repr(one)


def test_equality_copies_and_hashes() -> None:
    """Tokens are equal when every field is; copies and pickles are equal; equal ones hash alike."""
    assert WHOLE == copy.deepcopy(WHOLE) == pickle.loads(pickle.dumps(WHOLE))
    assert hash(WHOLE) == hash(copy.copy(WHOLE))
    assert Token("a", "r", 1.0, 1.0) != Token("a", "r", 2.0, 1.0)
    assert WHOLE != "a.b-c_d~e+f/g="


@pytest.mark.parametrize(
    ("access", "refresh", "empty"), [("", "", True), ("a", "", False), ("", "r", False), ("a", "r", False)]
)
def test_which_record_is_empty(access: str, refresh: str, empty: bool) -> None:
    """Empty is a record without both tokens."""
    assert Token(access, refresh, 1.0, 1.0).is_empty is empty


def test_the_hot_path_imports_nothing() -> None:
    """Classifying a token costs no module beyond the interpreter's own start, hashlib included."""
    code = "import sys, os; old = set(sys.modules); import kimi_auth.token; print(*sorted(set(sys.modules) - old))"
    root = Path(tokens.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    own = {name for name in done.stdout.split() if name.startswith("kimi_auth")}
    assert "kimi_auth.token" in own
    assert set(done.stdout.split()) - own <= {"__future__", "_sha2", "_sha256"}
