"""Signing in and out as an async iterator of events."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kimi_auth.compat import signing
from kimi_auth.compat.oauth import OAuthEvent, login_kimi_code, logout_kimi_code
from kimi_auth.credential.status import LoginReport
from kimi_auth.errors import ConfigError
from kimi_auth.login.view import Notice
from kimi_auth.models import ConfigFile
from kimi_auth.testing.emulator import Fault


async def listed(events: AsyncIterator[OAuthEvent]) -> list[OAuthEvent]:
    return [event async for event in events]


def all_of(events: AsyncIterator[OAuthEvent]) -> list[OAuthEvent]:
    return asyncio.run(listed(events))


OWN = {
    "models": {"mine/own": {"provider": "mine", "model": "own", "max_context_size": 2}},
    "providers": {"mine": {"type": "openai_legacy", "base_url": "https://example.com/v1", "api_key": "own-key"}},
    "default_model": "mine/own",
}


def test_login_and_logout(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login ends with success, the models in memory and on disk and the old pair replaced; a logout undoes it all."""
    opened: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: opened.append(command))
    before = world.sign_in()
    config = world.host(**OWN)
    text = world.config_file.read_bytes()

    events = all_of(login_kimi_code(config))
    assert [event.type for event in events[:2]] == ["info", "verification_url"]
    assert events[-1].type == "success"
    assert {event.type for event in events[2:-1]} <= {"info", "waiting"}
    shown = events[1].data
    assert shown is not None
    assert shown["verification_url"].startswith(world.emulator.base_url)
    assert shown["user_code"] in str(events[1])
    assert [command[-1] for command in opened] == [shown["verification_uri"]]  # without the code
    assert world.stored().access_token != before
    assert config.default_model == "kimi-code/kimi-for-coding"
    assert {"mine/own", "kimi-code/kimi-latest"} <= set(config.models)
    assert config.services.moonshot_search.oauth.key == "oauth/kimi-code"
    assert all(set(json.loads(event.json)) <= {"type", "message", "data"} for event in events)

    assert [event.type for event in all_of(logout_kimi_code(config))] == ["success"]
    assert world.another().status().state == "absent"
    assert config.default_model == "mine/own"
    assert list(config.providers) == ["mine"]
    assert world.config_file.read_bytes() == text


@pytest.mark.parametrize("act", [login_kimi_code, logout_kimi_code])
def test_only_the_default_config(world: Any, act: Callable[..., AsyncIterator[OAuthEvent]]) -> None:
    """With a configuration from another location, the one event says why nothing happens."""
    before = world.sign_in()
    (event,) = all_of(act(world.host(is_from_default_location=False)))
    assert (event.type, event.data) == ("error", None)
    assert "--config-file" in event.message
    assert world.stored().access_token == before
    assert world.state.counts["device_codes"] == 1


@pytest.mark.parametrize("act", [login_kimi_code, logout_kimi_code])
def test_a_wrong_setting(
    world: Any, act: Callable[..., AsyncIterator[OAuthEvent]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment variable that holds no URL is an error event that names it."""
    config = world.host()
    monkeypatch.setenv("KIMI_CODE_OAUTH_HOST", "no url")
    (event,) = all_of(act(config))
    assert event.type == "error"
    assert "KIMI_CODE_OAUTH_HOST" in event.message


def test_denied(world: Any) -> None:
    """When the person refuses, the last event is an error and the login that was there still stands."""
    before = world.sign_in()
    world.state.inject(Fault("token", grant="device_code", status=400, body={"error": "access_denied"}))
    events = all_of(login_kimi_code(world.host(), open_browser=False))
    assert events[-1].type == "error"
    assert world.stored().access_token == before


def test_left_early(world: Any) -> None:
    """An iteration that is left ends the login: no poll follows."""

    async def leave() -> None:
        events = login_kimi_code(world.host(), open_browser=False)
        async for event in events:
            if event.type == "verification_url":
                break
        await events.aclose()  # type: ignore[attr-defined]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(leave())
    assert world.state.counts["polls"] == 0


def test_logout_of_another_server(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential of another server is not touched, and the event says so."""
    before = world.sign_in()
    config = world.host()
    monkeypatch.setenv("KIMI_CODE_OAUTH_HOST", "https://auth.example.com")
    (event,) = all_of(logout_kimi_code(config))
    assert event.type == "error"
    assert world.stored().access_token == before


def test_logout_with_a_broken_config(world: Any) -> None:
    """Signed out all the same; the part of config.toml that could not be restored is named, and memory stays as it
    is."""
    world.sign_in()
    config = world.host()
    world.config_file.write_text("default_model = ")
    kinds = [event.type for event in all_of(logout_kimi_code(config))]
    assert kinds == ["info", "success"]
    assert world.another().status().state == "absent"
    assert config.default_model == "kimi-code/old"


@pytest.mark.parametrize("wrong", [ConfigError("cannot be read"), ValueError()])
def test_a_config_that_the_host_cannot_load(world: Any, monkeypatch: pytest.MonkeyPatch, wrong: Exception) -> None:
    """What the host would refuse is not brought into its memory; the login is not less valid for it."""
    config = world.host()

    def refuse(*_: object) -> None:
        raise wrong

    monkeypatch.setattr(ConfigFile, "read", refuse)
    signing._adopt(config, world.another(platform="kimi-code"))
    assert config.default_model == "kimi-code/old"


def test_waiting_is_said_once() -> None:
    """ "Not yet" is one event until it changes its reason; other notices are information."""
    view = signing._Events()
    for notice in (
        Notice("waiting", "not yet"),
        Notice("waiting", "not yet"),
        Notice("slowed_down", "slower"),
        Notice("waiting", "not yet"),
        Notice("approved", "yes"),
    ):
        view.tell(notice)
    said = [event for event in (view.queue.get_nowait() for _ in range(view.queue.qsize())) if event is not None]
    assert [(event.type, (event.data or {}).get("error")) for event in said] == [
        ("waiting", "authorization_pending"),
        ("waiting", "slow_down"),
        ("waiting", "authorization_pending"),
        ("info", None),
    ]


def test_an_end_without_words() -> None:
    """A login that ended without a reason is still an error with a sentence."""
    event = signing._ended(LoginReport("cancelled"))
    assert event.type == "error"
    assert "cancelled" in event.message


def test_an_event_is_fit_for_a_terminal() -> None:
    """Text of a server or a file moves no cursor, as text and as JSON."""
    event = OAuthEvent("error", "no\x1b]52;c;cm0=\x07\u202e\n\x9b2J", {"x": "\u202e\x9b"})
    assert str(event) == "no]52;c;cm0= 2J"
    assert event.json.isascii()
    assert event.json.isprintable()
