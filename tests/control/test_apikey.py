"""Platforms that take an API key: verified, stored, handed out, rejected, taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kimi_auth.errors import ConfigError, CorruptCredential, InvalidKey, KimiAuthError, NotSignedIn, Unreachable
from kimi_auth.login.view import SilentView
from kimi_auth.session import Session
from kimi_auth.signing import sign_in

KEY = "sk-test-0123456789"


@pytest.fixture
def session(share: Path, api: Any, known: Callable[..., None]) -> Session:
    """A session for the platform `acme`, whose API takes one key."""
    api.bearers = {KEY}
    known(acme=api)
    return Session(share, platform="acme", environ={})


def login(session: Session, key: str = KEY, **options: Any) -> Any:
    return asyncio.run(sign_in(session._components, SilentView(), api_key=key, **options))


def test_a_whole_life(session: Session) -> None:
    """A key is verified, written as the Kimi CLI writes it, handed out, and gone without a trace after the logout."""
    assert session.status().state == "absent"
    report = login(session, f" {KEY}\n")
    assert (report.state, report.models, report.already, report.error) == ("signed_in", 2, False, None)
    assert session._components.config.read() == {
        "default_model": "acme/kimi-k-one",
        "default_thinking": False,
        "providers": {"managed:acme": {"type": "kimi", "base_url": session.api_origin, "api_key": KEY}},
        "models": {
            f"acme/{name}": {"provider": "managed:acme", "model": name, "max_context_size": 1000}
            for name in ("kimi-k-one", "kimi-k-two")
        },
    }
    assert session._components.config.path.stat().st_mode & 0o777 == 0o600
    assert session.status().state == "fresh"
    assert KEY not in repr(session.status())
    assert (session.status().expires_at_s, session.status().left_s) == (0.0, 0.0)
    assert session.access_token_sync() == asyncio.run(session.access_token()) == KEY
    assert asyncio.run(session.models.verify()) == ("valid", None)

    assert asyncio.run(session.logout()).config == "restored"

    assert session.status().state == "absent"
    assert not session._components.config.path.exists()
    with pytest.raises(NotSignedIn):
        session.access_token_sync()
    assert session.logout_sync().state == "absent"


def test_a_key_in_use_is_not_read_again(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """While config.toml stays as it is, the key in hand serves; a new key in it is seen at once."""
    login(session)
    assert session.access_token_sync() == KEY
    reads: list[str] = []
    read = type(session._components.config).read
    monkeypatch.setattr(type(session._components.config), "read", lambda config: reads.append("read") or read(config))
    assert session.access_token_sync() == KEY
    assert reads == []
    path = session._components.config.path
    path.write_text(path.read_text("utf-8").replace(KEY, "sk-edited"), "utf-8")
    assert session.access_token_sync() == "sk-edited"
    assert reads != []


def test_another_platform_s_session_is_of_the_same_kind(session: Session, share: Path) -> None:
    """How often the owner of a session wants it to look holds for its siblings too."""
    login(session)
    sibling = Session(share, environ={}, recheck_every_s=3600.0).models._session_of("acme")
    assert sibling.access_token_sync() == KEY
    session._components.config.path.write_text(
        session._components.config.path.read_text("utf-8").replace(KEY, "sk-edited"), "utf-8"
    )
    assert sibling.access_token_sync() == KEY
    assert session.access_token_sync() == "sk-edited"


def test_a_key_that_stands_is_left_alone(session: Session, api: Any) -> None:
    """Without force nothing is asked and nothing is changed; with it the new key replaces the old one."""
    login(session)
    before, asked = session._components.config.path.read_bytes(), len(api.asked)
    api.bearers = {"sk-new"}
    assert login(session, "sk-new").already
    assert (session._components.config.path.read_bytes(), len(api.asked)) == (before, asked)
    assert not login(session, "sk-new", force=True).already
    assert session.access_token_sync() == "sk-new"


FAILED_CHECKS: dict[str, tuple[str, Any, type[KimiAuthError], str]] = {
    "refused": ("sk-wrong", None, InvalidKey, "refuses this API key"),
    "empty": ("  \n", None, ConfigError, "not an API key"),
    "not ASCII": ("sk-\u00e9", None, ConfigError, "not an API key"),
    "two words": ("sk 1", None, ConfigError, "not an API key"),
    "too long": ("k" * 5000, None, ConfigError, "not an API key"),
    "server error": (KEY, (503, {}, b"{}"), Unreachable, "127.0.0.1"),
    "HTML": (KEY, (200, {"Content-Type": "text/html"}, b"<html>"), Unreachable, "127.0.0.1"),
    "no models": (KEY, (200, {"Content-Type": "application/json"}, b'{"data": []}'), Unreachable, "no models"),
}


@pytest.mark.parametrize(("key", "answer", "kind", "words"), FAILED_CHECKS.values(), ids=FAILED_CHECKS)
def test_a_check_that_fails(
    session: Session, api: Any, key: str, answer: Any, kind: type[KimiAuthError], words: str
) -> None:
    """A key that cannot be verified is not stored; the reason is one sentence without the key."""
    api.answer = answer
    report = login(session, key)
    assert report.state == "failed"
    assert type(report.error) is kind
    assert words in report.error.message
    assert "kimi-auth login --platform acme --api-key-stdin" in report.error.hint
    assert "still signed in" not in report.error.hint
    assert key.strip() not in report.error.line or not key.strip()
    assert not session._components.config.path.exists()


def test_a_config_that_cannot_be_written_is_known_before_anybody_is_asked(session: Session, api: Any) -> None:
    """No request goes out when the key could not be stored afterwards."""
    session._components.config.path.write_text("[broken")
    assert isinstance(login(session).error, ConfigError)
    assert api.asked == []


def test_a_key_for_a_platform_with_a_sign_in(share: Path) -> None:
    """Each kind of platform refuses the other's way in, and names the right one."""
    report = login(Session(share, environ={}))
    assert "takes no API key" in report.error.message
    with pytest.raises(ConfigError, match="takes an API key") as caught:
        asyncio.run(Session(share, platform="moonshot-cn", environ={}).login(SilentView()))
    assert "--platform moonshot-cn --api-key-stdin" in caught.value.hint


def test_a_rejected_key(session: Session, api: Any) -> None:
    """There is no other key to try, and nothing is sent to anybody."""
    login(session)
    asked = len(api.asked)
    assert session.rejected_sync(KEY) is None
    assert asyncio.run(session.rejected(KEY)) is None
    assert len(api.asked) == asked


def test_another_program_changes_the_key(session: Session) -> None:
    """The file is the truth: a key that a user puts there is served at once, and so is its absence."""
    login(session)
    assert session.access_token_sync() == KEY
    text = session._components.config.path.read_text()
    session._components.config.path.write_text(text.replace(KEY, "sk-other-one"))
    assert session.access_token_sync() == "sk-other-one"
    session._components.config.path.write_text(text.replace(KEY, "two words"))
    with pytest.raises(CorruptCredential, match="not an API key"):
        session.access_token_sync()
    session._components.config.path.write_text("[broken")
    with pytest.raises(CorruptCredential, match="not TOML"):
        session.access_token_sync()


def test_logout_tells_running_clients(session: Session) -> None:
    """Clients that were served with the key are served nothing after the logout."""
    login(session)
    served: list[str] = []
    session.attach(served.append)
    session.logout_sync()
    assert served == [KEY, ""]


def test_a_key_is_not_renewed(session: Session) -> None:
    """The error names the command that gives another one; it does not blame the network."""
    login(session)
    with pytest.raises(ConfigError, match="is not renewed") as caught:
        session.access_token_sync(refresh=True)
    assert caught.value.hint == "give another one: kimi-auth login --platform acme --api-key-stdin --force"
    assert session.access_token_sync(min_ttl_s=60.0) == KEY
