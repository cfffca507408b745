"""Platforms and catalogues in the Kimi CLI's shapes."""

from __future__ import annotations

import asyncio
import tomllib
from typing import Any

import pytest

from kimi_auth.compat import platforms
from kimi_auth.compat.platforms import (
    PLATFORMS,
    ModelInfo,
    Platform,
    get_platform_by_id,
    get_platform_by_name,
    get_platform_name_for_provider,
    is_managed_provider_key,
    list_models,
    parse_managed_provider_key,
    refresh_managed_models,
)
from kimi_auth.errors import KimiAuthError
from kimi_auth.testing.emulator.catalogue import Model

DEAD = """v = 1
[platforms.dead]
name = "Dead"
auth = "api_key"
api_base = "http://127.0.0.1:1/v1"
"""


def test_platforms(world: Any) -> None:
    """The registry's platforms, with the environment of now."""
    assert [platform.id for platform in PLATFORMS][:3] == ["kimi-code", "moonshot-cn", "moonshot-ai"]
    api = world.emulator.api_base
    assert PLATFORMS[0] == Platform("kimi-code", "Kimi Code", api, f"{api}/search", f"{api}/fetch")
    assert PLATFORMS[1:2] == [get_platform_by_id("moonshot-cn")]
    assert PLATFORMS[1].allowed_prefixes == ["kimi-k"]
    assert len(PLATFORMS) == len(list(PLATFORMS))
    assert get_platform_by_name("Kimi Code") == PLATFORMS[0]
    assert get_platform_by_id("x") is get_platform_by_name("x") is None


def test_the_environment_counts_when_asked(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when the module was imported."""
    monkeypatch.setenv("KIMI_CODE_BASE_URL", "https://other.example.com/v1/")
    found = get_platform_by_id("kimi-code")
    assert found is not None
    assert found.base_url == "https://other.example.com/v1"


@pytest.mark.parametrize(
    ("key", "managed", "platform_id", "name"),
    [
        ("managed:kimi-code", True, "kimi-code", "Kimi Code"),
        ("managed:Gone", True, "Gone", None),
        ("mine", False, None, None),
    ],
)
def test_provider_keys(world: Any, key: str, managed: bool, platform_id: str | None, name: str | None) -> None:
    """What a provider's key says."""
    assert is_managed_provider_key(key) is managed
    assert parse_managed_provider_key(key) == platform_id
    assert get_platform_name_for_provider(key) == name


def test_list_models(world: Any) -> None:
    """The catalogue, with a context length for each model and what it can do; an error for a key that is refused."""
    token = world.sign_in()
    first, *_ = models = asyncio.run(list_models(PLATFORMS[0], token))
    assert (first.id, first.context_length, first.display_name) == ("kimi-for-coding", 262_144, "Kimi for Coding")
    assert first.capabilities == {"thinking", "image_in", "video_in"}
    assert [model.capabilities for model in models[1:]] == [
        {"thinking", "always_thinking", "image_in", "video_in"},
        {"image_in"},
    ]
    with pytest.raises(KimiAuthError, match="Kimi Code"):
        asyncio.run(list_models(PLATFORMS[0], "wrong"))


def test_an_unknown_context_length(world: Any) -> None:
    """Where the server says 0, the platform's assumption stands in."""
    world.state.models = (Model("kimi-new", "New", 0),)
    (model,) = asyncio.run(list_models(PLATFORMS[0], world.sign_in()))
    assert isinstance(model, ModelInfo)
    assert model.context_length == 131_072


def test_refresh_managed_models(world: Any) -> None:
    """CatalogueCache and file follow the catalogue, once; a model that stays is the same object, and others' are untouched."""
    world.sign_in()
    config = world.host()
    own, text = config.models["mine/own"], world.config_file.read_text()
    assert asyncio.run(refresh_managed_models(config)) is True
    assert sorted(config.models) == [
        "kimi-code/kimi-for-coding",
        "kimi-code/kimi-k2-thinking-turbo",
        "kimi-code/kimi-latest",
        "mine/own",
    ]
    assert config.default_model == "kimi-code/kimi-for-coding"
    assert config.models["mine/own"] is own
    assert world.config_file.read_text() != text
    assert asyncio.run(refresh_managed_models(config)) is False

    kept, *_ = world.state.models
    world.state.models = (Model(kept.id, "Renamed", kept.context_length),)
    running = config.models["kimi-code/kimi-for-coding"]
    assert asyncio.run(refresh_managed_models(config)) is True
    assert sorted(config.models) == ["kimi-code/kimi-for-coding", "mine/own"]
    assert config.models["kimi-code/kimi-for-coding"] is running
    assert running.display_name == "Renamed"
    on_disk = tomllib.loads(world.config_file.read_text())
    assert on_disk["models"]["kimi-code/kimi-for-coding"]["display_name"] == "Renamed"


@pytest.mark.parametrize("reason", ["another place", "nothing managed", "signed out", "config broken", "host refuses"])
def test_refresh_does_nothing(world: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing changes in memory, and nothing is raised."""
    if reason != "signed out":
        world.sign_in()
    config = world.host(is_from_default_location=reason != "another place")
    if reason == "nothing managed":
        del config.providers["managed:kimi-code"]
    if reason == "config broken":
        world.config_file.write_text("x = ")
    if reason == "host refuses":
        monkeypatch.setattr(type(config), "model_validate", lambda data: int("no number"))
    before = config.model_copy(deep=True)
    assert asyncio.run(refresh_managed_models(config)) is False
    assert config == before


@pytest.mark.parametrize("default", ["kimi-code/old", "mine/own", ""])
def test_a_default_that_is_gone(world: Any, default: str) -> None:
    """Only a default that has vanished moves."""
    world.sign_in()
    config = world.host(default_model=default)
    asyncio.run(refresh_managed_models(config))
    assert config.default_model == ("kimi-code/kimi-for-coding" if default == "kimi-code/old" else default)


def test_a_dead_platform_costs_the_others_nothing(world: Any) -> None:
    """One that does not answer keeps its models; the others are synced."""
    world.sign_in()
    world.share_dir.mkdir(exist_ok=True)
    (world.share_dir / "platforms.toml").write_text(DEAD)
    config = world.host()
    dead = {"type": "kimi", "base_url": "http://127.0.0.1:1/v1", "api_key": "key"}
    with world.config_file.open("a") as file:
        file.write('[providers."managed:dead"]\n' + "".join(f'{key} = "{value}"\n' for key, value in dead.items()))
        file.write('[models."dead/one"]\nprovider = "managed:dead"\nmodel = "one"\nmax_context_size = 1\n')
    config = type(config).model_validate(tomllib.loads(world.config_file.read_text()))
    assert asyncio.run(refresh_managed_models(config)) is True
    assert {"dead/one", "kimi-code/kimi-latest"} <= set(config.models)


def test_the_static_key_when_the_login_is_over(world: Any) -> None:
    """A login that has ended leaves the sync to the static key."""
    static = world.grant().access_token
    config = world.host(static=static)
    assert asyncio.run(refresh_managed_models(config)) is True
    assert "kimi-code/kimi-latest" in config.models


def test_headers_name_the_device(world: Any) -> None:
    """Catalogue requests say which device asks."""
    assert platforms._headers()["X-Msh-Device-Id"] == (world.share_dir / "device_id").read_text()
