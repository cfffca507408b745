"""The stored pair in the Kimi CLI's shape: read, written and removed in the same file and under the same lock."""

from __future__ import annotations

import json
import sys
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
from kimi_auth.errors import Blocked, CodeExpired, KimiAuthError, NotSignedIn, Revoked, StoreUnwritable, Unreachable
from kimi_auth.store import Binding

PAIR = OAuthToken("access", "refresh", 1_900_000_000.0, "kimi-code", "Bearer", 900.0)


def test_round_trip(world: Any) -> None:
    """A saved record is loaded; the record names the server, and the reference becomes a file's."""
    assert load_tokens(world.ref) is None
    assert save_tokens(OAuthRef("keyring", world.ref.key), PAIR) == OAuthRef("file", world.ref.key)
    assert load_tokens(world.ref) == PAIR
    assert world.stored().issuer == world.emulator.oauth_host
    assert world.another().store.binding() == Binding(world.emulator.oauth_host)
    assert (world.share_dir / "credentials" / "kimi-code.json").stat().st_mode & 0o777 == 0o600


def test_another_key(world: Any) -> None:
    """A credential that belongs to no known platform is kept under its own name, without a server's."""
    ref = OAuthRef("file", "oauth/somebody-else")
    save_tokens(ref, PAIR)
    assert load_tokens(ref) == PAIR
    assert "issuer" not in json.loads((world.share_dir / "credentials" / "somebody-else.json").read_text())


class Keyring:
    """The package `keyring` of a test: one entry for each key, or an error."""

    def __init__(self, key: str, text: str) -> None:
        self.held = {("kimi-code", key): text}
        self.is_locked = False

    def get_password(self, service_name: str, username: str) -> str | None:
        if self.is_locked:
            raise KeyringLocked
        return self.held.get((service_name, username))

    def delete_password(self, service_name: str, username: str) -> None:
        del self.held[service_name, username]


class KeyringLocked(Exception):
    """As the package `keyring` names it."""


@pytest.fixture
def keyring(world: Any, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    """A login that an old Kimi CLI keeps in the system keyring, and says so in config.toml."""
    world.host()
    world.config_file.write_text(world.config_file.read_text().replace('"file"', '"keyring"'))
    held = Keyring(world.ref.key, json.dumps(PAIR.to_dict()))
    monkeypatch.setitem(sys.modules, "keyring", held)
    return held


IN_KEYRING = OAuthRef("keyring", "oauth/kimi-code")


def test_a_login_in_the_keyring(world: Any, keyring: Keyring) -> None:
    """The first who asks for it has it moved: into the file, out of the keyring, and config.toml says so."""
    assert load_tokens(IN_KEYRING) == PAIR
    assert keyring.held == {}
    assert world.stored().access_token == PAIR.access_token
    assert '"file"' in world.config_file.read_text()
    assert '"keyring"' not in world.config_file.read_text()
    assert load_tokens(IN_KEYRING) == load_tokens(world.ref) == PAIR


def test_what_is_in_the_file_is_newer(world: Any, keyring: Keyring) -> None:
    """A login or a logout in the file is never undone by what the keyring still has."""
    world.sign_in()
    newer = load_tokens(world.ref)
    assert load_tokens(IN_KEYRING) == newer != PAIR
    assert keyring.held == {}


def test_a_keyring_that_is_locked(world: Any, keyring: Keyring) -> None:
    """Then there is no token now, and nothing is taken for removed; later it moves."""
    keyring.is_locked = True
    assert load_tokens(IN_KEYRING) is None
    with pytest.raises(OAuthError, match="locked"):
        delete_tokens(IN_KEYRING)
    keyring.is_locked = False
    assert load_tokens(IN_KEYRING) == PAIR


def test_delete_from_the_keyring(world: Any, keyring: Keyring) -> None:
    """A removed record does not come back out of the keyring."""
    delete_tokens(IN_KEYRING)
    assert keyring.held == {}
    assert load_tokens(IN_KEYRING) is None
    assert world.another().status().state == "absent"


@pytest.mark.usefixtures("keyring")
def test_a_setting_that_is_no_url(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is not known which login is meant: there is no token, and nothing is removed."""
    monkeypatch.setenv("KIMI_CODE_BASE_URL", "no url")
    assert load_tokens(IN_KEYRING) is None
    with pytest.raises(OAuthError, match="KIMI_CODE_BASE_URL"):
        delete_tokens(IN_KEYRING)


@pytest.mark.usefixtures("world")
def test_the_home_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no share dir then: no token, and the failure is an error of the host's type."""
    monkeypatch.setenv("KIMI_SHARE_DIR", "~nobody-is-called-this/.kimi")
    assert load_tokens(OAuthRef("file", "oauth/kimi-code")) is None
    for change in (delete_tokens, lambda ref: save_tokens(ref, PAIR)):
        with pytest.raises(OAuthError, match="no such home directory"):
            change(OAuthRef("file", "oauth/kimi-code"))


@pytest.mark.usefixtures("keyring")
def test_a_reference_that_the_config_does_not_have(world: Any) -> None:
    """An unrelated key, and a key that config.toml keeps in the file: the keyring is not asked."""
    assert load_tokens(OAuthRef("keyring", "oauth/stranger")) is None
    world.config_file.write_text(world.config_file.read_text().replace('"keyring"', '"file"'))
    assert load_tokens(IN_KEYRING) is None


def test_delete(world: Any) -> None:
    """Removed means removed for every process, also when nothing is there."""
    delete_tokens(world.ref)
    assert not (world.share_dir / "credentials" / "kimi-code.json").exists()
    world.sign_in()
    delete_tokens(world.ref)
    assert load_tokens(world.ref) is None
    assert world.another().status().state == "absent"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"access_token": "", "refresh_token": ""}'])
def test_nothing_to_load(world: Any, content: bytes) -> None:
    """An unreadable record, and one without tokens, are None."""
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
    """While another process holds the lock, nothing is written."""
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
        (Blocked, OAuthUnauthorized),
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
