"""The stored pair in the Kimi CLI's shape: read, written and removed in the same place and under the same lock."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_auth.compat import credentials
from kimi_auth.compat.oauth import (
    KIMI_CODE_CLIENT_ID,
    OAuthDeviceExpired,
    OAuthError,
    OAuthRef,
    OAuthToken,
    OAuthUnauthorized,
    delete_tokens,
    get_device_id,
    load_tokens,
    save_tokens,
)
from kimi_auth.errors import (
    CodeExpired,
    KimiAuthError,
    NotSignedIn,
    Refused,
    Revoked,
    StoreUnwritable,
    Unreachable,
)

PAIR = OAuthToken("access", "refresh", 1_900_000_000.0, "kimi-code", "Bearer", 900.0)


def test_round_trip(world: Any) -> None:
    """What is saved is loaded; the record names the server, and the reference becomes a file's."""
    assert load_tokens(world.ref) is None
    assert save_tokens(OAuthRef("keyring", world.ref.key), PAIR) == OAuthRef("file", world.ref.key)
    assert load_tokens(world.ref) == PAIR
    assert world.stored().issuer == world.emulator.oauth_host
    assert (world.share_dir / "credentials" / "kimi-code.json").stat().st_mode & 0o777 == 0o600


def test_another_key(world: Any) -> None:
    """A credential that belongs to no known platform is kept under its own name, without a server's."""
    ref = OAuthRef("file", "oauth/somebody-else")
    save_tokens(ref, PAIR)
    assert load_tokens(ref) == PAIR
    assert "issuer" not in json.loads((world.share_dir / "credentials" / "somebody-else.json").read_text())


def test_delete(world: Any) -> None:
    """Removed means removed for everybody, also when nothing is there."""
    delete_tokens(world.ref)
    assert not (world.share_dir / "credentials" / "kimi-code.json").exists()
    world.sign_in()
    delete_tokens(world.ref)
    assert load_tokens(world.ref) is None
    assert world.another().status().state == "absent"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"access_token": "", "refresh_token": ""}'])
def test_nothing_to_load(world: Any, content: bytes) -> None:
    """What cannot be read, and a record without tokens, are None."""
    world.sign_in()
    (world.share_dir / "credentials" / "kimi-code.json").write_bytes(content)
    assert load_tokens(world.ref) is None


@pytest.mark.parametrize("key", ["", "kimi-code", "oauth/../x", "oauth/A"])
def test_keys_that_name_no_file(world: Any, key: str) -> None:
    """They hold nothing, and nothing can be saved under them."""
    assert load_tokens(OAuthRef("file", key)) is None
    with pytest.raises(OAuthError):
        save_tokens(OAuthRef("file", key), PAIR)


def test_locked(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else holds the lock, nothing is written."""
    monkeypatch.setattr(credentials, "LOCK_WAIT_S", 0.0)
    before = world.sign_in()
    with world.another().store.locked(0) as held:
        assert held
        with pytest.raises(OAuthError, match="holds the file"):
            save_tokens(world.ref, PAIR)
    assert world.stored().access_token == before


def test_a_pair_that_cannot_be_sent(world: Any) -> None:
    """A token that no header can hold is not stored; the old one stays."""
    before = world.sign_in()
    with pytest.raises(OAuthError, match="characters that cannot be sent"):
        save_tokens(world.ref, OAuthToken("two words", "refresh", 0.0, "", ""))
    assert world.stored().access_token == before


def test_the_stored_object() -> None:
    """The JSON object has the Kimi CLI's six keys, and the repr no token."""
    assert OAuthToken.from_dict(PAIR.to_dict()) == PAIR
    assert list(PAIR.to_dict()) == [
        "access_token",
        "refresh_token",
        "expires_at",
        "scope",
        "token_type",
        "expires_in",
    ]
    assert OAuthToken.from_dict({}) == OAuthToken("", "", 0.0, "", "Bearer")
    assert "refresh'" not in repr(PAIR)
    with pytest.raises(ValueError, match="access_token"):
        OAuthToken.from_dict({"access_token": 5})


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (NotSignedIn, OAuthUnauthorized),
        (Revoked, OAuthUnauthorized),
        (Refused, OAuthUnauthorized),
        (CodeExpired, OAuthDeviceExpired),
        (Unreachable, OAuthError),
        (StoreUnwritable, OAuthError),
    ],
)
def test_errors(ours: type[KimiAuthError], theirs: type[OAuthError]) -> None:
    """Each of our errors is one of the Kimi CLI's, with the sentence and the next step."""
    error = credentials.oauth_error(ours("what happened", hint="what to do"))
    assert type(error) is theirs
    assert str(error) == "what happened (what to do)"


def test_device_id(world: Any) -> None:
    """The device's id is the one in the share dir, made once."""
    assert get_device_id() == get_device_id() == (world.share_dir / "device_id").read_text()
    assert len(KIMI_CODE_CLIENT_ID) == 36
