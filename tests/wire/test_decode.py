"""Bodies into values: required members, bounds, and the effect of a strange number (none)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_auth.token import RECORD_MAX_BYTES
from kimi_auth.wire.decode import catalogue, device_code, grant, json_object, oauth_error

CODE = {"device_code": "d", "user_code": "WDJB-MJHT", "verification_uri": "https://auth.test/device"}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf {"a": 1} \r\n', {"a": 1}),
        (b'{"a": 1e999}', {"a": float("inf")}),
        (b"", None),
        (b"[]", None),
        (b'"text"', None),
        (b"null", None),
        (b'{"a": 1', None),
        (b'{"a": 1} trailing', {"a": 1}),
        (b'{"a": 1}\n<!-- proxy -->', {"a": 1}),
        (b'{"a": 1}\0\0', {"a": 1}),
        (b'{"a": 1} {"a": 2}', None),
        ('{"a": 1}'.encode("utf-16"), {"a": 1}),
        ('{"a": 1}'.encode("utf-32"), {"a": 1}),
        (b'{"a": 1, "a": 1}', {"a": 1}),
        (b'{"a": 1, "a": 2, "c": 3, "a": 1}', {"a": None, "c": 3}),
        (b'{"a": {"b": 1, "b": 2}}', {"a": {"b": None}}),
        (b'{"a": NaN}', {"a": None}),
        (b'{"a": -Infinity}', {"a": None}),
        (b'{"a": ' + b"9" * 5000 + b"}", {"a": None}),
        (b'{"a": "b\nc"}', {"a": "b\nc"}),
        (b'{"a": "\xff"}', {"a": "\udcff"}),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, None),
    ],
)
def test_json_object(body: bytes, value: object) -> None:
    """One JSON object, or nothing: an unreadable member costs itself and no other."""
    assert json_object(body) == value


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (None, ("", "")),
        ({}, ("", "")),
        ({"error": "x"}, ("x", "")),
        ({"error": "x", "error_description": "y"}, ("x", "y")),
        ({"error": "x", "error_description": 5}, ("x", "")),
        ({"error": "", "error_description": "y"}, ("", "")),
        ({"error": {"message": "no OAuth"}}, ("", "")),
    ],
)
def test_oauth_error(data: dict[str, Any] | None, found: tuple[str, str]) -> None:
    """An OAuth error is a string; everything else is none."""
    assert oauth_error(data) == found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {"expires_in_s": 900.0, "interval_s": 5.0, "verification_uri_complete": ""}),
        ({"interval": 7, "expires_in": 600}, {"interval_s": 7.0, "expires_in_s": 600.0}),
        ({"device_code": "a device code"}, {"device_code": "a device code"}),
        ({"device_code": "d" * 4096}, {"device_code": "d" * 4096}),
        ({"verification_uri_complete": "https://auth.test/" + "d" * 2048}, {"verification_uri_complete": ""}),
        ({"interval": "8", "expires_in": "700"}, {"interval_s": 8.0, "expires_in_s": 700.0}),
        ({"interval": 0.01, "expires_in": 1e9}, {"interval_s": 1.0, "expires_in_s": 1800.0}),
        ({"interval": 1e9, "expires_in": -1}, {"interval_s": 300.0, "expires_in_s": 900.0}),
        ({"interval": True, "expires_in": "nan"}, {"interval_s": 5.0, "expires_in_s": 900.0}),
        ({"interval": None, "expires_in": float("inf")}, {"interval_s": 5.0, "expires_in_s": 900.0}),
        ({"interval": 10**4000, "expires_in": "soon"}, {"interval_s": 5.0, "expires_in_s": 900.0}),
        ({"interval": [], "expires_in": {}}, {"interval_s": 5.0, "expires_in_s": 900.0}),
        (
            {"verification_uri_complete": "https://auth.test/device?user_code=WDJB-MJHT"},
            {"verification_uri_complete": "https://auth.test/device?user_code=WDJB-MJHT"},
        ),
        ({"verification_uri_complete": "javascript:x"}, {"verification_uri_complete": ""}),
        ({"verification_uri_complete": 5}, {"verification_uri_complete": ""}),
        ({"verification_uri": "http://localhost:1/d"}, {"verification_uri": "http://localhost:1/d"}),
    ],
)
def test_device_code(change: dict[str, Any], expected: dict[str, Any]) -> None:
    """An optional member has a default, an absurd one has a bound, and a bad complete URI is dropped."""
    shape, code = device_code(CODE | change)
    assert shape == "device_code"
    assert {name: getattr(code, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        ({"device_code": ""}, "incomplete"),
        ({"device_code": "d" * 4097}, "incomplete"),
        ({"user_code": "A" * 65}, "incomplete"),
        ({"verification_uri": "https://auth.test/" + "d" * 2048}, "unsafe_uri"),
        ({"device_code": None}, "incomplete"),
        ({"device_code": "\ud800"}, "incomplete"),
        ({"device_code": "  "}, "incomplete"),
        ({"device_code": "a\nb"}, "incomplete"),
        ({"user_code": "A\udcffB"}, "incomplete"),
        ({"user_code": ""}, "incomplete"),
        ({"user_code": 5}, "incomplete"),
        ({"user_code": "A\u202eB"}, "incomplete"),
        ({"user_code": "\x1b[2J"}, "incomplete"),
        ({"verification_uri": ""}, "incomplete"),
        ({"verification_uri": "http://auth.test/"}, "unsafe_uri"),
        ({"verification_uri": "https://user@auth.test/"}, "unsafe_uri"),
    ],
)
def test_device_code_that_cannot_be_used(change: dict[str, Any], shape: str) -> None:
    """A code without a member that RFC 8628 requires, or with a dangerous address, is none."""
    assert device_code(CODE | change) == (shape, None)
    assert device_code(None) == ("", None)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, (None, 0.0, "", "Bearer")),
        (
            {"refresh_token": "r", "expires_in": 900, "scope": "a b", "token_type": "bearer"},
            ("r", 900.0, "a b", "Bearer"),
        ),
        ({"expires_in": "900.5", "token_type": "DPoP"}, (None, 900.5, "", "DPoP")),
        ({"expires_in": -1, "refresh_token": None, "scope": ["a"]}, (None, 0.0, "", "Bearer")),
        ({"expires_in": 1e12, "refresh_token": "two words"}, ("two words", 0.0, "", "Bearer")),
        ({"expires_in": 0.001, "refresh_token": " "}, ("", 0.0, "", "Bearer")),
        ({"expires_in": 1, "refresh_token": "r\n"}, ("", 1.0, "", "Bearer")),
        ({"expires_in": "nan", "refresh_token": 5, "token_type": 5}, ("", 0.0, "", "Bearer")),
        ({"refresh_token": ""}, (None, 0.0, "", "Bearer")),
        ({"refresh_token": "r" * RECORD_MAX_BYTES}, ("r" * RECORD_MAX_BYTES, 0.0, "", "Bearer")),
        ({"refresh_token": "r" * (RECORD_MAX_BYTES + 1)}, ("", 0.0, "", "Bearer")),
        ({"refresh_token": "R1\u00e9"}, ("", 0.0, "", "Bearer")),
        ({"scope": "a\x1b\n b", "token_type": "BEARER\x00"}, (None, 0.0, "a b", "Bearer")),
    ],
)
def test_grant(data: dict[str, Any], expected: tuple[object, ...]) -> None:
    """Everything but the access token is optional, and nothing strange costs it; a refresh token that is there and cannot be
    used is not one that was left out."""
    shape, given = grant({"access_token": "a"} | data)
    assert shape == "token"
    assert given is not None
    assert (given.refresh_token, given.expires_in_s, given.scope, given.token_type) == expected


@pytest.mark.parametrize("access", ["", None, 5, "two words", "caf\u00e9", "a\n", "a" * (RECORD_MAX_BYTES + 1)])
def test_grant_without_a_usable_token(access: object) -> None:
    """An access token that no header can carry is none."""
    assert grant({"access_token": access}) == ("no_token", None)
    assert grant(None) == ("", None)


def test_catalogue() -> None:
    """An object with a list `data` is a catalogue, whatever the list holds."""
    assert catalogue({"data": [1]}) == ("models", {"data": [1]})
    others: list[dict[str, Any] | None] = [None, {}, {"data": {}}, {"data": None}]
    assert [catalogue(data) for data in others] == [("", None)] * 4


def test_secrets_do_not_show_in_reprs() -> None:
    """Values can be logged: tokens and device codes are left out of their repr."""
    shown = repr(grant(json.loads('{"access_token": "s3cret-a", "refresh_token": "s3cret-r"}')))
    shown += repr(device_code(CODE | {"device_code": "s3cret-d"}))
    assert "s3cret" not in shown
